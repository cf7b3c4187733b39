//! A plain HTTP/2 client on our engine: one GET. It prints the status and the body, lingers with the connection open, so
//! that a suite can see how it takes what a server does after the response, and ends the connection gracefully.
//!
//! Left out: redirects, methods other than GET, more than one request.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{
    Chunk, Config, Connection, ErrorCode, Handler, Reset, ResponseHead, SlotFate, StreamKey, Tx,
};
use clearway_transport::tls::{ClientTlsConfig, TlsConnector};
use clearway_transport::{
    Address, Application, Clock, Closed, Driver, DriverConfig, FirstOctets, OpQueue, Stream, connect,
};
use http::Uri;
use tokio::sync::oneshot;

const HELP: &str = "\
A plain HTTP/2 client: one GET, with prior knowledge or over TLS.

Usage: h2-client URL [--insecure] [--linger-ms N]

  URL             http://host[:port][/path] or https://host[:port][/path]
  --insecure      accept any certificate; otherwise the machine says whom to trust (https only)
  --linger-ms N   keep the connection open for so long after the response; 300 by default
  --help          print this

Prints the status on a line of its own, then the body. Exits 0 when a response came to its end, 1 when none did, and
2 when the command line cannot be used.
";

/// Bodies are kept to be printed; this program is not for larger ones.
const LONGEST_BODY: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let (target, trust, linger) = match read_flags(std::env::args_os().skip(1)) {
        Ok(Asked::Get { target, trust, linger }) => (target, trust, linger),
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("h2-client: {message}");
            return ExitCode::from(2);
        }
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))
        .and_then(|runtime| runtime.block_on(get(&target, trust, linger)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("h2-client: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Get { target: Target, trust: Trust, linger: Duration },
    Help,
}

/// Whose certificates are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Machine,
    Anybody,
}

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    scheme: Scheme,
    host: String,
    address: Address,
    authority: String,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

fn read_flags(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut url, mut trust, mut linger) = (None, Trust::Machine, Duration::from_millis(300));
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(value) if url.is_none() => url = Some(value.string().map_err(|error| error.to_string())?),
            Long("insecure") => trust = Trust::Anybody,
            Long("linger-ms") => {
                let value = parser.value().and_then(|value| value.parse());
                linger = Duration::from_millis(value.map_err(|error| format!("--linger-ms: {error}"))?);
            }
            Long("help") => return Ok(Asked::Help),
            other => return Err(format!("{}; see --help", other.unexpected())),
        }
    }
    let url = url.ok_or("the URL is missing; see --help")?;
    Ok(Asked::Get { target: read_url(&url)?, trust, linger })
}

fn read_url(url: &str) -> Result<Target, String> {
    let uri: Uri = url.parse().map_err(|error| format!("bad URL {url:?}: {error}"))?;
    let (scheme, port) = match uri.scheme_str() {
        Some("http") => (Scheme::Http, 80),
        Some("https") => (Scheme::Https, 443),
        _ => return Err(format!("bad URL {url:?}: want http:// or https://, then host[:port][/path]")),
    };
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return Err(format!("bad URL {url:?}: it names no host"));
    };
    // RFC 9113 §8.3.1: no userinfo in :authority.
    let authority = authority.as_str().rsplit('@').next().unwrap_or_default().to_owned();
    let address = if authority == host { format!("{host}:{port}") } else { authority.clone() };
    let address = address.parse().map_err(|error| format!("bad URL {url:?}: {error}"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Target { scheme, host: host.to_owned(), address, authority, path })
}

/// A connection on which HTTP/2 can be spoken.
async fn dial(target: &Target, trust: Trust) -> Result<FirstOctets<Stream>, String> {
    let stream = connect(&target.address, CONNECT_TIMEOUT).await.map_err(|error| error.to_string())?;
    if target.scheme == Scheme::Http {
        return Ok(FirstOctets::of_cleartext(stream));
    }
    let config = match trust {
        Trust::Machine => ClientTlsConfig::new().with_native_roots(),
        Trust::Anybody => ClientTlsConfig::new().dangerously_accept_any_certificate(),
    };
    let connector = TlsConnector::new(&config).map_err(|error| error.to_string())?;
    let shaken = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(stream, &target.host)).await;
    let tls = shaken.map_err(|_| "the TLS handshake took too long")?.map_err(|error| error.to_string())?;
    Ok(FirstOctets::known(Stream::Tls(Box::new(tls))))
}

