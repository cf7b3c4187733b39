//! `grpc.testing.TestService` in a process that replaces itself: the server of the suites `restart` and `life`.
//!
//! SIGHUP starts the program anew with the listening socket and then drains; SIGTERM drains. Everything it has to say is a line
//! on standard output that begins with its process number.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clearway::transport::{Address, Handover, Listener, Server, notify_ready};
use clearway_interop::flags::{self, Asked, Problem};
use clearway_interop::service::Interop;
use clearway_interop::testing::test_service_server::TestServiceServer;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
grpc.testing.TestService in a process that replaces itself.

Usage: restart-server --port N [--max_age_ms N] [--grace_ms N]

  --port N         listen on 127.0.0.1:N, unless a listening socket is inherited (LISTEN_FDS)
  --max_age_ms N   how old a connection may become; for ever by default
  --grace_ms N     how long calls may go on then, and after a shutdown; 20000 by default
  --help           print this

Prints `PID serves`, `PID is replaced by PID`, `PID is not replaced: WHY`, `PID ended, N calls cut off`. SIGHUP replaces it,
SIGTERM ends it.
";

#[derive(Debug, Default)]
struct Flags {
    port: Option<u16>,
    max_age_ms: Option<u64>,
    grace_ms: Option<u64>,
}

fn main() -> ExitCode {
    let flags = match read(std::env::args_os().skip(1)) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("restart-server: {problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(&flags)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restart-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(args: impl IntoIterator<Item = OsString>) -> Result<Asked<Flags>, Problem> {
    flags::read(args, |flags: &mut Flags, name, values| {
        let number = |text: String| text.parse().map_err(|_| format!("{text} is not a number"));
        match name {
            "port" => flags.port = Some(values.port()?),
            "max_age_ms" => flags.max_age_ms = Some(number(values.text()?)?),
            "grace_ms" => flags.grace_ms = Some(number(values.text()?)?),
            _ => return Ok(false),
        }
        Ok(true)
    })
}

fn say(what: &str) {
    println!("{} {what}", std::process::id());
}

async fn serve(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let grace = Duration::from_millis(flags.grace_ms.unwrap_or(20_000));
    let mut server = Server::builder().shutdown_grace(grace).max_connection_age_grace(grace);
    if let Some(age) = flags.max_age_ms {
        server = server.max_connection_age(Duration::from_millis(age));
    }
    let mut listener = match Listener::inherited()?.pop() {
        Some(inherited) => inherited,
        None => {
            let port = flags.port.ok_or("--port is missing; see --help")?;
            Listener::bind(&Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).await?
        }
    };
    let replaced = replaced(listener.share()?)?;
    let counters = server.counters();
    let router = server.add_service(TestServiceServer::new(Interop::default()));
    say("serves");
    notify_ready()?;
    Box::pin(router.serve_with_listener(listener, replaced)).await?;
    say(&format!("ended, {} calls cut off", counters.calls_cut_off()));
    Ok(())
}

/// Ready on SIGTERM, and on SIGHUP once a successor serves.
fn replaced(socket: Handover) -> std::io::Result<impl Future<Output = ()>> {
    let (mut hangup, mut end) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let program = std::env::current_exe()?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = end.recv() => return,
                _ = hangup.recv() => {
                    let mut successor = Command::new(&program);
                    successor.args(std::env::args_os().skip(1));
                    match socket.start(successor, Duration::from_secs(10)).await {
                        Ok(child) => return say(&format!("is replaced by {}", child.id())),
                        Err(error) => say(&format!("is not replaced: {error}")),
                    }
                }
            }
        }
    })
}
