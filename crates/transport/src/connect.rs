//! Connecting, with errors that say which phase failed.
//!
//! Left out: trying several addresses at once (RFC 8305), and resolvers other than the system's; both belong to the channel.

use core::fmt;
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, UnixStream};
use tokio::time::Instant;

use crate::address::Address;
use crate::loopback::do_not_pace;
use crate::stream::Stream;

/// A step on the way to a usable connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ConnectPhase {
    /// Turning a name into addresses.
    Resolve,
    /// The TCP (or Unix) handshake.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The HTTP/2 preface: the peer's SETTINGS.
    Settings,
}

impl fmt::Display for ConnectPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Tcp => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Settings => "waiting for the peer's SETTINGS",
        })
    }
}

/// A connection that could not be made.
#[derive(Debug)]
pub struct ConnectError {
    /// The step that failed.
    pub phase: ConnectPhase,
    /// Where to.
    pub address: Address,
    /// The system's error; for several addresses the last one.
    pub source: io::Error,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed for {}: {}", self.phase, self.address, self.source)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Connects to an address, trying what a name resolves to in turn.
///
/// # Errors
/// [`ConnectError`] with the phase it failed in; running out of `timeout` is one, of kind `TimedOut`.
///
/// # Cancel safety
/// Dropping the future abandons the attempt.
pub async fn connect(address: &Address, timeout: Duration) -> Result<Stream, ConnectError> {
    // A time too far away for the clock is none.
    let deadline = Instant::now().checked_add(timeout);
    let fail = |phase| move |source| ConnectError { phase, address: address.clone(), source };
    match address {
        Address::Unix(path) => within(deadline, UnixStream::connect(path)).await.map(Stream::Unix),
        Address::Tcp(address) => within(deadline, dial(*address)).await,
        Address::Host { host, port } => {
            let lookup = within(deadline, tokio::net::lookup_host((host.as_str(), *port))).await;
            within(deadline, first_of(lookup.map_err(fail(ConnectPhase::Resolve))?)).await
        }
    }
    .map_err(fail(ConnectPhase::Tcp))
}

async fn within<T>(deadline: Option<Instant>, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let Some(deadline) = deadline else { return step.await };
    tokio::time::timeout_at(deadline, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The first address that answers, one after the other.
async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Stream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match dial(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn dial(address: SocketAddr) -> io::Result<Stream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    do_not_pace(&socket, address);
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}
