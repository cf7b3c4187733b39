//! nghttp, nghttp2's own client, and what it prints of the exchange.

use std::time::Duration;

use super::{peer, serve};
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    let mut server = serve(workspace, "h2-server")?;
    let url = format!("http://127.0.0.1:{}/some/path?query", server.port);
    let manifest = workspace.root.join("Cargo.lock");
    for (what, upload) in [("GET", None), ("POST", Some(&manifest))] {
        let mut command = peer(workspace, "nghttp");
        command.arg("-nv");
        if let Some(file) = upload {
            command.arg("-d").arg(file);
        }
        let finished = process::run(command.arg(&url), Duration::from_secs(30))?;
        // It exits 0 whatever happened to the request.
        let said = &finished.stdout;
        for wanted in [":status: 200", "; END_STREAM", "error_code=NO_ERROR"] {
            if !finished.success() || !said.contains(wanted) || said.contains("[ERROR]") {
                return Err(format!("{what}: {wanted:?} does not come\n{said}\n{}", finished.tail()));
            }
        }
    }
    server.still_runs()?;
    Ok("GET and POST".into())
}
