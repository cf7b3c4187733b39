//! What an observer of a connection saw, owned, so that it can leave the task that drives the connection.

use clearway_http2::frame::FrameHeader;
use clearway_http2::{Direction, Instant, Observer, Reset, Trace};
use tokio::sync::mpsc::UnboundedSender;

/// [`Trace`] with octets of its own.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The client's connection preface.
    Preface { direction: Direction },
    /// A frame; for DATA without its payload.
    Frame { direction: Direction, header: FrameHeader, payload: Vec<u8> },
    /// A field of the section whose last frame came before.
    Field { direction: Direction, stream_id: u32, field: Field },
    /// Octets of the DATA frame that came before.
    Data { direction: Direction, stream_id: u32, data: Vec<u8> },
    /// A stream is over.
    Closed { stream_id: u32, reset: Option<Reset> },
}

/// One header field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// Sent as never indexed (RFC 7541 §6.2.3).
    pub(crate) sensitive: bool,
    /// What its representation took on the wire.
    pub(crate) wire_octets: u32,
}

/// An event and when it happened.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) event: Event,
}

/// The observer: sends everything it sees to whoever prints it.
///
/// The channel has no bound, because an observer must not wait; who records a connection must read along.
pub(crate) struct Recorder {
    to: UnboundedSender<Seen>,
}

impl Recorder {
    pub(crate) fn new(to: UnboundedSender<Seen>) -> Self {
        Self { to }
    }
}

impl Observer for Recorder {
    fn on_trace(&mut self, now: Instant, trace: &Trace<'_>) {
        if let Some(event) = owned(trace) {
            // Nobody reads any more: the printer has seen all it wanted.
            let _ = self.to.send(Seen { at: now, event });
        }
    }
}

/// None for events that later versions of the engine may add and the printer does not know.
fn owned(trace: &Trace<'_>) -> Option<Event> {
    Some(match *trace {
        Trace::Preface { direction } => Event::Preface { direction },
        Trace::Frame { direction, header, payload } => {
            Event::Frame { direction, header, payload: payload.to_vec() }
        }
        Trace::Field { direction, stream_id, field } => Event::Field {
            direction,
            stream_id,
            field: Field {
                name: field.name.to_vec(),
                value: field.value.to_vec(),
                sensitive: field.sensitive,
                wire_octets: field.wire_octets,
            },
        },
        Trace::Data { direction, stream_id, data } => {
            Event::Data { direction, stream_id, data: data.to_vec() }
        }
        Trace::StreamClosed { stream_id, reset } => Event::Closed { stream_id, reset },
        _ => return None,
    })
}