async fn get(target: &Target, trust: Trust, linger: Duration) -> Result<(), String> {
    let stream = dial(target, trust).await?;
    let clock = Clock::start();
    let mut connection = Connection::client(Config::default(), clock.now());
    let request = [
        field(":method", "GET"),
        field(":scheme", if target.scheme == Scheme::Https { "https" } else { "http" }),
        field(":path", &target.path),
        field(":authority", &target.authority),
        field("user-agent", concat!("clearway-h2-client/", env!("CARGO_PKG_VERSION"))),
    ];
    connection.tx(clock.now()).open(request, true).map_err(|error| error.to_string())?;
    let (done, response) = oneshot::channel();
    let fetch = Fetch { status: 0, body: Vec::new(), done: Some(done) };
    let (ops, peer) = (Arc::new(OpQueue::default()), stream.get_ref().peer());
    let driver =
        Driver::new(stream, peer, connection, fetch, Arc::clone(&ops), clock, DriverConfig::default());
    let driver = tokio::spawn(driver);
    let response = response.await.unwrap_or_else(|_| Err("the connection's task is gone".into()))?;
    let mut stdout = std::io::stdout().lock();
    let printed = writeln!(stdout, "{}", response.status).and_then(|()| stdout.write_all(&response.body));
    printed.and_then(|()| stdout.flush()).map_err(|error| format!("cannot print: {error}"))?;
    drop(stdout);
    tokio::time::sleep(linger).await;
    ops.drain();
    driver.await.map(drop).map_err(|error| error.to_string())
}

fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Without }
}

/// A response that came to its end.
struct Response {
    status: u16,
    body: Vec<u8>,
}

/// Collects the one response.
struct Fetch {
    status: u16,
    body: Vec<u8>,
    done: Option<oneshot::Sender<Result<Response, String>>>,
}

impl Fetch {
    fn finish(&mut self, outcome: Result<(), String>) {
        if let Some(done) = self.done.take() {
            let response = Response { status: self.status, body: core::mem::take(&mut self.body) };
            // The receiver waits for nothing else.
            let _ = done.send(outcome.map(|()| response));
        }
    }
}

impl Handler for Fetch {
    fn on_response(&mut self, _: &mut Tx, _: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {
        self.status = head.status;
        if end_stream {
            self.finish(Ok(()));
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        self.body.extend_from_slice(data.as_slice());
        tx.release(stream, data.as_slice().len());
        if self.body.len() > LONGEST_BODY {
            tx.reset(stream, ErrorCode::CANCEL);
            self.finish(Err(format!("the body is over {LONGEST_BODY} octets")));
        } else if end_stream {
            self.finish(Ok(()));
        }
    }

    fn on_trailers(&mut self, _: &mut Tx, _: StreamKey, _: &FieldSection) {
        self.finish(Ok(()));
    }

    fn on_reset(&mut self, _: &mut Tx, _: StreamKey, reset: Reset) -> SlotFate {
        self.finish(Err(format!("the request was reset with {} by {:?}", reset.code, reset.by)));
        SlotFate::Free
    }
}

impl Application for Fetch {
    type Op = core::convert::Infallible;

    fn apply(&mut self, _: &mut Tx, op: Self::Op) {
        match op {}
    }

    fn on_closed(&mut self, closed: &Closed, _: Vec<Self::Op>) {
        self.finish(Err(closed.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Asked, String> {
        read_flags(args.iter().map(OsString::from))
    }

    #[test]
    fn urls_are_taken_apart() {
        let target = |text: &str| read_url(text).unwrap();
        let plain = target("http://127.0.0.1:8080/a?b=c");
        assert_eq!(plain.address, Address::Tcp("127.0.0.1:8080".parse().unwrap()));
        assert_eq!((plain.authority.as_str(), plain.path.as_str()), ("127.0.0.1:8080", "/a?b=c"));
        assert_eq!(
            target("https://example.org/").address,
            Address::Host { host: "example.org".into(), port: 443 }
        );
        let named = target("http://user@example.org");
        assert_eq!(named.address, Address::Host { host: "example.org".into(), port: 80 });
        assert_eq!((named.authority.as_str(), named.path.as_str()), ("example.org", "/"));
        assert_eq!(target("http://[::1]:1/").address, Address::Tcp("[::1]:1".parse().unwrap()));
        for bad in ["", "127.0.0.1:80", "ftp://a/", "http://", "http:///path", "http://a:99999/"] {
            assert!(read_url(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn flags_are_read() {
        let Ok(Asked::Get { trust: Trust::Anybody, linger, .. }) =
            read(&["http://a/", "--insecure", "--linger-ms", "5"])
        else {
            panic!("a good command line is refused");
        };
        assert_eq!(linger, Duration::from_millis(5));
        assert_eq!(read(&["--help"]), Ok(Asked::Help));
        for bad in [&[][..], &["http://a/", "http://b/"], &["http://a/", "--linger-ms", "-1"], &["--bad"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let Ok(Asked::Get { trust: Trust::Machine, target, .. }) = read(&["https://a/"]) else {
            panic!("a good command line is refused");
        };
        assert_eq!(target.scheme, Scheme::Https);
    }
}
