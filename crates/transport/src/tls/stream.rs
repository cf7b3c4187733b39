//! [`TlsStream`]: what a driver reads and writes instead of the socket.
//!
//! * **Writing.** Whatever one call is given, in however many slices, becomes one run of plaintext that is cut into
//!   records only at their largest size (16,384 octets, RFC 8446 §5.1), and all records leave in one vectored write. The
//!   driver writes once for everything a turn produced, so a batch of answers is one record, not one per frame.
//! * **Reading.** One read takes up to 48 KiB of ciphertext into a scratch of the worker's, and everything in it is decrypted before
//!   the call returns. What was decrypted and not yet taken comes before the socket is asked, so nobody sleeps on it.
//! * **The end.** `close_notify` is the end of the stream, whether the peer also shut its socket or not. A socket that ends without
//!   it is an error, [`std::io::ErrorKind::UnexpectedEof`]: somebody may have cut the connection.
//!
//! Invariant: at most one buffer of rustls's (64 KiB of ciphertext) waits for the socket; while it does, no more plaintext is
//! taken.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};

use clearway_http2::Role;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Connection, HandshakeKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure::Notes;
use super::peer::TlsPeer;
use super::{ALPN_H2, TlsError, TlsFailure};
use crate::fault::Spoken;

/// Ciphertext read at once: with what a record that is not complete yet can hold (16 KiB), its plaintext fits the scratch
/// of the driver.
const CIPHERTEXT_OCTETS: usize = 48 * 1024;
/// A handshake message that is not TLS at all is shown by its first octets.
const FIRST_OCTETS: usize = 16;
/// How long a server that refused a peer waits for it to read why, and how much of what it still says is read away.
const BOW_OUT: Duration = Duration::from_secs(1);
const BOW_OUT_READS: usize = 16;
/// Alert: fatal, unexpected_message (RFC 8446 §6.2), for a peer that never began a handshake.
const UNEXPECTED_MESSAGE: &[u8] = &[21, 3, 1, 0, 2, 2, 10];
/// What somebody reads who speaks cleartext HTTP/1 to a port with TLS.
const HTTP1_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain\r\ncontent-length: 65\r\nconnection: close\r\n\r\n\
    This port speaks HTTP/2 over TLS (gRPC): say https:// to reach it";

