//! h2spec, strict, over cleartext and over TLS: a frame-level prober for HTTP/2 servers.

use std::time::Duration;

use super::tls::Certificates;
use super::{number_before, peer, serve};
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// How many there are with `-S`: 147 in its last commit, 146 in its last tag that Go's proxy is sure to have. All must
/// pass, and none may be skipped.
const CASES: [u64; 2] = [146, 147];
/// Races around GOAWAY do not show in every run.
const RUNS: usize = 3;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    judge(workspace, serve(workspace, "h2-server")?, &[])
}

/// Any certificate will do; it must be TLS, and ALPN must agree on h2.
pub(crate) fn run_tls(workspace: &Workspace) -> Verdict {
    judge(workspace, Certificates::make(workspace)?.h2_server(workspace)?, &["-t", "-k"])
}

fn judge(workspace: &Workspace, mut server: Server, flags: &[&str]) -> Verdict {
    let mut cases = 0;
    for n in 1..=RUNS {
        cases = one_run(workspace, server.port, flags).map_err(|failure| format!("run {n}: {failure}"))?;
        server.still_runs()?;
    }
    Ok(format!("{cases} of {cases}, {RUNS} times"))
}

/// Says how many cases there were.
fn one_run(workspace: &Workspace, port: u16, flags: &[&str]) -> Result<u64, String> {
    let mut command = peer(workspace, "h2spec");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-S", "-o", "2"]).args(flags);
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
