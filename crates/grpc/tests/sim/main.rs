//! Simulation of the whole stack: the real channel and the real server on one thread of tokio with virtual time, over
//! connections in memory with a faulty link between their ends.
//!
//! Calls of all four kinds, with random messages, gaps, handlers, deadlines and callers that give up; connections that are
//! refused, stall, break, close by half, and servers that go away or are killed; windows and stream limits of all sizes; with feature
//! `gzip` compression in one round of three. What must hold:
//!
//! * **each call ends once, with a status that the [`model`] predicts** from what the link delivered to its client;
//! * **no message is lost, duplicated, reordered or another call's**; an upload that was cut never looks like its end, and a
//!   response that ends well is whole;
//! * **no call is stuck**: each ends within five virtual minutes;
//! * **unprocessed calls are exactly those reported as safe to send again**, and no call has two handlers,
//!   unless its method has a policy of retries: those are sent again only with permission ([`retried`]);
//! * **nothing leaks**: afterwards no handler runs and no task is left.
//!
//! A *step* is an entry of the trail: a piece of bytes delivered, a message sent, a call or handler that begins or ends, a fault.
//!
//! A run is its seed: there is one thread, no clock and no chance but the seed's (the jitter of back-off is fixed), which
//! [`a_seed_replays`] proves. `cargo xtask sim --level grpc --seed N` replays a run and prints the last events of a failure.
//!
//! Left out: TLS, several addresses, and what only threads can do (`e2e/storm.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod caller;
mod link;
mod model;
mod plan;
mod record;
mod retried;
mod service;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use clearway::client::Grpc;
#[cfg(feature = "gzip")]
use clearway::codec::CompressionEncoding;
use clearway::transport::Endpoint;
use clearway_http2::Config;
use clearway_testkit::Random;
use plan::Plan;
use record::{CallRecord, World};
use tokio::task::JoinSet;

/// Calls of one round; then everything must come to rest.
const CALLS: u32 = 60;
/// Time in which the calls of a round begin, in milliseconds.
const SPREAD: usize = 15_000;

/// One channel, its calls, and the rest afterwards.
async fn round(world: &World) {
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (config, jitter, first, gzip) = {
        let record = &mut *world.record();
        record.gzip = record.random.one_in(3);
        let config = Config {
            stream_window_octets: [2_000, 65_536, 65_536][record.random.below(3)],
            ..Config::default()
        };
        (config, record.random.below(100) as f64 / 100.0, record.plans.len(), record.gzip)
    };
    let connect_world = world.clone();
    let mut endpoint = Endpoint::from_static("http://sim");
    if world.record().random.one_in(3) {
        endpoint = endpoint.observe(|_| Box::new(service::Blind));
    }
    let endpoint = endpoint
        .http2_config(config)
        .fixed_jitter(jitter)
        .service_config(retried::config())
        .expect("it is allowed")
        .connector(move || link::connect(connect_world.clone()));
    let grpc = Grpc::new(endpoint.connect_lazy());
    #[cfg(feature = "gzip")]
    let grpc = if gzip {
        grpc.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip)
    } else {
        grpc
    };
    #[cfg(not(feature = "gzip"))]
    let _ = gzip;
    drop(endpoint);
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let number = u32::try_from(first).unwrap() + number;
        let after = {
            let record = &mut *world.record();
            let plan = Plan::new(number, &mut record.random);
            record.plans.push(plan);
            record.calls.push(CallRecord::default());
            // Many begin together, and at the moments when links and servers fail.
            let at = record.random.below(SPREAD);
            let together = record.random.one_in(2);
            let at = if together { at / link::GRID * link::GRID + record.random.below(4) } else { at };
            Duration::from_millis(at as u64)
        };
        let (grpc, world) = (grpc.clone(), world.clone());
        calls.spawn(async move {
            tokio::time::sleep(after).await;
            caller::call(grpc, world, number).await;
        });
    }
    while let Some(done) = calls.join_next().await {
        if let Err(error) = done {
            world.fault(format!("a caller panicked: {error}"));
        }
    }
    drop(grpc);
    // What is left has a moment to go: the longest gaps, lingering connections.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let left = tokio::runtime::Handle::current().metrics().num_alive_tasks() - tasks;
    let mut record = world.record();
    if record.running > 0 || left > 0 {
        let text = format!("{} handlers and {left} tasks are left at rest", record.running);
        record.faults.push(text);
    }
}

/// What a run came to.
struct Outcome {
    steps: u64,
    hash: u64,
    calls: usize,
    connections: usize,
    ends: BTreeMap<String, u64>,
    failure: Option<String>,
}

fn run(seed: u64, steps: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut seeds = Random::new(seed);
        let mut outcome =
            Outcome { steps: 0, hash: 0, calls: 0, connections: 0, ends: BTreeMap::new(), failure: None };
        while outcome.steps < steps && outcome.failure.is_none() {
            let world = World::new(seeds.bits());
            round(&world).await;
            let record = world.record();
            outcome.steps += record.trail.count();
            outcome.hash = outcome.hash.rotate_left(5) ^ record.trail.hash();
            outcome.calls += record.calls.len();
            outcome.connections += record.connections.len();
            for (end, count) in &record.ends {
                *outcome.ends.entry(end.clone()).or_default() += count;
            }
            if !record.faults.is_empty() {
                outcome.failure = Some(format!("{}\n{}", record.faults.join("\n"), record.trail));
            }
        }
        outcome
    })
}

fn must_hold(seed: u64, steps: u64) -> Outcome {
    let outcome = run(seed, steps);
    if let Some(failure) = &outcome.failure {
        panic!("{failure}\nreplay: cargo xtask sim --level grpc --seed {seed} --steps {steps}");
    }
    outcome
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// With CLEARWAY_SEED the one run, of CLEARWAY_STEPS steps; without it some that were run before.
#[test]
fn random_calls_keep_every_invariant() {
    let steps = number("CLEARWAY_STEPS").unwrap_or(10_000);
    let seeds = number("CLEARWAY_SEED").map_or_else(|| (1..=3).collect(), |seed| vec![seed]);
    for seed in seeds {
        println!("seed {seed} (cargo xtask sim --level grpc --seed {seed} --steps {steps})");
        let began = std::time::Instant::now();
        let Outcome { steps, calls, connections, ends, .. } = must_hold(seed, steps);
        let per_second = steps as f64 / began.elapsed().as_secs_f64();
        println!(
            "{steps} steps, {calls} calls on {connections} connections, {per_second:.0} steps/s; {ends:?}"
        );
    }
}

/// A runtime that goes down in the middle of everything takes all handlers with it, and nobody panics.
#[test]
fn a_runtime_may_go_down_at_any_time() {
    for seed in 1..=20 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let world = runtime.block_on(async {
            let world = World::new(seed);
            let lives = Duration::from_millis(world.record().random.bits() % 10_000);
            let _ = tokio::time::timeout(lives, round(&world)).await;
            world
        });
        drop(runtime);
        let record = world.record();
        assert!(record.running == 0 && record.faults.is_empty(), "seed {seed}: {:?}", record.faults);
    }
}

#[test]
fn a_seed_replays() {
    let hash = |seed| must_hold(seed, 3_000).hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}
