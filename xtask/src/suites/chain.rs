//! A chain of calls with our server in the middle and grpcio at both ends: deadlines, cancellation and typed errors go through it.

use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

pub(super) const SCRIPT: &str = "interop/python/calls.py";

const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let mut command = Command::new(workspace.python().unwrap_or_else(|| "python3".into()));
    command.arg(workspace.root.join(SCRIPT)).arg("--program").arg(workspace.program("chain-server"));
    let finished = process::run(&mut command, LIMIT)?;
    if finished.success() {
        let checks = finished.stdout.lines().filter(|line| line.ends_with(": ok")).count();
        Ok(format!("{checks} checks with grpcio at both ends"))
    } else {
        Err(format!("{}\n{}", finished.stdout, finished.tail()))
    }
}
