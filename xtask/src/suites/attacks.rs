//! The attack list against our servers: raw frames over loopback, with a neighbour that must be served all the while.

use std::process::Command;
use std::time::Duration;

use super::number_before;
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// Some attacks wait for timers of 30 s, side by side.
const LIMIT: Duration = Duration::from_secs(400);

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let program = workspace.program("attacks");
    let mut command = Command::new(&program);
    if let Some(programs) = program.parent() {
        command.arg("--programs").arg(programs);
    }
    let finished = process::run(&mut command, LIMIT)?;
    println!("{}", finished.stdout);
    match number_before(&finished.stdout, "passed") {
        Some(passed) if finished.success() && passed > 0 => Ok(format!("{passed} attacks passed")),
        _ => Err(finished.tail()),
    }
}
