//! `bench.Echo` on our stack: plain echoes to measure, and methods that misuse a server on purpose.
//!
//! Generated code, the public API and the library's defaults; only the flags change anything, so that what a load
//! generator finds here is true of every server built on the library.
//!
//! Left out: health checking, which comes with its service.

use core::num::NonZeroUsize;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clearway::server::{Placement, Service as _};
use clearway::transport::{Address, Identity, Listener, Server, ServerTlsConfig, ThreadPerCore};
use clearway::{Request, Response, Status, Streaming};
use clearway_interop::ends::Ends;
use clearway_interop::{certificates, flags};

/// Code generated from proto/bench/echo.proto.
mod bench {
    clearway::include_proto!("bench");
}

use bench::echo_server::{Echo, EchoServer};
use bench::{Msg, StreamReq, Work};

const HELP: &str = "\
bench.Echo: echoes to measure, and methods that misuse a server on purpose (proto/bench/echo.proto).

Usage: bench-server --port N [--runtime current_thread|multi_thread|thread_per_core] [--workers K] [--max-streams N] [--min-ping-interval S] [--placement P] [--log-ends] [--tls [--cert FILE --key FILE]]

  --port N         listen on 127.0.0.1:N; 0 takes any free port
  --runtime R      tokio's scheduler, or the library's threads that share nothing (multi_thread)
  --workers K      threads of multi_thread and of thread_per_core (one for each core)
  --max-streams N  concurrent calls on one connection (the library's default)
  --min-ping-interval S  seconds between PINGs of a client, 0 for none (the library's default)
  --placement P    where handlers are polled: auto, inline or spawn (auto; inline under tools that slow everything down)
  --log-ends       a line on stderr for the end of every connection, not only of those that were cut off
  --tls            speak TLS with ALPN h2, with a certificate made for this run that signs itself
  --cert FILE      PEM certificate chain to use instead
  --key FILE       its PEM private key
  --help           print this

Prints `listening on 127.0.0.1:PORT` once it accepts connections; serves until it is killed.
Exits 2 when the command line cannot be used, 1 when the port cannot be listened on.
";

/// Every method of the service; there is nothing to keep between calls.
struct Bench;

impl Echo for Bench {
    type ServerStreamStream = tokio_stream::Iter<Download>;
    type BidiStream = Streaming<Msg>;

    async fn unary(&self, request: Request<Msg>) -> Result<Response<Msg>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn server_stream(
        &self,
        request: Request<StreamReq>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let StreamReq { count, size } = request.into_inner();
        let size = usize::try_from(size).map_err(|_| Status::invalid_argument("size does not fit memory"))?;
        Ok(Response::new(tokio_stream::iter(Download { left: count, size })))
    }

    async fn bidi(&self, request: Request<Streaming<Msg>>) -> Result<Response<Self::BidiStream>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn r#yield(&self, request: Request<Msg>) -> Result<Response<Msg>, Status> {
        tokio::task::yield_now().await;
        Ok(Response::new(request.into_inner()))
    }

    async fn spin(&self, request: Request<Work>) -> Result<Response<Msg>, Status> {
        let Work { micros, payload } = request.into_inner();
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(micros.into()) {
            std::hint::spin_loop();
        }
        Ok(Response::new(Msg { payload }))
    }

    async fn block(&self, request: Request<Work>) -> Result<Response<Msg>, Status> {
        let Work { micros, payload } = request.into_inner();
        std::thread::sleep(Duration::from_micros(micros.into()));
        Ok(Response::new(Msg { payload }))
    }

    async fn hold(&self, request: Request<Streaming<Msg>>) -> Result<Response<Msg>, Status> {
        // Kept, so that the upload stays open and unread.
        let _unread = request;
        std::future::pending().await
    }
}

/// What one ServerStream call sends: messages made when they are wanted.
struct Download {
    left: u32,
    size: usize,
}

impl Iterator for Download {
    type Item = Result<Msg, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(Ok(Msg { payload: vec![0; self.size] }))
    }
}

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheduler {
    CurrentThread,
    /// `None`: one thread for each core.
    MultiThread {
        workers: Option<usize>,
    },
    /// The same number of threads, each with a runtime and a listener of its own.
    PerCore {
        threads: Option<usize>,
    },
}

impl Scheduler {
    /// Serves until something goes wrong.
    fn serve(self, server: Server, placement: Placement, port: u16) -> Result<Infallible, String> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread { .. } => tokio::runtime::Builder::new_multi_thread(),
            Self::PerCore { threads } => return serve_per_core(server, placement, port, threads),
        };
        if let Self::MultiThread { workers: Some(workers) } = self {
            builder.worker_threads(workers);
        }
        let runtime = builder.enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
        runtime.block_on(serve(server, placement, port))
    }
}

