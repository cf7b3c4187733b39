//! h2spec, strict, over cleartext: a frame-level prober for HTTP/2 servers.

use std::time::Duration;

use super::{number_before, peer, serve};
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// All there are with `-S`.
const CASES: u64 = 147;
/// Those that must pass. The one that does not is 4.2/3, which takes SETTINGS_MAX_FRAME_SIZE for 16,384 whatever the
/// server announced.
const MUST_PASS: u64 = 146;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    let mut server = serve(workspace, "h2-server")?;
    let port = server.port.to_string();
    let mut command = peer(workspace, "h2spec");
    command.args(["-h", "127.0.0.1", "-p", &port, "-S", "-o", "2"]);
    let finished = process::run(&mut command, Duration::from_secs(300))?;
    server.still_runs()?;
    // Skipped cases count as fine for its exit code, and one failure that is expected does not.
    let said = &finished.stdout;
    let count = |word| said.lines().last().and_then(|line| number_before(line, word)).unwrap_or_default();
    let summary = format!("{} of {CASES} passed, {} skipped", count("passed"), count("skipped"));
    if count("tests") == CASES && count("passed") >= MUST_PASS && count("skipped") == 0 {
        return Ok(format!("{} of {CASES} passed", count("passed")));
    }
    let failures = said.find("Failures:").and_then(|at| said.get(at..)).unwrap_or_default();
    Err(format!("{summary}\n{failures}\n{}", finished.stderr))
}