thread_local! {
    /// Taken out while it is used, as the driver's own scratch is.
    static CIPHERTEXT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A TLS connection over a stream.
#[derive(Debug)]
pub struct TlsStream<Io> {
    io: Io,
    session: Connection,
    /// Ciphertext that was read and has to wait until there is room for its plaintext.
    untaken: Vec<u8>,
    /// Nothing comes after this, but what came before it is still to be taken.
    failed: Option<io::Error>,
    closing: bool,
    begun: Begun,
    /// Something came after the handshake.
    heard: bool,
    /// What was asked of our resolvers.
    notes: Notes,
}

impl<Io> TlsStream<Io> {
    /// What was agreed on, and who is at the other end.
    pub fn tls_peer(&self) -> TlsPeer {
        TlsPeer::of(&self.session)
    }

    /// The stream under this one.
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> TlsStream<Io> {
    pub(super) fn new(io: Io, session: Connection) -> Self {
        Self {
            io,
            session,
            untaken: Vec::new(),
            failed: None,
            closing: false,
            begun: Begun::Nothing,
            heard: false,
            notes: Notes::default(),
        }
    }

    /// Shakes hands, and sees that both sides mean HTTP/2.
    pub(super) async fn shake_hands(&mut self) -> Result<(), TlsError> {
        poll_fn(|cx| self.poll_handshake(cx)).await?;
        // RFC 9113 §3.3: a client that does not offer h2, or a server that does not choose it, speaks something else.
        if self.session.alpn_protocol() == Some(ALPN_H2) {
            return Ok(());
        }
        Err(self.error(TlsFailure::NoHttp2, ""))
    }

    /// Verifies the certificate that a client showed when the session began that is resumed now.
    pub(super) fn check_resumed(&self, verifier: &dyn ClientCertVerifier) -> Result<(), TlsError> {
        if self.session.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let Some([own, others @ ..]) = self.session.peer_certificates() else { return Ok(()) };
        let verified = verifier.verify_client_cert(own, others, UnixTime::now());
        verified.map(drop).map_err(|error| self.notes.name(self.role(), error))
    }

    const fn role(&self) -> Role {
        match self.session {
            Connection::Client(_) => Role::Client,
            Connection::Server(_) => Role::Server,
        }
    }

    fn error(&self, failure: TlsFailure, detail: impl Into<String>) -> TlsError {
        TlsError::new(self.role(), failure, detail)
    }

    /// Lets the session see what it was given.
    fn process(&mut self) -> Result<(), TlsError> {
        let Self { session, notes, .. } = self;
        let outcome = notes.collect(|| session.process_new_packets().map(drop));
        outcome.map_err(|error| self.notes.name(self.role(), error))
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        let role = self.role();
        let lost = |error: io::Error| TlsError::new(role, TlsFailure::Lost, error.to_string());
        loop {
            // While ours waits for the peer to read, the peer may wait for us to.
            let sent = self.poll_send(cx).map_err(lost)?;
            if !self.session.is_handshaking() {
                // A server waits for a client's last words; a server's (session tickets) can go with the next read.
                return if matches!(self.session, Connection::Client(_)) {
                    sent.map(Ok)
                } else {
                    Poll::Ready(Ok(()))
                };
            }
            let mut scratch = take_scratch();
            let mut input = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut input);
            let outcome = match read {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(lost(error))),
                Poll::Ready(Ok(())) => Poll::Ready(self.take_handshake(input.filled())),
            };
            CIPHERTEXT.set(Some(scratch));
            if let Err(error) = ready!(outcome) {
                // The alert that says why. If it cannot go now, it does not go.
                let _ = self.poll_send(cx);
                return Poll::Ready(Err(error));
            }
        }
    }

    fn take_handshake(&mut self, mut input: &[u8]) -> Result<(), TlsError> {
        if input.is_empty() {
            return Err(self.error(TlsFailure::Lost, "the peer closed it"));
        }
        // RFC 8446 §5.1: the content type of a first record is handshake or alert.
        let is_tls = self.begun == Begun::Tls || matches!(input, [21 | 22, ..]);
        self.begun = Begun::Tls;
        if !is_tls {
            let spoken = Spoken::of(input.get(..FIRST_OCTETS).unwrap_or(input));
            self.begun = Begun::Cleartext(spoken);
            return Err(self.error(TlsFailure::NotTls(spoken), ""));
        }
        while !input.is_empty() && self.session.is_handshaking() {
            let read = self.session.read_tls(&mut input);
            read.map_err(|error| self.error(TlsFailure::Protocol, error.to_string()))?;
            self.process()?;
        }
        // What came with the last message of the handshake.
        self.untaken.extend_from_slice(input);
        Ok(())
    }

    /// Tells a peer that was refused why, and gives it a moment to read that: a socket closed over what the peer still
    /// sends would be answered with a reset, and the alert lost.
    pub(super) async fn bow_out(&mut self) {
        let last_words = async {
            if let Begun::Cleartext(spoken) = self.begun {
                let mut answer = if spoken == Spoken::Http1 { HTTP1_ANSWER } else { UNEXPECTED_MESSAGE };
                while !answer.is_empty() {
                    let sent = poll_fn(|cx| Pin::new(&mut self.io).poll_write(cx, answer)).await?;
                    answer = answer.get(sent.max(1)..).unwrap_or_default();
                }
                poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
            } else {
                poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await?;
            }
            let mut unread = [0; 4096];
            for _ in 0..BOW_OUT_READS {
                let mut unread = ReadBuf::new(&mut unread);
                poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut unread)).await?;
                if unread.filled().is_empty() {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // A peer that is gone has nothing to hear.
        let _ = tokio::time::timeout(BOW_OUT, last_words).await;
    }

    /// Hands ciphertext to the socket until none is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut io = Socket { io: &mut self.io, cx };
            match self.session.write_tls(&mut io) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what was decrypted to `out`.
    fn drain(&mut self, out: &mut ReadBuf<'_>) -> io::Result<Drained> {
        let room = out.initialize_unfilled();
        if room.is_empty() {
            return Ok(Drained::Some);
        }
        match self.session.reader().read(room) {
            Ok(0) => Ok(Drained::End),
            Ok(octets) => {
                out.advance(octets);
                self.heard = true;
                Ok(Drained::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Drained::Nothing),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.explain(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed the connection without close_notify",
            ))),
            Err(error) => Err(error),
        }
    }

    /// A server that wants another certificate than it was shown may close without a word, and for a client of TLS 1.3 the
    /// handshake is over by then.
    fn explain(&self, error: io::Error) -> io::Error {
        if self.heard || !self.notes.asked {
            return error;
        }
        if self.notes.shown {
            let why = "it ended without a word after the server was shown this client's certificate, which it may not trust";
            self.error(TlsFailure::Lost, why).into()
        } else {
            self.error(TlsFailure::CertificateWanted, "it ended the connection without a word").into()
        }
    }

    /// Decrypts ciphertext into `out`; what there is no room for waits.
    fn decrypt(&mut self, mut input: &[u8], out: &mut ReadBuf<'_>) -> io::Result<()> {
        while !input.is_empty() {
            if out.remaining() == 0 {
                self.untaken = input.to_vec();
                return Ok(());
            }
            if self.session.read_tls(&mut input)? == 0 {
                // After close_notify nothing counts.
                return Ok(());
            }
            self.process()?;
            self.drain(out)?;
        }
        Ok(())
    }

    /// Asks the socket for more; true if something came, be it the end.
    fn poll_more(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.untaken.is_empty() {
            let input = core::mem::take(&mut self.untaken);
            return Poll::Ready(self.decrypt(&input, out));
        }
        let mut scratch = take_scratch();
        let mut input = ReadBuf::new(&mut scratch);
        let outcome = match Pin::new(&mut self.io).poll_read(cx, &mut input) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.explain(error))),
            Poll::Ready(Ok(())) if input.filled().is_empty() => {
                // Tells the session that this was all.
                let mut nothing: &[u8] = &[];
                Poll::Ready(self.session.read_tls(&mut nothing).map(drop))
            }
            Poll::Ready(Ok(())) => Poll::Ready(self.decrypt(input.filled(), out)),
        };
        CIPHERTEXT.set(Some(scratch));
        outcome
    }
}

