//! `rpc_soak` and `channel_soak` with grpc-go: large unary calls by the thousand over one channel, and by the hundred over a new channel each.
//! None may fail, and our process must be no larger at the end than after the first part.

use std::process::Command;
use std::time::Duration;

use super::interop::{join, start, told};
use super::peer;
use super::tls::Certificates;
use crate::process::{self, Finished, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// What a case is told.
struct Soak {
    case: &'static str,
    iterations: &'static str,
    threads: &'static str,
}

const SOAKS: [Soak; 2] = [
    Soak { case: "rpc_soak", iterations: "5000", threads: "8" },
    Soak { case: "channel_soak", iterations: "500", threads: "5" },
];
const FLAGS: [&str; 3] = [
    "--soak_max_failures=0",
    "--soak_overall_timeout_seconds=400",
    // A busy machine may keep a call waiting; none may be lost.
    "--soak_per_iteration_max_acceptable_latency_ms=20000",
];
const LIMIT: Duration = Duration::from_secs(450);
/// What one of our processes may grow by over a case, in KiB: allocators keep a little of what a few calls more at a time once took.
const GROWTH_KIB: u64 = 8 * 1024;
/// A server is warm after so many calls of each case.
const WARM: &str = "200";

pub(super) fn cleartext(workspace: &Workspace) -> Verdict {
    all(workspace, None)
}

pub(super) fn tls(workspace: &Workspace) -> Verdict {
    all(workspace, Some(&Certificates::make(workspace)?))
}

/// Whose process is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Client,
    Server,
    Both,
}

fn all(workspace: &Workspace, tls: Option<&Certificates>) -> Verdict {
    let ours = || told(Command::new(workspace.program("interop-client")), tls);
    let theirs = || told(peer(workspace, "go-interop-client"), tls);
    let mut our_server = start(Command::new(workspace.program("interop-server")), tls)?;
    let with_ours = [
        soaked("ours with ours", &mut our_server, &ours, Looked::Both),
        soaked("grpc-go client, our server", &mut our_server, &theirs, Looked::Server),
    ];
    drop(our_server);
    let mut their_server = start(peer(workspace, "go-interop-server"), tls)?;
    let with_theirs = soaked("our client, grpc-go server", &mut their_server, &ours, Looked::Client);
    join(with_ours.into_iter().chain([with_theirs]))
}

/// Both cases.
fn soaked(name: &str, server: &mut Server, client: &dyn Fn() -> Command, looked: Looked) -> Verdict {
    // So that what a server makes once, and what its allocator keeps of connections, is there before it is looked at.
    for soak in SOAKS {
        one(
            server,
            client,
            &["--test_case", soak.case, "--soak_num_threads", soak.threads, "--soak_iterations", WARM],
        )?;
    }
    let mut grown = Vec::new();
    for soak in SOAKS {
        let before = server.resident_kib();
        let args = [
            "--test_case",
            soak.case,
            "--soak_num_threads",
            soak.threads,
            "--soak_iterations",
            soak.iterations,
        ];
        let finished =
            one(server, client, &args).map_err(|error| format!("{name}, {}: {error}", soak.case))?;
        let mut growths = Vec::new();
        if looked != Looked::Client {
            growths.push(("server", before.zip(server.resident_kib())));
        }
        if looked != Looked::Server {
            growths.push(("client", Some(resident(&finished)?)));
        }
        for (whose, sizes) in growths {
            let Some((before, after)) = sizes else { continue };
            println!("{name}, {}: {whose} {before} KiB, then {after} KiB", soak.case);
            let growth = after.saturating_sub(before);
            if growth > GROWTH_KIB {
                return Err(format!("{name}, {}: our {whose} grew by {growth} KiB", soak.case));
            }
            grown.push(growth);
        }
    }
    Ok(format!("{name} 5000 + 500, +{} KiB", grown.into_iter().max().unwrap_or_default()))
}

fn one(server: &mut Server, client: &dyn Fn() -> Command, args: &[&str]) -> Result<Finished, String> {
    let mut command = client();
    command.args(["--server_host", "127.0.0.1", "--server_port", &server.port.to_string()]);
    let finished = process::run(command.args(args).args(FLAGS), LIMIT)?;
    server.still_runs()?;
    if finished.success() { Ok(finished) } else { Err(finished.tail()) }
}

/// What our client says of its memory: early, and at the end, in KiB.
fn resident(finished: &Finished) -> Result<(u64, u64), String> {
    let line = finished.stdout.lines().find(|line| line.starts_with("resident memory: "));
    let line = line.ok_or("the client says nothing of its memory")?;
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    numbers.next().zip(numbers.next()).ok_or_else(|| format!("no two numbers in {line:?}"))
}
