//! HPACK before other people's decoders: python-hpack, Go's and h2's read back what our encoder makes of the raw stories of the
//! public corpus, and the first two vote with ours on blocks with one octet changed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

pub(super) const PYTHON_JUDGE: &str = "interop/hpack/judge.py";
pub(super) const H2_JUDGE: &str = "bench/peers/src/bin/h2-hpack-judge.rs";
/// What `cargo xtask peers` calls the one in Go.
pub(super) const GO_JUDGE: &str = "go-hpack-judge";

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let target = workspace.root.join("bench/peers/target");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--manifest-path", "bench/peers/Cargo.toml", "--target-dir"]);
    if !process::show(build.arg(&target).args(["--bin", "h2-hpack-judge"]))? {
        return Err("bench/peers does not build".into());
    }
    let text =
        |path: PathBuf| path.into_os_string().into_string().map_err(|path| format!("{}", path.display()));
    let python = text(workspace.python().ok_or("there is no Python")?)?;
    let script = text(workspace.root.join(PYTHON_JUDGE))?;
    let mut judges = Command::new(workspace.program("hpack-judges"));
    judges.args(["--python", &format!("{python} {script}")]);
    judges.args(["--go", &text(workspace.peer(GO_JUDGE).ok_or("there is no judge in Go")?)?]);
    judges.args(["--h2", &text(target.join("release/h2-hpack-judge"))?]);
    let data = std::env::var_os("CLEARWAY_TEST_DATA")
        .map_or_else(|| workspace.root.join("../shared/data"), PathBuf::from)
        .join("hpack-test-case");
    if data.is_dir() {
        judges.arg("--corpus").arg(&data);
    } else {
        println!("NOTICE: {} is not there: nothing is read back", data.display());
    }
    let finished = process::run(&mut judges, Duration::from_secs(600))?;
    println!("{}", finished.stdout);
    if !finished.success() {
        return Err(finished.tail());
    }
    let votes = finished.stdout.lines().find(|line| line.contains(" votes: ")).unwrap_or_default();
    let read = finished.stdout.lines().filter(|line| line.contains(" read back alike ")).count();
    Ok(format!("{read} readings; {votes}"))
}