fn serve_per_core(
    server: Server,
    placement: Placement,
    port: u16,
    threads: Option<usize>,
) -> Result<Infallible, String> {
    let threads = threads.and_then(NonZeroUsize::new).or(std::thread::available_parallelism().ok());
    let router = move || server.clone().add_service(EchoServer::new(Bench).placed(placement));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let serving = ThreadPerCore::start(address, threads.unwrap_or(NonZeroUsize::MIN), router)
        .map_err(|error| error.to_string())?;
    clearway_interop::announce(serving.local_addr());
    loop {
        std::thread::park();
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Serve { port: u16, scheduler: Scheduler, limits: Limits, placement: Placement, ends: Ends, tls: Tls },
    Help,
}

/// What differs from the library's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    max_streams: Option<u32>,
    min_ping_seconds: Option<u64>,
}

impl Limits {
    fn set(self, server: Server) -> Server {
        let server = server.max_concurrent_streams(self.max_streams);
        match self.min_ping_seconds {
            Some(seconds) => server.min_ping_interval(Duration::from_secs(seconds)),
            None => server,
        }
    }
}

/// Whether TLS is spoken, and with which certificate.
#[derive(Debug, PartialEq, Eq)]
enum Tls {
    Off,
    SelfSigned,
    Files { cert: Option<String>, key: Option<String> },
}

fn read_flags(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut port, mut runtime, mut workers, mut limits) = (None, None, None, Limits::default());
    let (mut tls, mut cert, mut key) = (false, None, None);
    let (mut placement, mut ends) = (Placement::Auto, Ends::CutOff);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("port") => port = Some(number(&mut parser, "--port")?),
            Long("workers") => workers = Some(number(&mut parser, "--workers")?),
            Long("max-streams") => limits.max_streams = Some(number(&mut parser, "--max-streams")?),
            Long("min-ping-interval") => {
                limits.min_ping_seconds = Some(number(&mut parser, "--min-ping-interval")?);
            }
            Long("runtime") => runtime = Some(text(&mut parser, "--runtime")?),
            Long("placement") => placement = read_placement(&text(&mut parser, "--placement")?)?,
            Long("log-ends") => ends = Ends::All,
            Long("tls") => tls = true,
            Long("cert") => cert = Some(text(&mut parser, "--cert")?),
            Long("key") => key = Some(text(&mut parser, "--key")?),
            Long("help") => return Ok(Asked::Help),
            other => return Err(format!("{}; see --help", other.unexpected())),
        }
    }
    let scheduler = match (runtime.as_deref(), workers) {
        (_, Some(0)) => return Err("--workers: at least 1".into()),
        (None | Some("multi_thread"), workers) => Scheduler::MultiThread { workers },
        (Some("current_thread"), None | Some(1)) => Scheduler::CurrentThread,
        (Some("current_thread"), Some(_)) => {
            return Err("--workers: current_thread has one thread".into());
        }
        (Some("thread_per_core"), threads) => Scheduler::PerCore { threads },
        (Some(other), _) => {
            return Err(format!(
                "--runtime: {other} is none of current_thread, multi_thread and thread_per_core"
            ));
        }
    };
    let port = port.ok_or("--port is missing; see --help")?;
    let tls = match (tls, cert, key) {
        (false, None, None) => Tls::Off,
        (false, ..) => return Err("--cert and --key need --tls".into()),
        (true, None, None) => Tls::SelfSigned,
        (true, cert, key) => Tls::Files { cert, key },
    };
    Ok(Asked::Serve { port, scheduler, limits, placement, ends, tls })
}

fn read_placement(named: &str) -> Result<Placement, String> {
    match named {
        "auto" => Ok(Placement::Auto),
        "inline" => Ok(Placement::Inline),
        "spawn" => Ok(Placement::Spawn),
        other => Err(format!("--placement: {other} is none of auto, inline and spawn")),
    }
}

/// The library's server, with the certificate that was asked for.
fn server(tls: &Tls) -> Result<Server, String> {
    let identity = match tls {
        Tls::Off => return Ok(Server::builder()),
        Tls::SelfSigned => {
            let pem = certificates::self_signed().map_err(|error| format!("no certificate: {error}"))?;
            Identity::from_pem(pem.certificate, pem.key)
        }
        Tls::Files { cert, key } => flags::identity(("cert", cert.as_deref()), ("key", key.as_deref()))?,
    };
    let config = ServerTlsConfig::new().identity(identity);
    Server::builder().tls_config(config).map_err(|error| error.to_string())
}