/// How the peer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// It said nothing yet.
    Nothing,
    /// With a record.
    Tls,
    /// With something else.
    Cleartext(Spoken),
}

/// What became of decrypted octets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// Some were moved.
    Some,
    /// There are none now.
    Nothing,
    /// There will be none: close_notify came.
    End,
}

fn take_scratch() -> Box<[u8]> {
    CIPHERTEXT.take().unwrap_or_else(|| vec![0; CIPHERTEXT_OCTETS].into_boxed_slice())
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            if this.drain(out)? != Drained::Nothing {
                return Poll::Ready(Ok(()));
            }
            let more = this.poll_more(cx, out);
            if this.session.wants_write() {
                // The end of a handshake, or an answer of TLS's own (a new key, an alert): the driver knows nothing of it. An error
                // comes again when the driver writes.
                let _ = this.poll_send(cx);
            }
            let more = ready!(more);
            match more {
                Err(error) if out.filled().len() == before => return Poll::Ready(Err(error)),
                // What came before the error is taken first.
                Err(error) => this.failed = Some(error),
                Ok(()) => {}
            }
            if out.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let taken = this.session.writer().write_vectored(bufs)?;
        match this.poll_send(cx) {
            // An error would come again; what was taken counts as sent no more than octets in a socket do.
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !core::mem::replace(&mut this.closing, true) {
            this.session.send_close_notify();
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// The socket as rustls wants it: a writer that says `WouldBlock`.
struct Socket<'a, 'b, Io> {
    io: &'a mut Io,
    cx: &'a mut Context<'b>,
}

fn or_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<Io: AsyncWrite + Unpin> Write for Socket<'_, '_, Io> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        or_block(Pin::new(&mut *self.io).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match bufs {
            [one] => self.write(one),
            many => or_block(Pin::new(&mut *self.io).poll_write_vectored(self.cx, many)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
