//! The six negative HTTP/2 cases of the grpc project: a server that misbehaves on purpose, made anew from its description on
//! python-hyper's `h2` (interop/python/negative_server.py), and what a client makes of it. grpc-go's own client proves the server, then ours
//! is judged.
//!
//! In rst_during_data grpc-go's program wants UNKNOWN of a library that has long said INTERNAL, as gRPC's table has it for RST_STREAM(NO_ERROR)
//! and as ours does: there its complaint of INTERNAL, and no other, is the proof.

use std::process::Command;
use std::time::Duration;

use super::peer;
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

pub(super) const SERVER: &str = "interop/python/negative_server.py";
const CASES: [&str; 6] =
    ["goaway", "rst_after_header", "rst_during_data", "rst_after_data", "ping", "max_streams"];
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let mut failures = Vec::new();
    for case in CASES {
        let mut server = Server::start(|port| {
            let mut command = Command::new(workspace.python().unwrap_or_else(|| "python3".into()));
            command.arg(workspace.root.join(SERVER)).args(["--test_case", case, "--port", &port.to_string()]);
            command
        })?;
        let theirs = judged(peer(workspace, "go-interop-http2"), case, &server)?;
        let stale = case == "rst_during_data" && theirs.contains("_, Internal, want _, Unknown");
        if !theirs.is_empty() && !stale {
            failures.push(format!("{case}: grpc-go's client, which proves the server: {theirs}"));
        }
        let ours = judged(Command::new(workspace.program("interop-client")), case, &server)?;
        if !ours.is_empty() {
            failures.push(format!("{case}: {ours}"));
        }
        server.still_runs()?;
    }
    match failures.is_empty() {
        true => Ok(format!("{}/{}, the server proved by grpc-go's client", CASES.len(), CASES.len())),
        false => Err(failures.join("\n")),
    }
}

/// What a client says of a case; nothing when it is content.
fn judged(mut client: Command, case: &str, server: &Server) -> Result<String, String> {
    client.args(["--server_host", "127.0.0.1", "--test_case", case]);
    let finished = process::run(client.args(["--server_port", &server.port.to_string()]), LIMIT)?;
    Ok(if finished.success() { String::new() } else { finished.tail() })
}
