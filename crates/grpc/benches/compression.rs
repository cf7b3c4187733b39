//! What compressing one message costs and saves, by size: the measurement behind `DEFAULT_COMPRESSION_THRESHOLD`.
//!
//! `cargo bench -p clearway --bench compression --all-features` prints octets saved and microseconds each way, for records as a
//! service sends them: names, numbers and texts in Protobuf's framing, none of them twice.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use clearway::codec::CompressionEncoding;

const SIZES: [usize; 9] = [64, 128, 256, 512, 1024, 2048, 4096, 16_384, 65_536];
const WORDS: [&str; 12] = [
    "order",
    "customer",
    "pending",
    "shipped",
    "warehouse",
    "invoice",
    "EUR",
    "north",
    "south",
    "priority",
    "returned",
    "example.org",
];

/// Records one behind the other, cut to size.
fn records(octets: usize) -> Vec<u8> {
    let mut seed = 88_172_645_463_325_252u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut message = Vec::with_capacity(octets + 100);
    while message.len() < octets {
        let word = |n: u64| WORDS.get(usize::try_from(n % 12).unwrap()).copied().unwrap_or_default();
        let text = format!("{} {} {}", word(next()), next() % 100_000, word(next()));
        message.extend_from_slice(&[0x0a, u8::try_from(text.len()).unwrap()]);
        message.extend_from_slice(text.as_bytes());
        message.push(0x11);
        message.extend_from_slice(&next().to_le_bytes()[..4]);
        message.extend_from_slice(&[0, 0, 0, 0, 0x18, 1]);
    }
    message.truncate(octets);
    message
}

/// The best of several runs, of one `act`.
fn timed(mut act: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..7 {
        let (mut times, start) = (0u32, Instant::now());
        while start.elapsed() < Duration::from_millis(10) {
            act();
            times += 1;
        }
        best = best.min(start.elapsed() / times);
    }
    best
}

fn main() {
    println!("{:<8} {:>7} {:>7} {:>7} {:>12} {:>12}", "by", "octets", "wire", "saved", "compress", "inflate");
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd] {
        for octets in SIZES {
            let message = records(octets);
            let algorithm = encoding.algorithm();
            let (mut wire, mut back) = (Vec::new(), Vec::new());
            let compress = timed(|| {
                wire.clear();
                algorithm.compress(black_box(&message), &mut wire).unwrap();
            });
            let inflate = timed(|| {
                back.clear();
                algorithm.decompress(black_box(&wire), octets, &mut back).unwrap();
            });
            let saved = octets.saturating_sub(wire.len());
            println!(
                "{:<8} {octets:>7} {:>7} {saved:>7} {compress:>12.1?} {inflate:>12.1?}",
                encoding.name(),
                wire.len()
            );
        }
    }
}
