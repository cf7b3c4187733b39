//! The official interop cases of grpc.testing.TestService, with programs of other stacks: their client and our server, our
//! client and their server, ours with ours, theirs with theirs. In cleartext, and over TLS with certificates of the run.
//!
//! Soak is in [`super::soak`], servers that misbehave in [`super::negative`]. Left out: cases with cloud credentials and ALTS, and those that want several
//! backends behind one name.

use std::process::Command;
use std::time::Duration;

use super::tls::Certificates;
use super::{peer, serve};
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// What every stack has.
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

/// Load reports.
const ORCA: [&str; 2] = ["orca_per_rpc", "orca_oob"];
const ORCA_BALANCER: &str =
    r#"--service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

/// Compression, whole: with a server that looks how messages came.
const COMPRESSION: [&str; 4] = [
    "client_compressed_unary",
    "server_compressed_unary",
    "client_compressed_streaming",
    "server_compressed_streaming",
];

/// What our client does with `--compression` against servers that do not look: all kinds of call, and answers that must come as asked for.
const COMPRESSED: [&str; 6] = [
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "custom_metadata",
    "server_compressed_unary",
];

/// A case takes some 25 ms; one that does not end is a failure.
const CASE_LIMIT: Duration = Duration::from_secs(30);
/// For a client that runs all its cases in one process.
const ALL_LIMIT: Duration = Duration::from_secs(240);

/// How a client is told what to do.
#[derive(Clone, Copy)]
enum Cases<'a> {
    /// One for each process.
    OneByOne(&'a [&'a [&'static str]]),
    /// `--test_case all`; it prints `NAME: ok` or `NAME: FAILED: WHY` for each, of so many at least, and may know cases of its own.
    AllAtOnce(usize),
}

/// A stack of other people's.
struct Stack<'a> {
    name: &'static str,
    cases: Cases<'a>,
    /// For a case.
    client: &'a dyn Fn(&str) -> Command,
    server: &'a dyn Fn() -> Command,
    /// What our client says to its server.
    answers: &'a [&'a [&'static str]],
    /// Algorithms its server has, and the flag that makes it use one.
    compressions: &'a [(&'static str, Option<&'static str>)],
}

/// grpc-go's own programs and ours, in all four pairings.
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
        cases: Cases::OneByOne(&[&CASES, &ORCA]),
        client: &|case| balanced(peer(workspace, "go-interop-client"), case),
        server: &|| peer(workspace, "go-interop-server"),
        answers: &[&CASES, &ORCA],
        compressions: &[],
    };
    let mut theirs = start((stack.server)(), tls)?;
    let rig =
        pairing("theirs with theirs", stack.cases, &mut theirs, &|case| told((stack.client)(case), tls));
    join([rig, both_ways(workspace, &stack, tls), ours_with_ours(workspace, tls)])
}

/// A client that looks at load reports by a balancer of its own, and must be told to use it.
fn balanced(mut client: Command, case: &str) -> Command {
    client.args(ORCA.contains(&case).then_some(ORCA_BALANCER));
    client
}

/// A program of ours on grpc-go, whose own do not compress.
pub(super) fn go_gzip(workspace: &Workspace) -> Verdict {
    let mut ours = serve(workspace, "interop-server")?;
    let theirs_to_ours = pairing("grpc-go client, our server", Cases::AllAtOnce(9), &mut ours, &|_| {
        peer(workspace, GO_COMPRESSING)
    });
    let mut theirs = start(peer(workspace, GO_COMPRESSING), None)?;
    // Its server answers as it is asked, whatever the request's fields say.
    let cases: &[&[&str]] = &[COMPRESSED.get(..5).unwrap_or_default()];
    let ours_to_theirs = pairing("our client, grpc-go server", Cases::OneByOne(cases), &mut theirs, &|_| {
        compressing(workspace, "gzip")
    });
    join([theirs_to_ours, ours_to_theirs])
}

