//! `clearway demo`: a real server, all four kinds of call over one connection, each printed as it crossed the wire.
//!
//! The printout is made from what the client connection's observer sees, and from nothing else.

mod calls;
mod places;
mod proto;
mod report;
mod services;
mod session;
#[cfg(feature = "tls")]
mod tls;

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clearway::Status;
use clearway::transport::{Address, Endpoint, Listener, Server};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use crate::flags::{DemoFlags, Security, Then};
use crate::wire::event::Recorder;
use crate::wire::paint::Paint;
use session::Session;

/// Why the demo ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The address cannot be listened on.
    Listen { address: Address, error: io::Error },
    /// There is no certificate.
    #[cfg(feature = "tls")]
    Tls(String),
    /// The client cannot reach the server.
    Connect(clearway::Error),
    /// A call did not end as it should.
    Call { path: &'static str, status: Status },
    /// The connection was lost.
    Lost,
    /// Nothing happened for too long.
    Slow,
    /// Serving ended by itself.
    Serve(clearway::Error),
    /// Standard output, or something else of the system's.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => {
                writeln!(f, "cannot listen on {address}: {error}")?;
                f.write_str("choose another address with --listen, for example --listen 127.0.0.1:0 for any free port")
            }
            #[cfg(feature = "tls")]
            Self::Tls(error) => write!(f, "cannot make a certificate: {error}"),
            Self::Connect(error) => write!(f, "cannot connect to our own server: {error}"),
            Self::Call { path, status } => write!(f, "{path} did not end as it should: {status}"),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Slow => f.write_str("nothing happened on the connection for too long"),
            Self::Serve(error) => write!(f, "the server ended: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs the verb.
pub(crate) fn main(flags: &DemoFlags) -> ExitCode {
    let paint = Paint::for_stdout(flags.colour);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(Failure::Io).and_then(|runtime| {
        let result = runtime.block_on(run(flags, paint, &mut io::stdout()));
        // Whoever still calls the server is not waited for.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `clearway demo | head`: the reader has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("clearway demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &DemoFlags, paint: Paint, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let listen = |error| Failure::Listen { address: flags.listen.clone(), error };
    let listener = Listener::bind(&flags.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_or_else(|| flags.listen.clone(), Address::Tcp);
    let (stop, stopped) = oneshot::channel::<()>();
    let (server, trusted) = secured(&address, flags.security)?;
    let server = tokio::spawn(services::router(server).serve_with_listener(listener, async {
        // An error means that the sender is gone, and with it the reason to serve.
        let _ = stopped.await;
    }));
    let endpoint = Endpoint::try_from(target(&address, flags.security)).map_err(Failure::Connect)?;
    let endpoint = trusted(endpoint)?;
    show(&address, endpoint, flags.security, paint, out).await?;
    if flags.then == Then::Serve {
        // Polled once, so that Ctrl-C is ours before anybody is told to use it.
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let early = poll_fn(|cx| Poll::Ready(interrupted.as_mut().poll(cx).is_ready())).await;
        paint.write(&report::serving(&address, flags.security), out)?;
        out.flush()?;
        if !early {
            serve_until(interrupted, server, stop, out).await?;
        }
    }
    Ok(())
}

/// What makes an endpoint trust the server.
type Trusted = Box<dyn FnOnce(Endpoint) -> Result<Endpoint, Failure> + Send>;

/// The server, and what makes a client of it: with TLS they share a certificate.
fn secured(address: &Address, security: Security) -> Result<(Server, Trusted), Failure> {
    match security {
        Security::Plaintext => Ok((Server::builder(), Box::new(Ok))),
        #[cfg(feature = "tls")]
        Security::SelfSigned => {
            let (server, tls) = tls::server(address)?;
            Ok((server, Box::new(move |endpoint| tls.trusted_by(endpoint))))
        }
        // The command line has no way to ask for it.
        #[cfg(not(feature = "tls"))]
        Security::SelfSigned => {
            Err(Failure::Io(io::Error::other(format!("no TLS for {address} in this build"))))
        }
    }
}

/// Makes the calls over a connection that is recorded.
async fn show(
    address: &Address,
    endpoint: Endpoint,
    security: Security,
    paint: Paint,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let (to, seen) = unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let endpoint = endpoint.observe(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Box::new(Recorder::new(to.clone()))
    });
    let mut session = Session::new(seen, paint, out);
    session.print(&report::intro(address, security))?;
    let channel = endpoint.connect().await.map_err(Failure::Connect)?;
    session.begin().await?;
    calls::all(&mut session, channel).await?;
    session.end(connections.load(Ordering::Relaxed))
}

/// The target name of an address that was listened on: an unspecified address is reached by loopback.
fn target(address: &Address, security: Security) -> String {
    let scheme = match security {
        Security::Plaintext => "http",
        Security::SelfSigned => "https",
    };
    match address {
        Address::Tcp(socket) if socket.ip().is_unspecified() => {
            let loopback = if socket.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            format!("{scheme}://{loopback}:{}", socket.port())
        }
        Address::Unix(path) => format!("unix:{}", path.display()),
        other => format!("{scheme}://{other}"),
    }
}

/// Serves on. The first Ctrl-C lets calls finish, the second does not.
async fn serve_until(
    interrupted: Pin<&mut impl Future<Output = io::Result<()>>>,
    mut server: tokio::task::JoinHandle<Result<(), clearway::Error>>,
    stop: oneshot::Sender<()>,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    tokio::select! {
        ended = &mut server => return ended.unwrap_or(Ok(())).map_err(Failure::Serve),
        interrupted = interrupted => interrupted?,
    }
    writeln!(out, "\nstopping: calls in progress may finish; Ctrl-C again ends them")?;
    drop(stop);
    tokio::select! {
        ended = &mut server => ended.unwrap_or(Ok(())).map_err(Failure::Serve),
        again = tokio::signal::ctrl_c() => Ok(again?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_on_can_be_reached() {
        for (listen, reach) in [
            ("127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("localhost:1", "http://localhost:1"),
            ("unix:/tmp/s", "unix:/tmp/s"),
        ] {
            assert_eq!(target(&listen.parse().unwrap(), Security::Plaintext), reach);
        }
    }
}
