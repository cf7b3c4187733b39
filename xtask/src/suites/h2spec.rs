//! h2spec, strict, over cleartext: a frame-level prober for HTTP/2 servers.

use std::time::Duration;

use super::{number_before, peer, serve};
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// All there are with `-S`; all must pass, and none may be skipped.
const CASES: u64 = 147;
/// Races around GOAWAY do not show in every run.
const RUNS: usize = 3;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    let mut server = serve(workspace, "h2-server")?;
    for n in 1..=RUNS {
        one_run(workspace, server.port).map_err(|failure| format!("run {n}: {failure}"))?;
        server.still_runs()?;
    }
    Ok(format!("{CASES} of {CASES}, {RUNS} times"))
}

fn one_run(workspace: &Workspace, port: u16) -> Result<(), String> {
    let mut command = peer(workspace, "h2spec");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-S", "-o", "2"]);
    let finished = process::run(&mut command, Duration::from_secs(300))?;
    // Its exit code counts skipped cases as fine.
    let said = &finished.stdout;
    let count = |word| said.lines().last().and_then(|line| number_before(line, word)).unwrap_or_default();
    if finished.success() && count("tests") == CASES && count("passed") == CASES {
        return Ok(());
    }
    let failures = said.find("Failures:").and_then(|at| said.get(at..)).unwrap_or_default();
    let summary = format!("{} of {CASES} passed, {} skipped", count("passed"), count("skipped"));
    Err(format!("{summary}\n{failures}\n{}", finished.stderr))
}
