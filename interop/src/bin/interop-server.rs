//! `grpc.testing.TestService` on our stack, with the official server's flags: what other implementations' interop clients
//! call.
//!
//! Generated code, the public API and the library's defaults.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clearway::transport::{Address, Listener, Server, ServerTlsConfig};
use clearway_interop::ends::Ends;
use clearway_interop::flags::{self, Asked, Problem};
use clearway_interop::service::Interop;
use clearway_interop::testing::test_service_server::TestServiceServer;
use clearway_interop::xds::service::orca::v3::open_rca_service_server::OpenRcaServiceServer;
use clearway_interop::{COMPRESSIONS, compressions};
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

const HELP: &str = "\
grpc.testing.TestService: the server of the gRPC interop suite. Beside it xds.service.orca.v3.OpenRcaService.

Usage: interop-server --port N [--use_tls=true --tls_cert_file FILE --tls_key_file FILE]

  --port N             listen on 127.0.0.1:N; 0 takes any free port
  --use_tls[=BOOL]     speak TLS with ALPN h2; false by default
  --tls_cert_file FILE PEM certificate chain for --use_tls
  --tls_key_file FILE  PEM private key for --use_tls
  --compression LIST   algorithms it reads and writes, the best first; gzip,deflate,zstd by default (not an official flag)
  --layers[=BOOL]      everything goes through middleware of tower and tower-http; false by default (not an official flag)
  --help               print this

Prints `listening on 127.0.0.1:PORT` once it accepts connections; serves until it is killed.
Exits 2 when the command line cannot be used, 1 when the port cannot be listened on.
";

fn main() -> ExitCode {
    let Work { port, server } = match read_flags(std::env::args_os().skip(1)) {
        Ok(Asked::Run(work)) => work,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("interop-server: {problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("interop-server: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(port, server)) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("interop-server: cannot listen on 127.0.0.1:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Flags {
    port: Option<u16>,
    use_tls: bool,
    cert: Option<String>,
    key: Option<String>,
    compression: Option<String>,
    layers: bool,
}

/// What they mean.
#[derive(Debug)]
struct Work {
    port: u16,
    server: Server,
}

fn read_flags(args: impl IntoIterator<Item = OsString>) -> Result<Asked<Work>, Problem> {
    let asked = flags::read(args, |flags: &mut Flags, name, values| {
        match name {
            "port" => flags.port = Some(values.port()?),
            "use_tls" => flags.use_tls = values.switch()?,
            "tls_cert_file" => flags.cert = Some(values.text()?),
            "tls_key_file" => flags.key = Some(values.text()?),
            "compression" => flags.compression = Some(values.text()?),
            "layers" => flags.layers = values.switch()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match asked {
        Asked::Help => Ok(Asked::Help),
        Asked::Run(flags) => resolve(&flags).map(Asked::Run),
    }
}

fn resolve(flags: &Flags) -> Result<Work, Problem> {
    let port = flags.port.ok_or("--port is missing; see --help")?;
    let mut server = Server::builder().on_connection_end(|closed| Ends::CutOff.log(closed));
    let compressions = match &flags.compression {
        Some(names) => compressions(names).map_err(|problem| format!("--compression: {problem}"))?,
        None => COMPRESSIONS.to_vec(),
    };
    for encoding in compressions {
        server = server.accept_compressed(encoding).send_compressed(encoding);
    }
    if flags.use_tls {
        let (cert, key) = (flags.cert.as_deref(), flags.key.as_deref());
        let identity = flags::identity(("tls_cert_file", cert), ("tls_key_file", key))?;
        let config = ServerTlsConfig::new().identity(identity);
        server = server.tls_config(config).map_err(|error| error.to_string())?;
    }
    if flags.layers {
        server = server
            .layer(TraceLayer::new_for_grpc())
            .layer(TimeoutLayer::new(Duration::from_secs(60)))
            .layer(ConcurrencyLimitLayer::new(1000));
    }
    Ok(Work { port, server })
}

async fn serve(port: u16, server: Server) -> Result<Infallible, Box<dyn std::error::Error>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = Listener::bind(&Address::Tcp(address)).await?;
    clearway_interop::announce(listener.local_addr().unwrap_or(address));
    let service = Interop::default();
    let reports = OpenRcaServiceServer::new(service.reported.clone());
    let router = server.add_service(TestServiceServer::new(service)).add_service(reports);
    router.serve_with_listener(listener, std::future::pending()).await?;
    Err("the server has ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked<u16>, Problem> {
        let asked = read_flags(line.split_whitespace().map(OsString::from))?;
        Ok(match asked {
            Asked::Run(work) => Asked::Run(work.port),
            Asked::Help => Asked::Help,
        })
    }

    #[test]
    fn official_flags_are_read() {
        assert_eq!(read("--port=0 --use_tls=false"), Ok(Asked::Run(0)));
        assert_eq!(read("--port 10000"), Ok(Asked::Run(10000)));
        assert_eq!(read("--help"), Ok(Asked::Help));
        assert!(read("").is_err_and(|problem| problem.contains("--port")));
    }

    #[test]
    fn tls_needs_both_files() {
        for (line, named) in [
            ("--port 1 --use_tls", "--tls_cert_file is missing"),
            ("--port 1 --use_tls --tls_cert_file a", "--tls_key_file is missing"),
            ("--use_tls=true --tls_cert_file /no/such --tls_key_file=b --port 1", "/no/such"),
            ("--port 1 --compression gzip,br", "--compression: \"br\""),
        ] {
            assert!(read(line).is_err_and(|problem| problem.contains(named)), "{line}");
        }
        assert_eq!(read("--use_tls=false --tls_cert_file a --port 1"), Ok(Asked::Run(1)));
    }
}
