//! `cargo xtask fuzz`: runs the targets of `fuzz/` under libFuzzer with AddressSanitizer, each for some time. What they found
//! once replays in `cargo test`, from `fuzz/corpus/`, without any of this.
//!
//! The compiler is the project's own: cargo-fuzz asks for nothing of a nightly but leave to use unstable flags. Inputs to begin
//! with are made by `clearway-testkit`'s example `fuzz-seeds`; what a run finds worth keeping is in `target/fuzz/corpus`. To
//! commit some of it, merge it into `fuzz/corpus/<target>` with libFuzzer's `-merge=1` and keep the small ones.

use std::path::PathBuf;
use std::process::Command;

use lexopt::prelude::*;

use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// How long each target runs unless told otherwise; what "without a finding" means in docs/security.md.
const SECONDS: u32 = 600;
/// How long targets are given new inputs.
#[derive(Clone, Copy)]
enum For {
    Seconds(u32),
    /// Not at all: the committed inputs and the seeds run once. What CI says of a commit must not hang on chance.
    CorpusOnly,
}
/// Helper modules beside the targets.
const MODULES: [&str; 1] = ["panics"];

pub(crate) fn run(workspace: &Workspace, mut parser: lexopt::Parser) -> Result<bool, String> {
    let all = targets(workspace)?;
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("list") => {
                println!("{}", all.join("\n"));
                return Ok(true);
            }
            Long("target") => chosen.push(value(&mut parser)?),
            Long("seconds") => {
                seconds = value(&mut parser)?.parse().map_err(|_| "--seconds takes a number")?;
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        return Err(format!("no target {unknown:?}; there are {}", all.join(", ")));
    }
    if workspace.peer("cargo-fuzz").is_none() {
        return Err("cargo-fuzz is not installed (cargo xtask peers)".into());
    }
    let chosen = if chosen.is_empty() { all } else { chosen };
    match fuzz(workspace, &chosen, For::Seconds(seconds)) {
        Ok(summary) => {
            println!("{summary}");
            Ok(true)
        }
        Err(failure) => {
            println!("{failure}");
            Ok(false)
        }
    }
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
}

/// Every target over its corpus, under AddressSanitizer.
pub(crate) fn smoke(workspace: &Workspace) -> Verdict {
    fuzz(workspace, &targets(workspace)?, For::CorpusOnly)
}

/// The names of the targets: the files of `fuzz/fuzz_targets`.
fn targets(workspace: &Workspace) -> Result<Vec<String>, String> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?.strip_suffix(".rs")?.to_owned();
        (!MODULES.contains(&name.as_str())).then_some(name)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn fuzz(workspace: &Workspace, targets: &[String], time: For) -> Verdict {
    let home = workspace.root.join("target/fuzz");
    let mut seeds = workspace.cargo();
    seeds.args(["run", "--quiet", "--package", "clearway-testkit", "--example", "fuzz-seeds", "--"]);
    if !process::show(seeds.arg(home.join("seeds")))? {
        return Err("no seeds could be made".into());
    }
    if !process::show(cargo_fuzz(workspace)?.arg("build").arg("--target-dir").arg(home.join("build")))? {
        return Err("the targets do not build".into());
    }
    let mut found = Vec::new();
    for target in targets {
        println!("-- {target}");
        if !one(workspace, target, time, &home)? {
            found.push(target.as_str());
        }
    }
    if found.is_empty() {
        let what = match time {
            For::Seconds(seconds) => format!("{seconds} s each"),
            For::CorpusOnly => "over their corpora".to_owned(),
        };
        Ok(format!("{} targets, {what}, nothing found", targets.len()))
    } else {
        Err(format!("found something: {} (the inputs are in fuzz/artifacts)", found.join(", ")))
    }
}

fn one(workspace: &Workspace, target: &str, time: For, home: &std::path::Path) -> Result<bool, String> {
    let corpus = home.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let committed = workspace.root.join("fuzz/corpus").join(target);
    let mut command = cargo_fuzz(workspace)?;
    command.arg("run").arg("--target-dir").arg(home.join("build")).arg(target).arg(&corpus).arg(committed);
    command.args(seeds(workspace, target, home)).arg("--");
    command.arg(match time {
        For::Seconds(seconds) => format!("-max_total_time={seconds}"),
        For::CorpusOnly => "-runs=0".to_owned(),
    });
    command.args(["-rss_limit_mb=2048", "-timeout=20"]);
    process::show(command.arg("-print_final_stats=1"))
}

/// Folders of inputs to begin with.
fn seeds(workspace: &Workspace, target: &str, home: &std::path::Path) -> Vec<PathBuf> {
    let made = home.join("seeds").join(target);
    let protos = ["proto", "crates/codegen/tests/protos"].map(|folder| workspace.root.join(folder));
    let folders = if target == "proto_file" { protos.to_vec() } else { Vec::new() };
    folders.into_iter().chain([made]).filter(|folder| folder.is_dir()).collect()
}

/// cargo-fuzz with this project's compiler, at a low priority.
fn cargo_fuzz(workspace: &Workspace) -> Result<Command, String> {
    let program = workspace.peer("cargo-fuzz").ok_or("cargo-fuzz is not installed (cargo xtask peers)")?;
    let mut command = Command::new("nice");
    command.arg(program).arg("fuzz").current_dir(workspace.root.join("fuzz"));
    command.env("RUSTC_BOOTSTRAP", "1");
    // cargo, which started us, names the project's toolchain; the build directory is our own.
    command.env_remove("CARGO_TARGET_DIR");
    Ok(command)
}
