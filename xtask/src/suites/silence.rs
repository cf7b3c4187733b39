//! Keepalive on real links: dead peers, connections that a NAT forgot, grpc-go's rules about PINGs. The program makes network namespaces,
//! and says what it leaves out where it cannot.

use std::process::Command;
use std::time::Duration;

use super::number_before;
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// Scenes wait for timers of up to 50 s, side by side.
const LIMIT: Duration = Duration::from_secs(180);
pub(super) const GO: &str = "go-keepalive";

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let mut command = Command::new(workspace.program("silence"));
    if let Some(go) = workspace.peer(GO) {
        command.arg("--go").arg(go);
    }
    let finished = process::run(&mut command, LIMIT)?;
    println!("{}", finished.stdout);
    match number_before(&finished.stdout, "passed") {
        // Without namespaces and without Go there is nothing to play.
        Some(passed) if finished.success() => Ok(format!("{passed} scenes passed")),
        _ => Err(finished.tail()),
    }
}
