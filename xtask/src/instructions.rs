//! The micro benchmarks m1 to m5, in instructions of the processor: exact, so that a regression of a few percent shows on a
//! busy machine. `bench/instructions.toml` says what they were.
//!
//! Two runs of different length are counted and subtracted, so that start-up does not count. The figures are those of one
//! compiler: another one is not held against them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::workspace::Workspace;

/// More than so many percent above the table fails.
const TOLERANCE: f64 = 3.0;
const SHORT: u64 = 2_000;
const LONG: u64 = 12_000;
const TABLE: &str = "bench/instructions.toml";

/// What the comparison came to.
pub(crate) enum Verdict {
    Within(String),
    Worse(String),
    CannotTell(String),
}

/// The benchmarks: a name, the program, and what it is told.
const COUNTED: [(&str, &str, &[&str]); 7] = [
    ("m1", "micro", &["--only", "m1"]),
    ("m2-path", "micro", &["--only", "m2-path"]),
    ("m2-token", "micro", &["--only", "m2-token"]),
    ("m3-request", "micro", &["--only", "m3-request"]),
    ("m3-response", "micro", &["--only", "m3-response"]),
    ("m4", "micro", &["--only", "m4"]),
    ("m5", "m5", &["--batch", "64"]),
];

pub(crate) fn check(workspace: &Workspace) -> Result<Verdict, String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(Verdict::CannotTell("valgrind is not installed".into()));
    }
    let text =
        std::fs::read_to_string(workspace.root.join(TABLE)).map_err(|error| format!("{TABLE}: {error}"))?;
    let table = read(&text)?;
    let compiler = compiler(workspace)?;
    let counted_with = table.get("rustc").map_or("", String::as_str);
    let same = compiler == counted_with;
    let (mut worse, mut lines) = (Vec::new(), Vec::new());
    let programs = build(workspace)?;
    for (name, program, args) in COUNTED {
        let path = programs.get(program).ok_or_else(|| format!("cargo built no benchmark {program}"))?;
        let (short, long) = (count(path, args, SHORT)?, count(path, args, LONG)?);
        let now = long.saturating_sub(short) as f64 / (LONG - SHORT) as f64;
        let then: f64 =
            table.get(name).and_then(|value| value.parse().ok()).ok_or(format!("{TABLE} has no {name}"))?;
        let change = (now / then - 1.0) * 100.0;
        println!("{name} = {now:.1}  # {change:+.1} %");
        lines.push(format!("{name} {now:.0}"));
        if change > TOLERANCE {
            worse.push(format!("{name}: {now:.1} instructions, were {then:.1} ({change:+.1} %)"));
        }
    }
    Ok(if worse.is_empty() {
        Verdict::Within(lines.join(", "))
    } else if same {
        Verdict::Worse(worse.join("\n"))
    } else {
        Verdict::CannotTell(format!("{TABLE} was counted with rustc {counted_with}, this is {compiler}"))
    })
}

/// Reads `name = value` lines.
fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once('=').ok_or_else(|| format!("{TABLE}: what is {line:?}?"))?;
            Ok((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
        })
        .collect()
}

fn compiler(workspace: &Workspace) -> Result<String, String> {
    let mut command = Command::new("rustc");
    command.current_dir(&workspace.root).arg("--version");
    let finished = process::run(&mut command, Duration::from_secs(60))?;
    finished.stdout.split(' ').nth(1).map(str::to_owned).ok_or_else(|| "rustc says no version".into())
}

/// Builds the benchmarks; where they are, by name.
fn build(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut command = workspace.cargo();
    // An incremental build inlines less.
    command.env("CARGO_INCREMENTAL", "0");
    command.args(["bench", "--package", "clearway-http2", "--bench", "micro", "--bench", "m5", "--no-run"]);
    let finished = process::run(&mut command, Duration::from_secs(1200))?;
    if !finished.success() {
        return Err(finished.tail());
    }
    // cargo: "  Executable benches/m5.rs (target/release/deps/m5-0123456789abcdef)"
    let found = finished.stderr.lines().filter_map(|line| {
        let (source, path) = line.trim().strip_prefix("Executable ")?.split_once(" (")?;
        let name = source.strip_prefix("benches/")?.strip_suffix(".rs")?;
        Some((name.to_owned(), workspace.root.join(path.strip_suffix(')')?)))
    });
    Ok(found.collect())
}

/// Instructions of one run.
fn count(program: &PathBuf, args: &[&str], iterations: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args(args);
    command.args(["--iterations", &iterations.to_string()]);
    let finished = process::run(&mut command, Duration::from_secs(600))?;
    if !finished.success() {
        return Err(finished.tail());
    }
    // valgrind: "==123== Collected : 1234567"
    let collected = finished.stderr.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, number)| number.trim().parse().ok())
        .ok_or_else(|| "valgrind counted nothing".into())
}
