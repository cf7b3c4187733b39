//! `cargo xtask ci`: every check, then the peer suites, then a table of what ran, what was skipped and what failed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use crate::process;
use crate::suite::Suite;
use crate::suites;
use crate::workspace::Workspace;

/// What became of a step.
enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl From<crate::instructions::Verdict> for Outcome {
    fn from(verdict: crate::instructions::Verdict) -> Self {
        use crate::instructions::Verdict;
        match verdict {
            Verdict::Within(text) => Self::Passed(text),
            Verdict::Worse(text) => Self::Failed(text),
            Verdict::CannotTell(why) => Self::Skipped(why),
        }
    }
}

/// A check of our own.
struct Check {
    name: &'static str,
    run: fn(&Workspace) -> Result<Outcome, String>,
}

const CHECKS: &[Check] = &[
    Check { name: "fmt", run: |workspace| cargo(workspace, &["fmt", "--all", "--check"], &[]) },
    Check {
        name: "clippy",
        run: |workspace| {
            let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            cargo(workspace, &args, &[])
        },
    },
    // README's command.
    Check { name: "test", run: |workspace| cargo(workspace, &["test", "--workspace"], &[]) },
    Check {
        name: "doc",
        run: |workspace| {
            cargo(workspace, &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
        },
    },
    Check { name: "loom", run: loom },
    Check { name: "deny", run: deny },
    Check { name: "advisories", run: advisories },
    Check { name: "sim", run: sim },
    Check { name: "instructions", run: |workspace| crate::instructions::check(workspace).map(Outcome::from) },
];

/// A line of the table.
struct Line {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

pub(crate) fn run(workspace: &Workspace, mut parser: lexopt::Parser) -> Result<bool, String> {
    let names: Vec<&str> =
        CHECKS.iter().map(|check| check.name).chain(suites::ALL.iter().map(|suite| suite.name)).collect();
    let mut only = BTreeSet::new();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(name) => {
                let name = name.string().map_err(|error| error.to_string())?;
                if !names.contains(&name.as_str()) {
                    return Err(format!("no step {name:?}; there are {}", names.join(", ")));
                }
                only.insert(name);
            }
            Long("list") => {
                println!("{}", names.join("\n"));
                return Ok(true);
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let wanted = |name: &str| only.is_empty() || only.contains(name);
    let mut lines = Vec::new();
    for check in CHECKS.iter().filter(|check| wanted(check.name)) {
        lines.push(step(check.name, || (check.run)(workspace).unwrap_or_else(Outcome::Failed)));
    }
    run_suites(workspace, suites::ALL.iter().filter(|suite| wanted(suite.name)).collect(), &mut lines);
    Ok(report(&lines))
}

/// Builds our programs once and runs the suites that have what they need.
fn run_suites(workspace: &Workspace, suites: Vec<&Suite>, lines: &mut Vec<Line>) {
    let mut built = true;
    if suites.iter().any(|suite| suite.lacks(workspace).is_empty()) {
        let build = ["build", "--release", "--package", "clearway-interop", "--bins"];
        let line = step("build", || cargo(workspace, &build, &[]).unwrap_or_else(Outcome::Failed));
        built = !matches!(line.outcome, Outcome::Failed(_));
        lines.push(line);
    }
    for suite in suites {
        lines.push(step(suite.name, || {
            if !built {
                return Outcome::Skipped("our programs do not build".into());
            }
            let lacks = suite.lacks(workspace);
            if !lacks.is_empty() {
                return Outcome::Skipped(lacks.join("; "));
            }
            match (suite.run)(workspace) {
                Ok(summary) => Outcome::Passed(summary),
                Err(failure) => Outcome::Failed(failure),
            }
        }));
    }
}

fn step(name: &'static str, act: impl FnOnce() -> Outcome) -> Line {
    println!("\n== {name}");
    let began = Instant::now();
    let outcome = act();
    match &outcome {
        Outcome::Passed(summary) => println!("{name}: passed {summary}"),
        Outcome::Failed(failure) => println!("{name}: FAILED\n{failure}"),
        Outcome::Skipped(why) => println!("{name}: SKIPPED: {why}"),
    }
    Line { name, outcome, took: began.elapsed() }
}

/// Prints the table; true if nothing failed.
fn report(lines: &[Line]) -> bool {
    println!("\n{:<12} {:<8} {:>7}  detail", "step", "outcome", "time");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for line in lines {
        let (outcome, detail) = match &line.outcome {
            Outcome::Passed(detail) => (count(&mut passed, "passed"), detail),
            Outcome::Failed(detail) => (count(&mut failed, "FAILED"), detail),
            Outcome::Skipped(detail) => (count(&mut skipped, "skipped"), detail),
        };
        let detail = detail.lines().next().unwrap_or_default();
        println!("{:<12} {outcome:<8} {:>6.1}s  {detail}", line.name, line.took.as_secs_f64());
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

fn count(counter: &mut usize, outcome: &'static str) -> &'static str {
    *counter = counter.saturating_add(1);
    outcome
}

/// Runs cargo, for whoever watches to see.
fn cargo(workspace: &Workspace, args: &[&str], envs: &[(&str, &str)]) -> Result<Outcome, String> {
    let succeeded = process::show(workspace.cargo().args(args).envs(envs.iter().copied()))?;
    let name = format!("cargo {}", args.join(" "));
    Ok(if succeeded { Outcome::Passed(String::new()) } else { Outcome::Failed(name) })
}

/// New seeds; those that found something before are part of the tests.
fn sim(workspace: &Workspace) -> Result<Outcome, String> {
    Ok(match crate::sim::check(workspace)? {
        Ok(said) => Outcome::Passed(said),
        Err(replay) => Outcome::Failed(replay),
    })
}

/// The models of what threads share, in every order of their steps. A build of its own, since the locks are loom's.
fn loom(workspace: &Workspace) -> Result<Outcome, String> {
    let target = workspace.beside_release("loom");
    let target = target.to_str().ok_or("the target folder's name is not UTF-8")?;
    let args = ["test", "--package", "clearway-transport", "--package", "clearway", "--lib", "loom_models"];
    cargo(workspace, &args, &[("RUSTFLAGS", "--cfg clearway_loom"), ("CARGO_TARGET_DIR", target)])
}

/// Licences, sources and bans.
fn deny(workspace: &Workspace) -> Result<Outcome, String> {
    let Some(program) = workspace.peer("cargo-deny") else { return Ok(no_cargo_deny()) };
    let mut command = std::process::Command::new(program);
    command.current_dir(&workspace.root).args(["check", "bans", "licenses", "sources"]);
    let succeeded = process::show(&mut command)?;
    Ok(if succeeded { Outcome::Passed(String::new()) } else { Outcome::Failed("cargo deny".into()) })
}

/// Known vulnerabilities of what we depend on, where their database can be had.
fn advisories(workspace: &Workspace) -> Result<Outcome, String> {
    let Some(program) = workspace.peer("cargo-deny") else { return Ok(no_cargo_deny()) };
    let mut command = std::process::Command::new(program);
    command.current_dir(&workspace.root).args(["check", "advisories"]);
    let finished = process::run(&mut command, Duration::from_secs(120))?;
    let unreachable =
        finished.status.is_none() || finished.stderr.contains("failed to fetch advisory database");
    Ok(match finished.success() {
        true => Outcome::Passed(String::new()),
        false if unreachable => Outcome::Skipped("the advisory database cannot be reached".into()),
        false => Outcome::Failed(finished.stderr),
    })
}

fn no_cargo_deny() -> Outcome {
    Outcome::Skipped("cargo-deny is not installed (cargo xtask peers)".into())
}
