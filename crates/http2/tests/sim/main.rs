//! Simulation of the engine: clients and servers joined by a faulty link under virtual time, random programs on both, and an
//! independent model of what every call must have come to.
//!
//! A *step* is one event: a piece of bytes arrives or is written, a timer runs out, or a program does something. After every step
//! ([`joint::Joint::settle`]):
//!
//! * **each call ends exactly once, as the wire says**: [`model`] follows the frames that the link delivered and names the
//!   states and ends that are right; [`program`] checks order and content of what it is told, octet by octet;
//! * **credit is conserved**: [`ledger`] adds up windows and what is on its way;
//! * **unprocessed calls are exactly those reported as safe to send again**;
//! * a legal peer is never found fault with, except for what the link did to it (it stood still for too long).
//!
//! Every 1,500 steps the weather clears up and the programs only finish. Then, within bounded steps and virtual time, every call
//! has ended, no stream, octet, PING or waiting call is left, and the windows are whole again.
//!
//! The link ([`clearway_testkit::Way`]) delays, cuts anywhere, stalls, and ends connections whole or by half; connections are
//! reordered against each other. Both roles change SETTINGS on the way, as other engines do: the link puts them in.
//!
//! A run is its seed: `cargo xtask sim --level engine --seed N` replays it and prints the last events of a failure.
//!
//! Left out: illegal peers (`chaos.rs`, `abuse/`), and the calls of gRPC, which have a simulation of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod body;
mod joint;
mod ledger;
mod model;
mod program;
mod sabotage;
mod section_check;
mod side;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sabotage::Bug;
use world::World;

/// What a run came to.
struct Outcome {
    world: World,
    failure: Option<String>,
}

fn run(seed: u64, steps: u64, bug: Option<Bug>) -> Outcome {
    let mut world = World::new(seed, bug);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run(steps)));
    let failure = match ran {
        Ok(outcome) => outcome.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
        }
    };
    Outcome { world, failure }
}

/// Runs a seed that must hold; panics with all that is needed to replay it.
fn must_hold(seed: u64, steps: u64) -> World {
    let Outcome { world, failure } = run(seed, steps, None);
    if let Some(failure) = failure {
        panic!("{failure}\n{world:?}\nreplay: cargo xtask sim --level engine --seed {seed} --steps {steps}");
    }
    world
}

/// Runs that every test makes: seeds, and steps of each.
const OLD_SEEDS: [(u64, u64); 3] = [(1, 20_000), (2, 20_000), (1009, 60_000)];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// With CLEARWAY_SEED the one run, of CLEARWAY_STEPS steps; without it some that were run before.
#[test]
fn random_steps_keep_every_invariant() {
    let runs = number("CLEARWAY_SEED")
        .map_or_else(|| OLD_SEEDS.to_vec(), |seed| vec![(seed, number("CLEARWAY_STEPS").unwrap_or(100_000))]);
    for (seed, steps) in runs {
        println!("seed {seed} (cargo xtask sim --level engine --seed {seed} --steps {steps})");
        let world = must_hold(seed, steps);
        let World { steps, calls, refused, connections, .. } = world;
        println!("{steps} steps, {calls} calls ({refused} refused) on {connections} connections");
    }
}

#[test]
fn a_seed_replays() {
    let hash = |seed| must_hold(seed, 5_000).trail.hash();
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

/// The simulation finds bugs: each of these, within 100,000 steps, whatever the seed.
#[test]
fn seeded_bugs_are_found() {
    for bug in [Bug::LostWindowUpdate, Bug::DoubleFinish, Bug::DroppedTrailer, Bug::LostTrailerFrame] {
        let mut found = Vec::new();
        for seed in 1..=10 {
            let Outcome { world, failure } = run(seed, 100_000, Some(bug));
            let failure = failure.unwrap_or_else(|| panic!("{bug:?} was not found with seed {seed}"));
            let struck = world.struck_at.unwrap_or(world.steps);
            found.push((
                world.steps,
                world.steps - struck,
                failure.lines().next().unwrap_or_default().to_owned(),
            ));
        }
        found.sort();
        let (steps, after, what) = &found[found.len() / 2];
        println!("{bug:?}: found after {steps} steps, {after} after it struck (median of 10): {what}");
    }
}
