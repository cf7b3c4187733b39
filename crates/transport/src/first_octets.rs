//! A client's look at the first octets of a server it speaks cleartext HTTP/2 to: whoever answers with something else gets
//! an error that names it, instead of one about frames.
//!
//! Exact: no HTTP/2 frame a server may begin with looks like a TLS alert or like HTTP/1; as frames their lengths would be over a
//! million octets.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::fault::{Spoken, WrongProtocol};

/// A stream whose first read is looked at.
#[derive(Debug)]
pub struct FirstOctets<Io> {
    io: Io,
    watching: bool,
}

impl<Io> FirstOctets<Io> {
    /// A stream to a server that is expected to speak cleartext HTTP/2.
    pub const fn of_cleartext(io: Io) -> Self {
        Self { io, watching: true }
    }

    /// A stream that is known to speak HTTP/2: nothing is looked at.
    pub const fn known(io: Io) -> Self {
        Self { io, watching: false }
    }
}

impl<Io> FirstOctets<Io> {
    /// The stream itself.
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }
}

fn verdict(first: &[u8]) -> io::Result<()> {
    match Spoken::of(first) {
        _ if first.is_empty() => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed by the peer before it said anything (if it speaks TLS, the target must say https://)",
        )),
        spoken @ (Spoken::Tls | Spoken::Http1) => Err(WrongProtocol { spoken }.into()),
        // Frames, whole or not; what is neither is for the engine to name.
        Spoken::Http2 | Spoken::Unknown => Ok(()),
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for FirstOctets<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.watching {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.watching = false;
        Poll::Ready(verdict(buf.filled().get(before..).unwrap_or_default()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for FirstOctets<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_http2_is_named() {
        for (first, named) in [
            (&b""[..], "before it said anything"),
            (&[21, 3, 3, 0, 2, 2, 70], "speaks TLS"),
            (&[22, 3, 3, 0, 2, 2, 70], "speaks TLS"),
            (b"HTTP/1.1 400 Bad Request", "HTTP/1"),
        ] {
            assert!(verdict(first).unwrap_err().to_string().contains(named), "{first:?}");
        }
        // SETTINGS, empty and not; one octet says nothing yet.
        for first in [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[0, 0, 18, 4], &[0], &[21]] {
            assert!(verdict(first).is_ok(), "{first:?}");
        }
    }
}
