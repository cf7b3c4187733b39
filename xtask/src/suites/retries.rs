//! Retries by one service config, of three stacks: our client, grpc-go's and grpcio's, each against our server and grpc-go's.
//! The server fails each attempt as the call asks it to, and reports what it saw; all must have done the same.
//!
//! What is written here is what the pages say (gRFC A6), not what one of them does. Left out: hedging, which neither of the others has.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::peer;
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

pub(super) const OURS: &str = "retries";
pub(super) const GO: &str = "go-retries";
pub(super) const GRPCIO: &str = "interop/python/retries.py";

const LIMIT: Duration = Duration::from_secs(60);

const POLICY: &str = r#"{"methodConfig": [{"name": [{"service": "clearway.Retries"}], "retryPolicy": {"maxAttempts": 4,
    "initialBackoff": "0.01s", "maxBackoff": "0.05s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"]}}]}"#;
/// Six tokens, of which three are the reserve.
const THROTTLED: &str = r#"{"methodConfig": [{"name": [{"service": "clearway.Retries"}], "retryPolicy": {"maxAttempts": 4,
    "initialBackoff": "0.01s", "maxBackoff": "0.05s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}],
    "retryThrottling": {"maxTokens": 6, "tokenRatio": 0.5}}"#;

/// What calls ask for, and what becomes of each: its code, and how often it was sent.
struct Case {
    config: &'static str,
    script: &'static str,
    calls: &'static [(u32, usize)],
    /// Why grpcio is not asked.
    not_grpcio: Option<&'static str>,
}

const fn case(script: &'static str, call: &'static [(u32, usize)]) -> Case {
    Case { config: POLICY, script, calls: call, not_grpcio: None }
}

const fn throttled(script: &'static str, calls: &'static [(u32, usize)]) -> Case {
    Case { config: THROTTLED, script, calls, not_grpcio: None }
}

const CASES: &[Case] = &[
    case("ok", &[(0, 1)]),
    case("14,14,ok", &[(0, 3)]),
    case("14", &[(14, 4)]),
    case("14,10,5", &[(5, 3)]),
    case("14:60,ok", &[(0, 2)]),
    case("14:-1,ok", &[(14, 1)]),
    Case {
        not_grpcio: Some("it waits for ever when it is told to wait for 0 ms"),
        ..case("14:0,14,ok", &[(0, 3)])
    },
    case("h14", &[(14, 1)]),
    case("14,h14", &[(14, 2)]),
    throttled("14", &[(14, 3), (14, 1), (14, 1), (14, 1), (14, 1)]),
    throttled("14,ok", &[(0, 2), (0, 2), (0, 2)]),
];

/// A client: its name, and how it is begun.
type Client<'a> = (&'static str, &'a dyn Fn() -> Command);

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let ours = || Command::new(workspace.program(OURS));
    let go = || peer(workspace, GO);
    let grpcio = || {
        let mut command = Command::new(workspace.python().unwrap_or_else(|| "python3".into()));
        command.arg(workspace.root.join(Path::new(GRPCIO)));
        command
    };
    let clients: [Client<'_>; 3] = [("ours", &ours), ("grpc-go", &go), ("grpcio", &grpcio)];
    let servers: [Client<'_>; 2] = [("ours", &ours), ("grpc-go", &go)];
    let (mut agreed, mut differ) = (0_usize, Vec::new());
    for (server_name, server) in servers {
        let mut server = Server::start(|port| {
            let mut command = server();
            command.args(["server", "--port", &port.to_string()]);
            command
        })?;
        for (client_name, client) in clients {
            for kind in ["unary", "upload"] {
                for case in CASES.iter().filter(|case| client_name != "grpcio" || case.not_grpcio.is_none()) {
                    match ask(client(), server.port, kind, case)? {
                        None => agreed += 1,
                        Some(said) => differ.push(format!(
                            "{client_name} client, {server_name} server, {kind}, script {}:\n{said}",
                            case.script
                        )),
                    }
                    server.still_runs()?;
                }
            }
        }
    }
    if differ.is_empty() {
        Ok(format!("{agreed} runs of 3 clients and 2 servers agree"))
    } else {
        Err(differ.join("\n"))
    }
}

/// Runs a client; what it said, if it is not what the case wants.
fn ask(mut client: Command, port: u16, kind: &str, case: &Case) -> Result<Option<String>, String> {
    client.args([
        "client",
        "--target",
        &format!("127.0.0.1:{port}"),
        "--kind",
        kind,
        "--script",
        case.script,
    ]);
    client.args(["--calls", &case.calls.len().to_string(), "--service_config_json", case.config]);
    let finished = process::run(&mut client, LIMIT)?;
    let expected: String = case.calls.iter().map(|(code, attempts)| line(*code, *attempts)).collect();
    if finished.success() && finished.stdout == expected {
        return Ok(None);
    }
    Ok(Some(format!("{}{}\nwant\n{expected}", finished.stdout, finished.tail())))
}

/// The first attempt has no `grpc-previous-rpc-attempts`, the others count.
fn line(code: u32, attempts: usize) -> String {
    let previous: Vec<String> =
        (0..attempts).map(|before| if before == 0 { "-".into() } else { before.to_string() }).collect();
    format!("code={code} attempts={attempts} previous={} early=0 different=0\n", previous.join("/"))
}
