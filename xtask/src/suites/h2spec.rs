//! h2spec, strict, over cleartext: a frame-level prober for HTTP/2 servers.

use std::time::Duration;

use super::{number_before, peer, serve};
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// How many there are with `-S`: 147 in its last commit, 146 in its last tag that Go's proxy is sure to have. All must
/// pass, and none may be skipped.
const CASES: [u64; 2] = [146, 147];
/// Races around GOAWAY do not show in every run.
const RUNS: usize = 3;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    let mut server = serve(workspace, "h2-server")?;
    let mut cases = 0;
    for n in 1..=RUNS {
        cases = one_run(workspace, server.port).map_err(|failure| format!("run {n}: {failure}"))?;
        server.still_runs()?;
    }
    Ok(format!("{cases} of {cases}, {RUNS} times"))
}

/// Says how many cases there were.
fn one_run(workspace: &Workspace, port: u16) -> Result<u64, String> {
    let mut command = peer(workspace, "h2spec");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-S", "-o", "2"]);
    let finished = process::run(&mut command, Duration::from_secs(300))?;
    // Its exit code counts skipped cases as fine.
    let said = &finished.stdout;
    let count = |word| said.lines().last().and_then(|line| number_before(line, word)).unwrap_or_default();
    let cases = count("tests");
    if finished.success() && CASES.contains(&cases) && count("passed") == cases {
        return Ok(cases);
    }
    let failures = said.find("Failures:").and_then(|at| said.get(at..)).unwrap_or_default();
    let summary = format!("{} of {cases} passed, {} skipped", count("passed"), count("skipped"));
    Err(format!("{summary}\n{failures}\n{}", finished.stderr))
}
