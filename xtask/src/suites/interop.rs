//! The official interop cases of grpc.testing.TestService, with programs of other stacks: their client and our server, our
//! client and their server, ours with ours. In cleartext, and over TLS with certificates of the run.
//!
//! Left out: the compression, soak and ORCA cases, which come with what they need; cases with cloud credentials and ALTS.

use std::process::Command;
use std::time::Duration;

use super::peer;
use super::tls::Certificates;
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

/// A case takes some 25 ms; one that does not end is a failure.
const CASE_LIMIT: Duration = Duration::from_secs(30);
/// For a client that runs all its cases in one process.
const ALL_LIMIT: Duration = Duration::from_secs(240);

/// How a client is told what to do.
#[derive(Clone, Copy)]
enum Cases {
    /// One of [`CASES`] for each process.
    OneByOne,
    /// `--test_case all`; it prints `NAME: ok` or `NAME: FAILED: WHY` for each, and may know cases of its own.
    AllAtOnce,
}

/// A stack of other people's.
struct Stack<'a> {
    name: &'static str,
    cases: Cases,
    client: &'a dyn Fn() -> Command,
    server: &'a dyn Fn() -> Command,
}

/// grpc-go's own programs; and ours with each other.
pub(super) fn go(workspace: &Workspace) -> Verdict {
    go_over(workspace, None)
}

/// The same, over TLS.
pub(super) fn go_tls(workspace: &Workspace) -> Verdict {
    go_over(workspace, Some(&Certificates::make(workspace)?))
}

fn go_over(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
    let stack = Stack {
        name: "grpc-go",
        cases: Cases::OneByOne,
        client: &|| peer(workspace, "go-interop-client"),
        server: &|| peer(workspace, "go-interop-server"),
    };
    join([both_ways(workspace, &stack, tls), ours_with_ours(workspace, tls)])
}

/// Scripts of interop/python on Google's own Python gRPC.
pub(super) fn grpcio(workspace: &Workspace) -> Verdict {
    grpcio_over(workspace, None)
}

/// The same, over TLS.
pub(super) fn grpcio_tls(workspace: &Workspace) -> Verdict {
    grpcio_over(workspace, Some(&Certificates::make(workspace)?))
}

fn grpcio_over(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
    let script = |path: &str| {
        let mut command = Command::new(workspace.python().unwrap_or_else(|| "python3".into()));
        command.arg(workspace.root.join(path));
        command
    };
    let stack = Stack {
        name: "grpcio",
        cases: Cases::AllAtOnce,
        client: &|| script(GRPCIO_CLIENT),
        server: &|| script(GRPCIO_SERVER),
    };
    both_ways(workspace, &stack, tls)
}

pub(super) const GRPCIO_CLIENT: &str = "interop/python/client.py";
pub(super) const GRPCIO_SERVER: &str = "interop/python/server.py";

/// Programs of bench/peers on tonic.
pub(super) fn tonic(workspace: &Workspace) -> Verdict {
    let target = workspace.root.join("bench/peers/target");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--manifest-path", "bench/peers/Cargo.toml", "--target-dir"]);
    build.arg(&target).args(["--bin", "tonic-interop-client", "--bin", "tonic-interop-server"]);
    if !process::show(&mut build)? {
        return Err("bench/peers does not build".into());
    }
    let program = |name: &str| Command::new(target.join("release").join(name));
    let stack = Stack {
        name: "tonic",
        cases: Cases::AllAtOnce,
        client: &|| program("tonic-interop-client"),
        server: &|| program("tonic-interop-server"),
    };
    both_ways(workspace, &stack, None)
}

/// A server that takes `--port N` and, with TLS, the official flags for it.
fn start(server: Command, tls: Option<&Certificates>) -> Result<Server, String> {
    let mut command = server;
    if let Some(certificates) = tls {
        certificates.tell_server(&mut command);
    }
    Server::start(|port| {
        command.arg("--port").arg(port.to_string());
        command
    })
}

/// Their client and our server, our client and their server.
fn both_ways(workspace: &Workspace, stack: &Stack<'_>, tls: Option<&Certificates>) -> Verdict {
    let mut ours = start(Command::new(workspace.program("interop-server")), tls)?;
    let in_theirs = format!("{} client, our server", stack.name);
    let theirs_to_ours = pairing(&in_theirs, stack.cases, &mut ours, &|| told(stack.client, tls));
    let mut theirs = start((stack.server)(), tls)?;
    let in_ours = format!("our client, {} server", stack.name);
    let client = || Command::new(workspace.program("interop-client"));
    let ours_to_theirs = pairing(&in_ours, Cases::OneByOne, &mut theirs, &|| told(&client, tls));
    join([theirs_to_ours, ours_to_theirs])
}

fn ours_with_ours(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
    let mut server = start(Command::new(workspace.program("interop-server")), tls)?;
    let client = || Command::new(workspace.program("interop-client"));
    pairing("ours with ours", Cases::OneByOne, &mut server, &|| told(&client, tls))
}

/// A client that knows whether to speak TLS.
fn told(client: &dyn Fn() -> Command, tls: Option<&Certificates>) -> Command {
    let mut command = client();
    if let Some(certificates) = tls {
        certificates.tell_client(&mut command);
    }
    command
}

/// One verdict of several.
fn join(verdicts: [Verdict; 2]) -> Verdict {
    let (passed, failed): (Vec<Verdict>, Vec<Verdict>) = verdicts.into_iter().partition(Result::is_ok);
    let text = |verdicts: Vec<Verdict>, between| {
        verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or_else(|error| error))
            .collect::<Vec<_>>()
            .join(between)
    };
    if failed.is_empty() { Ok(text(passed, ", ")) } else { Err(text(failed, "\n")) }
}

/// One client against one server.
fn pairing(name: &str, cases: Cases, server: &mut Server, client: &dyn Fn() -> Command) -> Verdict {
    let (names, limit): (&[&str], _) = match cases {
        Cases::OneByOne => (&CASES, CASE_LIMIT),
        Cases::AllAtOnce => (&["all"], ALL_LIMIT),
    };
    let (mut passed, mut failures) = (0_usize, Vec::new());
    for case in names {
        let mut command = client();
        command.args(["--server_host", "127.0.0.1", "--server_port", &server.port.to_string()]);
        let finished = process::run(command.args(["--test_case", case]), limit)?;
        let lines = |mark: &str| -> Vec<String> {
            finished.stdout.lines().filter(|line| line.contains(mark)).map(ToOwned::to_owned).collect()
        };
        match (finished.success(), cases) {
            (true, Cases::OneByOne) => passed += 1,
            (true, Cases::AllAtOnce) => passed += lines(": ok").len(),
            (false, _) => {
                failures.push(format!("{case}: {} {}", lines("FAILED").join("; "), finished.tail()));
            }
        }
        server.still_runs()?;
    }
    match failures.is_empty() {
        // A client that says nothing has tested nothing.
        true if passed >= CASES.len() => Ok(format!("{name} {passed}/{passed}")),
        true => Err(format!("{name}: only {passed} cases ran")),
        false => Err(format!("{name}: {} failed\n{}", failures.len(), failures.join("\n"))),
    }
}
