//! Observation: one hook that sees every frame, field and stream transition of a connection as it happens.
//!
//! [`Trace`] is for logs, metrics, recorders and tests, and may be ignored; what the application must act on comes through
//! [`Handler`](crate::Handler). With no observer set the cost is one branch per frame.

use crate::error::Reset;
use crate::frame::FrameHeader;
use crate::hpack::Field;
use crate::time::Instant;

/// Which way something went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Direction {
    /// From us to the peer.
    Sent,
    /// From the peer to us.
    Received,
}

/// Something that happened on the wire or to a stream.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Trace<'a> {
    /// The client's connection preface (RFC 9113 §3.4).
    Preface {
        /// Which way it went.
        direction: Direction,
    },
    /// A frame. For DATA received in pieces the payload is empty here and comes in [`Trace::Data`].
    Frame {
        /// Which way it went.
        direction: Direction,
        /// Its header.
        header: FrameHeader,
        /// Its payload; for HEADERS and CONTINUATION still encoded, for DATA always empty.
        payload: &'a [u8],
    },
    /// One field of a field section, after its frame.
    Field {
        /// Which way it went.
        direction: Direction,
        /// The stream it belongs to.
        stream_id: u32,
        /// The field, with the octets its representation took on the wire.
        field: Field<'a>,
    },
    /// Content of a DATA frame, or a piece of it, after its frame. Padding is not shown.
    Data {
        /// Which way it went.
        direction: Direction,
        /// The stream it belongs to.
        stream_id: u32,
        /// The octets.
        data: &'a [u8],
    },
    /// A stream left the registry: both sides ended it, or it was reset.
    StreamClosed {
        /// The stream.
        stream_id: u32,
        /// The reset that ended it, if one did.
        reset: Option<Reset>,
    },
}

/// Sees what happens on one connection.
pub trait Observer {
    /// Called in wire order, on the task that drives the connection: it must return quickly.
    fn on_trace(&mut self, now: Instant, trace: &Trace<'_>);
}

/// What a stream that is not done waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum BlockedOn {
    /// Our own program has nothing (more) to send yet.
    #[default]
    Application,
    /// The peer has not given this stream credit (RFC 9113 §6.9).
    StreamWindow,
    /// The peer has not given the connection credit.
    ConnectionWindow,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS is reached; the stream is not open yet.
    StreamLimit,
    /// It has credit and data, and it is not its turn yet.
    Scheduler,
    /// The socket does not take more.
    Socket,
    /// We have said everything; the peer has not.
    Peer,
}