/// Our server behind middleware of tower and tower-http.
pub(super) fn go_layers(workspace: &Workspace) -> Verdict {
    let mut server = Command::new(workspace.program("interop-server"));
    server.arg("--layers");
    let mut ours = start(server, None)?;
    let cases = Cases::OneByOne(&[&CASES, &ORCA]);
    pairing("grpc-go client, our server with layers", cases, &mut ours, &|case| {
        told(balanced(peer(workspace, "go-interop-client"), case), None)
    })
}

pub(super) const GO_COMPRESSING: &str = "go-compressing";

/// Our client, whose calls are all compressed.
fn compressing(workspace: &Workspace, algorithm: &str) -> Command {
    let mut command = Command::new(workspace.program("interop-client"));
    command.args(["--compression", algorithm]);
    command
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
        cases: Cases::AllAtOnce(CASES.len()),
        client: &|_| script(GRPCIO_CLIENT),
        server: &|| script(GRPCIO_SERVER),
        answers: &[&CASES],
        compressions: &[("gzip", Some("--compression=Gzip")), ("deflate", Some("--compression=Deflate"))],
    };
    both_ways(workspace, &stack, tls)
}

pub(super) const GRPCIO_CLIENT: &str = "interop/python/client.py";
pub(super) const GRPCIO_SERVER: &str = "interop/python/server.py";

/// Programs of bench/peers on tonic.
pub(super) fn tonic(workspace: &Workspace) -> Verdict {
    tonic_over(workspace, None)
}

/// The same, over TLS.
pub(super) fn tonic_tls(workspace: &Workspace) -> Verdict {
    tonic_over(workspace, Some(&Certificates::make(workspace)?))
}

fn tonic_over(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
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
        cases: Cases::AllAtOnce(CASES.len()),
        client: &|_| program("tonic-interop-client"),
        server: &|| program("tonic-interop-server"),
        answers: &[&CASES],
        compressions: &[("gzip", None), ("deflate", None), ("zstd", None)],
    };
    both_ways(workspace, &stack, tls)
}

/// grpc-java's own programs. Their client has all the cases of compression; their server does not look how messages came.
pub(super) fn java(workspace: &Workspace) -> Verdict {
    let program = |name: &str| {
        let mut command = peer(workspace, "java");
        command.arg("-cp").arg(workspace.java_classes().unwrap_or_default());
        command.arg(format!("io.grpc.testing.integration.{name}")).arg("--use_tls=false");
        command
    };
    let stack = Stack {
        name: "grpc-java",
        cases: Cases::OneByOne(&[&CASES, &COMPRESSION, &ORCA]),
        client: &|case| balanced(program("TestServiceClient"), case),
        server: &|| program("TestServiceServer"),
        // Its server compresses no streams.
        answers: &[&CASES, &ORCA, &["server_compressed_unary"]],
        compressions: &[],
    };
    both_ways(workspace, &stack, None)
}

/// The script of interop/node on Google's own gRPC for Node.
pub(super) fn node(workspace: &Workspace) -> Verdict {
    node_over(workspace, None)
}

/// The same, over TLS.
pub(super) fn node_tls(workspace: &Workspace) -> Verdict {
    node_over(workspace, Some(&Certificates::make(workspace)?))
}

fn node_over(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
    let script = |role: &str| {
        let mut command = peer(workspace, "node");
        command.arg(workspace.root.join(NODE)).arg(role);
        command.envs(workspace.node_modules().map(|modules| ("NODE_PATH", modules)));
        command
    };
    let stack = Stack {
        name: "grpc-js",
        cases: Cases::AllAtOnce(CASES.len()),
        client: &|_| script("client"),
        server: &|| script("server"),
        answers: &[&CASES],
        compressions: &[],
    };
    both_ways(workspace, &stack, tls)
}

pub(super) const NODE: &str = "interop/node/peer.js";

/// A server that takes `--port N` and, with TLS, the official flags for it.
pub(super) fn start(server: Command, tls: Option<&Certificates>) -> Result<Server, String> {
    let mut command = server;
    if let Some(certificates) = tls {
        certificates.tell_server(&mut command);
    }
    Server::start(|port| {
        command.arg(format!("--port={port}"));
        command
    })
}

