//! Connecting, with errors that say which phase failed.

use core::fmt;
use core::time::Duration;
use std::io;

use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::stream::Stream;

/// A step on the way to a usable connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ConnectPhase {
    /// Turning a name into addresses.
    Resolve,
    /// The TCP (or Unix) handshake.
    Tcp,
    /// The HTTP/2 preface: the peer's SETTINGS.
    Settings,
}

impl fmt::Display for ConnectPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Tcp => "connecting",
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
/// [`ConnectError`] with the phase; running out of `timeout` is one, of kind `TimedOut`.
pub async fn connect(address: &Address, timeout: Duration) -> Result<Stream, ConnectError> {
    let fail = |phase, source| ConnectError { phase, address: address.clone(), source };
    let attempt = async {
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                stream.map(Stream::Unix).map_err(|error| fail(ConnectPhase::Tcp, error))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                stream.and_then(prepared).map_err(|error| fail(ConnectPhase::Tcp, error))
            }
            Address::Host { host, port } => {
                let addresses = tokio::net::lookup_host((host.as_str(), *port))
                    .await
                    .map_err(|error| fail(ConnectPhase::Resolve, error))?;
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in addresses {
                    match TcpStream::connect(address).await.and_then(prepared) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => last = error,
                    }
                }
                Err(fail(ConnectPhase::Tcp, last))
            }
        }
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(fail(ConnectPhase::Tcp, io::Error::from(io::ErrorKind::TimedOut))),
    }
}

fn prepared(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}
