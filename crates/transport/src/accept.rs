//! Listening: an accept loop that outlives every error of a single connection and of the descriptor table.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

use crate::address::Address;
use crate::loopback::do_not_pace;
use crate::stream::Stream;

/// Waits after the first failure to accept for want of descriptors; doubled each time, up to the longest: what trying
/// again costs is nothing beside a client that waits although a descriptor is free.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted; the kernel has a bound of its own.
const BACKLOG: u32 = 1024;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, whose path is removed again at the end.
    Unix(UnixPath),
}

/// A listening Unix socket and its place in the file system.
#[derive(Debug)]
pub struct UnixPath {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: by the end the path may be somebody else's.
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Listens on an address. A Unix socket that a dead process left behind is taken over; one that somebody still
    /// listens on is not, and a file of another kind is never touched.
    ///
    /// On Linux a loopback address is served with Reno where the system's congestion control is BBR, whose pacing costs much
    /// there; [`Listener::from_std`] takes a socket with another choice.
    ///
    /// # Errors
    /// The system's, when the address is taken or not ours.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => unpaced(TcpListener::bind(address).await?),
            Address::Host { host, port } => unpaced(TcpListener::bind((host.as_str(), *port)).await?),
            Address::Unix(path) => UnixPath::bind(path).await.map(Self::Unix),
        }
    }

    /// Listens on a socket address together with other listeners of this user (SO_REUSEPORT): the kernel spreads new
    /// connections over them. All of them must be made this way. Congestion control is as with [`Listener::bind`].
    ///
    /// # Errors
    /// The system's, when the address is taken by somebody else.
    pub fn bind_shared(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG).and_then(unpaced)
    }

    /// A socket that listens already: one that was inherited, or made with options of its own.
    ///
    /// # Errors
    /// The system's. Outside of a tokio runtime it panics.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// As [`Listener::from_std`]. Its path is somebody else's, and not removed at the end.
    ///
    /// # Errors
    /// The system's. Outside of a tokio runtime it panics.
    pub fn from_std_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self::Unix(UnixPath { listener, path: PathBuf::new(), identity: None }))
    }

    /// The address listened on, if it is TCP; tells the port when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's; [`accept_loop`] knows which of them to sit out.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are written in batches of our own making; Nagle would only delay them.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(unix) => Ok(Stream::Unix(unix.listener.accept().await?.0)),
        }
    }
}

/// Connections take after their listener.
fn unpaced(listener: TcpListener) -> io::Result<Listener> {
    do_not_pace(&listener, listener.local_addr()?);
    Ok(Listener::Tcp(listener))
}

impl UnixPath {
    /// The path is not removed at the end: somebody else listens there, too.
    #[cfg(feature = "handover")]
    pub(crate) fn leave_path(&mut self) {
        self.identity = None;
    }

    async fn bind(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path).await => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Self { listener, path: path.to_owned(), identity: identity(path) })
    }
}

#[cfg(feature = "handover")]
impl std::os::fd::AsFd for UnixPath {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Nothing can be done about it, and nothing depends on it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// True for a socket that nobody listens on. Two processes that find this at the same moment may both take it over; the
/// later one stays.
async fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Accepts for ever, handing each connection to `serve`.
///
/// A connection that failed before it was accepted is forgotten; out of descriptors or memory, the loop pauses and goes
/// on. It never returns.
///
/// # Cancel safety
/// Dropping the future loses no accepted connection: `serve` is called without a wait in between.
pub async fn accept_loop(listener: &Listener, mut serve: impl FnMut(Stream)) -> core::convert::Infallible {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok(stream) => {
                pause = FIRST_PAUSE;
                serve(stream);
            }
            Err(error) if is_the_connections(&error) => {}
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// True for errors of one connection, which say nothing of the listener.
fn is_the_connections(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotConnected
    )
}
