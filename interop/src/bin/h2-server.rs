//! A plain HTTP/2 server on our engine, for outside suites such as h2spec: it reads a request to its end and answers 200
//! with a short body on every path and method (a HEAD request gets the header section alone).
//!
//! Everything but the 100 concurrent streams it announces is the library's default, so that what a suite finds here is
//! true of every server built on the library.

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{Chunk, Config, Connection, Handler, RequestHead, Reset, SlotFate, StreamKey, Tx};
use clearway_interop::ends::Ends;
use clearway_interop::flags;
use clearway_transport::tls::{ServerTlsConfig, TlsAcceptor};
use clearway_transport::{
    Address, Application, Clock, Closed, Driver, DriverConfig, Listener, OpQueue, Stream, accept_loop,
};

const HELP: &str = "\
A plain HTTP/2 server: 200 and a short body on every path, after reading the whole request.

Usage: h2-server --port N [--tls --cert FILE --key FILE]

  --port N      listen on 127.0.0.1:N; 0 takes any free port
  --tls         speak TLS with ALPN h2
  --cert FILE   PEM certificate chain for --tls
  --key FILE    PEM private key for --tls
  --help        print this

Prints `listening on 127.0.0.1:PORT` once it accepts connections; serves until it is killed.
Exits 2 when the command line cannot be used, 1 when the port cannot be listened on.
";

const BODY: &[u8] = b"hello from clearway\n";
const BODY_LENGTH: &str = "20";
const _: () = assert!(BODY.len() == 20, "BODY_LENGTH says how long the body is");

/// What the suites expect to be announced; without a limit h2spec skips a case.
const CONCURRENT_STREAMS: u32 = 100;

fn main() -> ExitCode {
    let (port, tls) = match read_flags(std::env::args_os().skip(1)) {
        Ok(Asked::Serve { port, tls }) => (port, tls),
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("h2-server: {message}");
            return ExitCode::from(2);
        }
    };
    let acceptor = match tls.map(acceptor).transpose() {
        Ok(acceptor) => acceptor,
        Err(message) => {
            eprintln!("h2-server: {message}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("h2-server: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = runtime.block_on(serve(port, acceptor));
    eprintln!("h2-server: cannot listen on 127.0.0.1:{port}: {error}");
    ExitCode::FAILURE
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Serve { port: u16, tls: Option<Files> },
    Help,
}

/// Where certificate and key are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Files {
    cert: Option<String>,
    key: Option<String>,
}

fn acceptor(files: Files) -> Result<TlsAcceptor, String> {
    let identity = flags::identity(("cert", files.cert.as_deref()), ("key", files.key.as_deref()))?;
    TlsAcceptor::new(&ServerTlsConfig::new().identity(identity)).map_err(|error| error.to_string())
}

fn read_flags(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut port, mut tls, mut files) = (None, false, Files::default());
    let text = |parser: &mut lexopt::Parser| {
        parser.value().and_then(ValueExt::string).map_err(|error| error.to_string())
    };
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("port") => {
                let value = parser.value().and_then(|value| value.parse());
                port = Some(value.map_err(|error| format!("--port: {error}"))?);
            }
            Long("tls") => tls = true,
            Long("cert") => files.cert = Some(text(&mut parser)?),
            Long("key") => files.key = Some(text(&mut parser)?),
            Long("help") => return Ok(Asked::Help),
            other => return Err(format!("{}; see --help", other.unexpected())),
        }
    }
    port.map(|port| Asked::Serve { port, tls: tls.then_some(files) })
        .ok_or_else(|| "--port is missing; see --help".into())
}

async fn serve(port: u16, acceptor: Option<TlsAcceptor>) -> std::io::Result<core::convert::Infallible> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = Listener::bind(&Address::Tcp(address)).await?;
    clearway_interop::announce(listener.local_addr().unwrap_or(address));
    let serve = |stream| match acceptor.clone() {
        None => drop(tokio::spawn(drive(stream))),
        Some(acceptor) => drop(tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                drive(stream).await;
            }
        })),
    };
    Ok(accept_loop(&listener, serve).await)
}

fn drive(stream: Stream) -> impl Future<Output = Closed> {
    let clock = Clock::start();
    let config = Config { max_concurrent_streams: CONCURRENT_STREAMS, ..Config::default() };
    let connection = Connection::server(config, clock.now());
    let (ops, peer) = (Arc::new(OpQueue::default()), stream.peer());
    Driver::new(stream, peer, connection, Hello::default(), ops, clock, DriverConfig::default())
}

/// Answers every request once it is complete.
#[derive(Default)]
struct Hello {
    /// HEAD requests whose end has not come.
    heads: HashSet<StreamKey>,
}

impl Hello {
    fn answer(&mut self, tx: &mut Tx, stream: StreamKey) {
        let head = self.heads.remove(&stream);
        let fields = [
            field(":status", "200"),
            field("content-type", "text/plain"),
            field("content-length", BODY_LENGTH),
        ];
        // A stream that is gone needs no answer.
        let _ = tx.send_headers(stream, fields, head);
        if !head {
            let _ = tx.send_data(stream, BODY.into(), true);
        }
    }
}

fn field(name: &'static str, value: &'static str) -> HeaderField<'static> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

impl Handler for Hello {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        if head.method == b"HEAD" {
            self.heads.insert(stream);
        }
        if end_stream {
            self.answer(tx, stream);
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        tx.release(stream, data.as_slice().len());
        if end_stream {
            self.answer(tx, stream);
        }
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, _: &FieldSection) {
        self.answer(tx, stream);
    }

    fn on_reset(&mut self, _: &mut Tx, stream: StreamKey, _: Reset) -> SlotFate {
        self.heads.remove(&stream);
        SlotFate::Free
    }
}

impl Application for Hello {
    type Op = core::convert::Infallible;

    fn apply(&mut self, _: &mut Tx, op: Self::Op) {
        match op {}
    }

    fn on_closed(&mut self, closed: &Closed, _: Vec<Self::Op>) {
        Ends::CutOff.log(closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Asked, String> {
        read_flags(args.iter().map(OsString::from))
    }

    #[test]
    fn flags_are_read() {
        assert_eq!(read(&["--port", "0"]), Ok(Asked::Serve { port: 0, tls: None }));
        assert_eq!(read(&["--port=8080"]), Ok(Asked::Serve { port: 8080, tls: None }));
        assert_eq!(read(&["--help"]), Ok(Asked::Help));
        for bad in [&[][..], &["--port", "65536"], &["--port"], &["--prot", "1"], &["--port", "1", "extra"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tls_needs_both_files() {
        let tls = |args: &[&str]| match read(args) {
            Ok(Asked::Serve { tls: Some(files), .. }) => acceptor(files).unwrap_err(),
            other => panic!("{other:?}"),
        };
        assert!(tls(&["--port", "1", "--tls"]).contains("--cert is missing"));
        assert!(tls(&["--port", "1", "--tls", "--cert", "a"]).contains("--key is missing"));
        assert!(tls(&["--port=1", "--tls", "--cert=/no/such", "--key=b"]).contains("/no/such"));
    }
}
