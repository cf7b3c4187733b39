//! gzip against itself, against members made by hand, and against everything that can be wrong with one.

use flate2::{Compress, FlushCompress};
use proptest::prelude::*;

use super::*;

fn zipped(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Gzip::DEFAULT.compress(message, &mut out).unwrap();
    out
}

fn unzipped(message: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = b"before".to_vec();
    Gzip::DEFAULT.decompress(message, limit, &mut out)?;
    Ok(out.split_off(6))
}

fn text(error: &DecompressError) -> String {
    error.to_string()
}

proptest! {
    #[test]
    fn what_was_compressed_comes_back(message in prop::collection::vec(any::<u8>(), 0..5000), repeat in 1usize..40) {
        let message = message.repeat(repeat);
        let wire = zipped(&message);
        prop_assert_eq!(unzipped(&wire, message.len()), Ok(message.clone()));
        if let Some(less) = message.len().checked_sub(1) {
            prop_assert_eq!(unzipped(&wire, less), Err(DecompressError::TooLarge));
        }
    }

    #[test]
    fn any_octets_are_refused_or_read_within_the_limit(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let member = [&HEADER[..], &octets].concat();
        for wire in [octets, member] {
            if let Ok(out) = unzipped(&wire, 1000) {
                prop_assert!(out.len() <= 1000);
            }
        }
    }

    #[test]
    fn one_changed_octet_never_gives_another_message(at in any::<prop::sample::Index>(), to in 1u8..=255) {
        let message = b"the same words, the same words, the same words again".repeat(3);
        let mut wire = zipped(&message);
        let at = at.index(wire.len());
        wire[at] ^= to;
        // Some fields of the header say nothing of the content, nor do the bits between its end and the trailer.
        match unzipped(&wire, 1000) {
            Ok(read) => prop_assert!(read == message, "octet {}", at),
            Err(DecompressError::Corrupt(_)) => {}
            Err(DecompressError::TooLarge) => prop_assert!(at >= 10, "octet {}", at),
            Err(DecompressError::Memory(_)) => prop_assert!(false, "octet {}: it asks for none", at),
        }
    }
}

#[test]
fn every_cut_is_named() {
    let wire = zipped(&b"some words, some words, some words".repeat(20));
    for end in 0..wire.len() {
        assert_eq!(unzipped(&wire[..end], 1 << 20), Err(truncated()), "{end} of {}", wire.len());
    }
}

#[test]
fn contexts_are_kept_also_after_a_message_that_cannot_be_read() {
    assert!(DEFLATING.take().is_none() && INFLATING.take().is_none());
    let wire = zipped(b"content");
    assert!(
        unzipped(&wire, 100).is_ok() && unzipped(&wire, 1).is_err() && unzipped(&wire[..15], 100).is_err()
    );
    assert_eq!(unzipped(&wire, 100).unwrap(), b"content", "what came before leaves no trace");
    assert!(DEFLATING.take().is_some() && INFLATING.take().is_some());
}

#[test]
fn members_are_joined_and_count_together() {
    let both = [zipped(b"one and "), zipped(b"two")].concat();
    assert_eq!(unzipped(&both, 11).unwrap(), b"one and two");
    assert_eq!(unzipped(&both, 10), Err(DecompressError::TooLarge));
    let empty = zipped(b"").repeat(1000);
    assert_eq!(unzipped(&empty, 0).unwrap(), b"");
    let broken = [zipped(b"one"), b"\x1f\x8b\x08".to_vec()].concat();
    assert_eq!(unzipped(&broken, 100), Err(truncated()));
}

#[test]
fn all_parts_of_a_header_are_skipped() {
    let plain = zipped(b"content");
    let body = plain.split_first_chunk::<10>().unwrap().1;
    let mut header = HEADER;
    header[3] = FEXTRA | FNAME | FCOMMENT | FHCRC;
    let mut wire = [&header[..], &[3, 0], b"abc", b"name\0", b"comment\0"].concat();
    let mut crc = Crc::new();
    crc.update(&wire);
    let sum = crc.sum().to_le_bytes();
    wire.extend_from_slice(&[sum[0], sum[1]]);
    let whole = [&wire[..], body].concat();
    assert_eq!(unzipped(&whole, 100).unwrap(), b"content");
    let last = wire.len() - 1;
    wire[last] ^= 1;
    let error = unzipped(&[&wire[..], body].concat(), 100).unwrap_err();
    assert!(text(&error).contains("checksum of its header"), "{error}");
}

#[test]
fn what_is_wrong_is_named() {
    let good = zipped(b"content");
    let changed = |at: usize, to: u8| {
        let mut wire = good.clone();
        wire[at] ^= to;
        text(&unzipped(&wire, 100).unwrap_err())
    };
    assert!(changed(0, 1).contains("does not begin as gzip"));
    assert!(changed(2, 1).contains("method 9"));
    assert!(changed(3, 0x80).contains("reserved flags"));
    assert!(changed(good.len() - 8, 1).contains("checksum"));
    assert!(changed(good.len() - 4, 1).contains("length"));
    // A block of the type that RFC 1951 §3.2.3 reserves.
    assert!(text(&unzipped(&[&HEADER[..], &[0b110]].concat(), 100).unwrap_err()).contains("DEFLATE stream"));
    let garbage = [&good[..], b"zz"].concat();
    assert!(text(&unzipped(&garbage, 100).unwrap_err()).contains("2 octets follow"));
}

/// 1 MiB that stands for 1 GiB: what is taken up is the limit and no more.
#[test]
fn a_bomb_stops_at_the_limit() {
    // After a full flush nothing refers to what came before, so that a piece can be repeated.
    let mut piece = Vec::with_capacity(4096);
    Compress::new(flate2::Compression::new(LEVEL), false)
        .compress_vec(&vec![0; 1 << 20], &mut piece, FlushCompress::Full)
        .unwrap();
    let wire = [&HEADER[..], &piece.repeat(1024), &[3, 0], &[0; TRAILER]].concat();
    assert!((1 << 20..(1 << 20) + 65_536).contains(&wire.len()), "{}", wire.len());
    for limit in [0, 1, 4 << 20] {
        let mut out = Vec::new();
        assert_eq!(Gzip::DEFAULT.decompress(&wire, limit, &mut out), Err(DecompressError::TooLarge));
        assert!(out.capacity() <= limit + 1, "{} octets of room", out.capacity());
    }
}
