//! What the program on top implements: callbacks in wire order, with the sending half at hand.
//!
//! There is no queue of events. While bytes are parsed the handler is called with borrowed slices and `&mut Tx`, and may
//! answer at once: the answer is in the output before the next frame is looked at (ENGINE: push parser).

use bytes::Bytes;

use crate::connection::{Farewell, Tx};
use crate::error::{ErrorCode, Reset};
use crate::hpack::{FieldSection, HeaderField, Indexing};
use crate::message::{RequestHead, ResponseHead, RouteId};
use crate::stream::StreamKey;

/// A piece of DATA as it lies in the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a>(pub(crate) &'a [u8]);

impl<'a> Chunk<'a> {
    /// The octets.
    #[must_use]
    pub const fn as_slice(&self) -> &'a [u8] {
        self.0
    }

    /// The octets, to keep.
    #[must_use]
    pub fn retain(&self) -> Bytes {
        Bytes::copy_from_slice(self.0)
    }
}

/// A GOAWAY that came (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug)]
pub struct GoAway<'a> {
    /// Streams above this id were not processed: they are reset with REFUSED_STREAM and are safe to send again.
    pub last_stream_id: u32,
    /// Why.
    pub code: ErrorCode,
    /// Untrusted text of the peer's choosing.
    pub debug: &'a [u8],
}

/// What becomes of a stream's slot when the stream is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotFate {
    /// It is free at once.
    Free,
    /// A handler still runs for it. It counts against the stream limit until [`Tx::free`] (CVE-2023-44487).
    HeldByApplication,
}

/// The program on top of a connection.
///
/// Every method has a default that is right for the role that never sees it. Keys of streams that are gone may be used
/// freely; they do nothing.
#[allow(unused_variables)]
pub trait Handler {
    /// What this :path stands for. Asked once for each request; the answer comes back in [`RequestHead::route`].
    fn route(&mut self, path: &[u8]) -> RouteId {
        RouteId::NONE
    }

    /// Server: a request begins. With `end_stream` it has no body.
    ///
    /// Clients repeat themselves: [`RequestHead::section`] numbers the header section, and the same octets that come again
    /// come to [`Handler::on_request_again`] first.
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {}

    /// Server: a request begins whose header section is the one that [`Handler::on_request`] was shown under this number.
    /// A handler that remembers what it found there acts on it and answers true; otherwise [`Handler::on_request`]
    /// follows.
    fn on_request_again(&mut self, tx: &mut Tx, stream: StreamKey, section: u64, end_stream: bool) -> bool {
        false
    }

    /// Client: the final response begins.
    fn on_response(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {}

    /// Client: a 1xx response came before the final one.
    fn on_informational(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>) {}

    /// Octets of the body. They count against the stream's window until [`Tx::release`] is called for them.
    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {}

    /// The peer ended its side with a trailer section.
    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, fields: &FieldSection) {}

    /// The stream ended before both sides had finished it; not called for resets the handler itself asked for.
    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        SlotFate::Free
    }

    /// Server: the header section of a request is over the limit; `octets` counts what was dropped, too (RFC 9113
    /// §10.5.1). The stream is open for an answer; what the client still sends on it must be released as usual.
    fn on_oversize_request(&mut self, tx: &mut Tx, stream: StreamKey, octets: usize) {
        let status = HeaderField { name: b":status", value: b"431", indexing: Indexing::Without };
        let _ = tx.send_headers(stream, [status], true);
    }

    /// A stream whose backlog was over the mark ([`Tx::is_backlogged`]) has room again.
    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {}

    /// Client: a stream can be opened again after [`OpenError::StreamLimit`](crate::OpenError::StreamLimit).
    fn on_stream_slot(&mut self, tx: &mut Tx) {}

    /// The peer's first SETTINGS arrived: the connection is ready for use.
    fn on_ready(&mut self, tx: &mut Tx) {}

    /// The peer is going away. Streams it did not process are reset after this call.
    fn on_goaway(&mut self, tx: &mut Tx, goaway: &GoAway<'_>) {}

    /// We are about to go away because a limit of the connection's life is reached
    /// ([`Connection::limit_life`](crate::Connection::limit_life)). Streams that are open go on; a client opens no more.
    fn on_going_away(&mut self, tx: &mut Tx, why: Farewell) {}

    /// The answer to [`Tx::probe`]. `alive`: the peer was heard, and the connection can be used. Otherwise nothing more can be opened on
    /// it after this call; it ends at once if no stream is open, and else when keepalive would have given it up.
    fn on_probe(&mut self, tx: &mut Tx, alive: bool) {}

    /// The answer to [`Tx::ping`].
    fn on_pong(&mut self, tx: &mut Tx, payload: [u8; 8]) {}
}