fn number<T>(parser: &mut lexopt::Parser, flag: &str) -> Result<T, String>
where
    T: std::str::FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    use lexopt::ValueExt;

    parser.value().and_then(|value| value.parse()).map_err(|error| format!("{flag}: {error}"))
}

fn text(parser: &mut lexopt::Parser, flag: &str) -> Result<String, String> {
    parser.value().and_then(lexopt::ValueExt::string).map_err(|error| format!("{flag}: {error}"))
}

async fn serve(server: Server, placement: Placement, port: u16) -> Result<Infallible, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = Listener::bind(&Address::Tcp(address))
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    clearway_interop::announce(listener.local_addr().unwrap_or(address));
    let router = server.add_service(EchoServer::new(Bench).placed(placement));
    match router.serve_with_listener(listener, std::future::pending()).await {
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("stopped serving although nobody asked for it".into()),
    }
}

fn main() -> ExitCode {
    let (port, scheduler, limits, placement, ends, tls) = match read_flags(std::env::args_os().skip(1)) {
        Ok(Asked::Serve { port, scheduler, limits, placement, ends, tls }) => {
            (port, scheduler, limits, placement, ends, tls)
        }
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("bench-server: {message}");
            return ExitCode::from(2);
        }
    };
    let server = match server(&tls) {
        Ok(server) => server.on_connection_end(move |closed| ends.log(closed)),
        Err(message) => {
            eprintln!("bench-server: {message}");
            return ExitCode::from(2);
        }
    };
    let Err(message) = scheduler.serve(limits.set(server), placement, port);
    eprintln!("bench-server: {message}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Asked, String> {
        read_flags(args.iter().map(OsString::from))
    }

    #[test]
    fn flags_are_read() {
        let scheduler = Scheduler::MultiThread { workers: Some(2) };
        assert_eq!(
            read(&["--port", "0", "--runtime", "multi_thread", "--workers=2", "--max-streams", "7"]),
            Ok(Asked::Serve {
                port: 0,
                scheduler,
                limits: Limits { max_streams: Some(7), min_ping_seconds: None },
                placement: Placement::Auto,
                ends: Ends::CutOff,
                tls: Tls::Off
            })
        );
        assert_eq!(
            read(&[
                "--port=1",
                "--runtime=current_thread",
                "--workers=1",
                "--log-ends",
                "--min-ping-interval=0"
            ]),
            Ok(Asked::Serve {
                port: 1,
                scheduler: Scheduler::CurrentThread,
                limits: Limits { max_streams: None, min_ping_seconds: Some(0) },
                placement: Placement::Auto,
                ends: Ends::All,
                tls: Tls::Off
            })
        );
        let scheduler = Scheduler::PerCore { threads: Some(2) };
        assert_eq!(
            read(&["--port=1", "--runtime=thread_per_core", "--workers=2"]),
            Ok(Asked::Serve {
                port: 1,
                scheduler,
                limits: Limits::default(),
                placement: Placement::Auto,
                ends: Ends::CutOff,
                tls: Tls::Off
            })
        );
        assert_eq!(read(&["--help"]), Ok(Asked::Help));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            &[][..],
            &["--port", "65536"],
            &["--port=1", "--workers=0"],
            &["--port=1", "--runtime=threads"],
            &["--port=1", "--runtime=thread_per_core", "--workers=0"],
            &["--port=1", "--runtime=current_thread", "--workers=2"],
            &["--port=1", "--placement=elsewhere"],
            &["--port=1", "more"],
            &["--port=1", "--cert=a", "--key=b"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tls_has_a_certificate_of_its_own_or_that_of_files() {
        let tls = |args: &[&str]| match read(args) {
            Ok(Asked::Serve { tls, .. }) => tls,
            other => panic!("{other:?}"),
        };
        assert_eq!(tls(&["--port=1", "--tls"]), Tls::SelfSigned);
        assert!(server(&Tls::SelfSigned).is_ok());
        let files = tls(&["--port=1", "--tls", "--cert=/no/such"]);
        assert!(server(&files).is_err_and(|message| message.contains("--key is missing")));
        let files = tls(&["--port=1", "--tls", "--cert=/no/such", "--key=b"]);
        assert!(server(&files).is_err_and(|message| message.contains("/no/such")));
    }

    #[test]
    fn a_download_has_what_was_asked_for() {
        let sizes: Vec<_> =
            Download { left: 3, size: 5 }.flatten().map(|message| message.payload.len()).collect();
        assert_eq!(sizes, [5, 5, 5]);
    }
}
