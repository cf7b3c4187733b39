//! m9: operations pushed to a connection's task by 1, 4 and 16 threads while its owner takes them out.
//!
//! `cargo bench -p clearway-transport --bench op_queue` prints the time of one push, all threads together. It is wall clock:
//! what it shows is whether many pushers collapse.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a benchmark; and what the owner does is private, so the file is compiled in here"
)]

#[path = "../src/op_queue.rs"]
mod op_queue;
#[path = "../src/sync.rs"]
mod sync;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread;
use std::time::Instant;

use op_queue::OpQueue;

const PUSHES: u64 = 2_000_000;

fn run(producers: u64) -> f64 {
    let queue = Arc::new(OpQueue::<u64>::default());
    let done = Arc::new(AtomicBool::new(false));
    let owner = {
        let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
        thread::spawn(move || {
            let (mut batch, mut taken) = (Vec::new(), 0);
            loop {
                let last = done.load(Ordering::Acquire);
                queue.take(&mut batch, Waker::noop());
                taken += batch.len() as u64;
                if last && batch.is_empty() {
                    return taken;
                }
                batch.clear();
                thread::yield_now();
            }
        })
    };
    let began = Instant::now();
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (0..PUSHES / producers).for_each(|n| queue.push(n).unwrap()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let took = began.elapsed();
    done.store(true, Ordering::Release);
    assert_eq!(owner.join().unwrap(), PUSHES / producers * producers);
    took.as_secs_f64() * 1e9 / PUSHES as f64
}

fn main() {
    for producers in [1, 4, 16] {
        let best = (0..3).map(|_| run(producers)).fold(f64::INFINITY, f64::min);
        println!("m9: {producers} producers: {best:.1} ns a push");
    }
}
