//! A byte stream of any kind we carry HTTP/2 on: TCP, a Unix socket, or one half of an in-process pair,
//! with or without TLS.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::address::PeerAddr;
use crate::peer::Peer;
#[cfg(feature = "tls")]
use crate::tls::TlsStream;

/// Octets an in-process pair holds in each direction.
const PAIR_OCTETS: usize = 256 * 1024;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with TCP_NODELAY.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// One half of [`pair`].
    InProcess(DuplexStream),
    /// One of these with TLS over it.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Stream>>),
}

/// Two streams connected to each other in memory.
#[must_use]
pub fn pair() -> (Stream, Stream) {
    let (a, b) = tokio::io::duplex(PAIR_OCTETS);
    (Stream::InProcess(a), Stream::InProcess(b))
}

impl Stream {
    /// The TCP connection below, if there is one.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) | Self::InProcess(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.get_ref().tcp(),
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerAddr {
        match self {
            // A peer that is gone already has no address any more.
            Self::Tcp(tcp) => PeerAddr::Tcp(
                tcp.peer_addr().unwrap_or_else(|_| std::net::SocketAddr::from(([0, 0, 0, 0], 0))),
            ),
            Self::Unix(unix) => PeerAddr::Unix(
                unix.peer_addr().ok().and_then(|addr| addr.as_pathname().map(ToOwned::to_owned)),
            ),
            Self::InProcess(_) => PeerAddr::InProcess,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.get_ref().peer(),
        }
    }

    /// The same, with what TLS told of it.
    #[must_use]
    pub fn remote(&self) -> Peer {
        let peer = Peer::new(self.peer());
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => peer.and_tls(tls.tls_peer()),
            _ => peer,
        }
    }
}

impl From<TcpStream> for Stream {
    /// TCP_NODELAY is left as it is.
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

impl From<DuplexStream> for Stream {
    fn from(half: DuplexStream) -> Self {
        Self::InProcess(half)
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $act:expr) => {
        match $self {
            Stream::Tcp($stream) => $act,
            Stream::Unix($stream) => $act,
            Stream::InProcess($stream) => $act,
            #[cfg(feature = "tls")]
            Stream::Tls($stream) => $act,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
