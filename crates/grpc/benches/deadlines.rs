//! m8: a deadline put in and taken out again, among 1,000 others, as nearly every deadline is.
//!
//! `cargo bench -p clearway --bench deadlines` prints the time of one; with `--iterations N` it does so many and prints
//! nothing, to be counted by valgrind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a benchmark; and the wheel is private, so its file is compiled in here"
)]

#[path = "../src/deadline/wheel.rs"]
mod wheel;

use std::hint::black_box;
use std::time::Instant as Wall;

use clearway_http2::Instant;
use wheel::Deadlines;

fn run(iterations: u64) {
    let mut deadlines = Deadlines::default();
    for n in 0..1000u64 {
        deadlines.insert(Instant::from_millis(5_000 + n * 17), n);
    }
    for n in 0..iterations {
        let ticket = deadlines.insert(Instant::from_nanos(1_000_000_000 + n * 997), n);
        deadlines.cancel(black_box(ticket));
    }
    assert!(deadlines.next().is_some());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--iterations" {
            return run(arguments.next().and_then(|n| n.parse().ok()).unwrap());
        }
    }
    const STEPS: u32 = 10_000_000;
    let time = || {
        let began = Wall::now();
        run(STEPS.into());
        began.elapsed()
    };
    let best = (0..5).map(|_| time()).min().unwrap_or_default();
    println!("m8: {:.1} ns", best.as_secs_f64() * 1e9 / f64::from(STEPS));
}
