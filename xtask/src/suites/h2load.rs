//! h2load: many requests on few connections, and none may fail.

use std::time::Duration;

use super::{number_before, peer, serve};
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

const REQUESTS: u64 = 100_000;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    let mut server = serve(workspace, "h2-server")?;
    let url = format!("http://127.0.0.1:{}/", server.port);
    // At the announced limit of 100 streams, and below it.
    for streams in ["100", "10"] {
        let mut command = peer(workspace, "h2load");
        command.args(["-n", &REQUESTS.to_string(), "-c", "10", "-m", streams, &url]);
        let finished = process::run(&mut command, Duration::from_secs(120))?;
        let count = |word| number_before(&finished.stdout, word);
        let clean = ["failed", "errored", "timeout"].into_iter().all(|word| count(word) == Some(0));
        if !clean || count("succeeded") != Some(REQUESTS) || count("2xx") != Some(REQUESTS) {
            return Err(format!("with {streams} streams:\n{}\n{}", finished.stdout, finished.tail()));
        }
    }
    server.still_runs()?;
    Ok(format!("2 x {REQUESTS} requests, no error"))
}
