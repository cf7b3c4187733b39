//! `cargo xtask sim`: the simulations of the engine and of the whole stack. With a seed it replays one run, without one it makes a
//! run nobody has made before, and prints its seed.
//!
//! The runs are tests (`sim` of `clearway-http2` and of `clearway`), so they have debug assertions on. Seeds that found
//! something are part of those tests themselves.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lexopt::prelude::*;

use crate::process;
use crate::workspace::Workspace;

/// One of the simulations.
#[derive(Clone, Copy)]
struct Level {
    name: &'static str,
    package: &'static str,
    features: &'static str,
    test: &'static str,
    /// Steps of a run if nothing else is said; CI makes as many.
    steps: u64,
}

const LEVELS: [Level; 2] = [
    Level {
        name: "engine",
        package: "clearway-http2",
        features: "",
        test: "random_steps_keep_every_invariant",
        steps: 1_000_000,
    },
    Level {
        name: "grpc",
        package: "clearway",
        features: "gzip",
        test: "random_calls_keep_every_invariant",
        steps: 500_000,
    },
];

/// Runs what the command line asks for; true if every invariant held.
pub(crate) fn run(workspace: &Workspace, mut parser: lexopt::Parser) -> Result<bool, String> {
    let (mut level, mut seed, mut steps) = (None, None, None);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Long("level") => level = Some(named(&parser.value().map_err(text)?.string().map_err(text)?)?),
            Long("seed") => seed = Some(parser.value().map_err(text)?.parse().map_err(text)?),
            Long("steps") => steps = Some(parser.value().map_err(text)?.parse().map_err(text)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let levels = level.map_or_else(|| LEVELS.to_vec(), |level| vec![level]);
    let mut held = true;
    for level in levels {
        held &= simulate(workspace, level, seed.unwrap_or_else(fresh), steps.unwrap_or(level.steps))?;
    }
    Ok(held)
}

/// CI's part: new seeds, printed, and as many steps as a level makes. Says how fast they were.
pub(crate) fn check(workspace: &Workspace) -> Result<Result<String, String>, String> {
    let mut said = Vec::new();
    for level in LEVELS {
        let (seed, began) = (fresh(), Instant::now());
        let run = format!("--level {} --seed {seed}", level.name);
        if !simulate(workspace, level, seed, level.steps)? {
            return Ok(Err(format!("cargo xtask sim {run}")));
        }
        said.push(format!("{} steps in {:.0} s ({run})", level.steps, began.elapsed().as_secs_f64()));
    }
    Ok(Ok(said.join(", ")))
}

fn named(name: &str) -> Result<Level, String> {
    let found = LEVELS.into_iter().find(|level| level.name == name);
    found.ok_or_else(|| format!("no level {name:?}; there are engine and grpc"))
}

fn simulate(workspace: &Workspace, level: Level, seed: u64, steps: u64) -> Result<bool, String> {
    let args = [
        "test",
        "--package",
        level.package,
        "--features",
        level.features,
        "--test",
        "sim",
        level.test,
        "--",
        "--exact",
        "--nocapture",
    ];
    let envs = [("CLEARWAY_SEED", seed.to_string()), ("CLEARWAY_STEPS", steps.to_string())];
    process::show(workspace.cargo().args(args).envs(envs).env("RUST_BACKTRACE", "0"))
}

/// A seed nobody has used: the time, in the few digits that a person can copy.
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros() % 10_000_000_000).unwrap_or(0)
}