/// Their client and our server, our client and their server.
fn both_ways(workspace: &Workspace, stack: &Stack<'_>, tls: Option<&Certificates>) -> Verdict {
    let mut ours = start(Command::new(workspace.program("interop-server")), tls)?;
    let in_theirs = format!("{} client, our server", stack.name);
    let theirs_to_ours = pairing(&in_theirs, stack.cases, &mut ours, &|case| told((stack.client)(case), tls));
    let mut theirs = start((stack.server)(), tls)?;
    let in_ours = format!("our client, {} server", stack.name);
    let client = || Command::new(workspace.program("interop-client"));
    let cases = Cases::OneByOne(stack.answers);
    let ours_to_theirs = pairing(&in_ours, cases, &mut theirs, &|_| told(client(), tls));
    let mut verdicts = vec![theirs_to_ours, ours_to_theirs];
    for (algorithm, flag) in stack.compressions {
        let mut server = (stack.server)();
        server.args(flag.as_slice());
        let mut theirs = start(server, tls)?;
        let client = || compressing(workspace, algorithm);
        let cases = Cases::OneByOne(&[&COMPRESSED]);
        verdicts.push(pairing(algorithm, cases, &mut theirs, &|_| told(client(), tls)));
    }
    join(verdicts)
}

/// All cases, and all of them again with every algorithm.
fn ours_with_ours(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
    let mut server = start(Command::new(workspace.program("interop-server")), tls)?;
    let client = || Command::new(workspace.program("interop-client"));
    let cases = Cases::OneByOne(&[&CASES, &COMPRESSION, &ORCA]);
    let mut verdicts = vec![pairing("ours with ours", cases, &mut server, &|_| told(client(), tls))];
    for algorithm in ["gzip", "deflate", "zstd"] {
        let client = || compressing(workspace, algorithm);
        let cases = Cases::OneByOne(&[&COMPRESSED, &COMPRESSION]);
        verdicts.push(pairing(algorithm, cases, &mut server, &|_| told(client(), tls)));
    }
    join(verdicts)
}

/// A client that knows whether to speak TLS.
pub(super) fn told(client: Command, tls: Option<&Certificates>) -> Command {
    let mut command = client;
    if let Some(certificates) = tls {
        certificates.tell_client(&mut command);
    }
    command
}

/// One verdict of several.
pub(super) fn join(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
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
fn pairing(name: &str, cases: Cases<'_>, server: &mut Server, client: &dyn Fn(&str) -> Command) -> Verdict {
    let (names, limit, fewest) = match cases {
        Cases::OneByOne(lists) => (lists.concat(), CASE_LIMIT, lists.concat().len()),
        Cases::AllAtOnce(fewest) => (vec!["all"], ALL_LIMIT, fewest),
    };
    let (mut passed, mut failures) = (0_usize, Vec::new());
    for case in names {
        let mut command = client(case);
        // grpc-java wants flag and value in one word.
        command.arg("--server_host=127.0.0.1").arg(format!("--server_port={}", server.port));
        let finished = process::run(command.arg(format!("--test_case={case}")), limit)?;
        let lines = |mark: &str| -> Vec<String> {
            finished.stdout.lines().filter(|line| line.contains(mark)).map(ToOwned::to_owned).collect()
        };
        match (finished.success(), cases) {
            (true, Cases::OneByOne(_)) => passed += 1,
            (true, Cases::AllAtOnce(_)) => passed += lines(": ok").len(),
            (false, _) => {
                failures.push(format!("{case}: {} {}", lines("FAILED").join("; "), finished.tail()));
            }
        }
        server.still_runs()?;
    }
    match failures.is_empty() {
        // A client that says nothing has tested nothing.
        true if passed >= fewest => Ok(format!("{name} {passed}/{passed}")),
        true => Err(format!("{name}: only {passed} cases ran")),
        false => Err(format!("{name}: {} failed\n{}", failures.len(), failures.join("\n"))),
    }
}
