//! What compression asks the allocator for: contexts are kept by the thread, so that a message costs its own octets and no more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use clearway::codec::CompressionEncoding;

const ALL: [CompressionEncoding; 3] =
    [CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd];

fn text(octets: usize) -> Vec<u8> {
    b"some words that repeat, and a number: 1, ".iter().copied().cycle().take(octets).collect()
}

/// What `act` asks for: how often, and how many octets.
fn counted(act: impl FnOnce()) -> (u64, u64) {
    let info = allocation_counter::measure(act);
    (info.count_total, info.bytes_total)
}

#[test]
fn a_message_costs_one_allocation_each_way_once_its_thread_has_contexts() {
    for encoding in ALL {
        let algorithm = encoding.algorithm();
        for octets in [1_500, 20_000, 300_000] {
            let message = text(octets);
            let mut wire = Vec::new();
            let mut back = Vec::new();
            let there = |wire: &mut Vec<u8>| algorithm.compress(&message, wire).unwrap();
            let first = counted(|| there(&mut wire));
            let again = |wire: &mut Vec<u8>| {
                wire.clear();
                there(wire);
            };
            // The output has its room. What libzstd allocates is not seen here; see the tests of its file.
            let second = counted(|| again(&mut wire));
            assert_eq!(second, (0, 0), "{encoding}, {octets} octets, compressing; the first time {first:?}");
            algorithm.decompress(&wire, octets, &mut back).unwrap();
            let inflating = counted(|| {
                let mut fresh = Vec::new();
                algorithm.decompress(&wire, octets, &mut fresh).unwrap();
                assert_eq!(fresh.len(), octets);
            });
            println!("{encoding}, {octets} octets: first {first:?}, inflating {inflating:?}");
            let size = u64::try_from(octets).unwrap();
            if encoding == CompressionEncoding::Deflate {
                // It does not say how much comes out of it: the output grows by doubling.
                assert!(
                    inflating.0 <= 6 && inflating.1 <= size * 3,
                    "{octets} octets, inflating: {inflating:?}"
                );
            } else {
                assert_eq!(inflating, (1, size), "{encoding}, {octets} octets, inflating");
            }
        }
    }
}
