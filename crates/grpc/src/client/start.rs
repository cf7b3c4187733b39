//! A call before it has a stream, and the two handles its caller keeps.

use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use clearway_transport::PeerAddr;
use tokio::time::Instant;

use super::outgoing::Outgoing;
use super::path::MethodPath;
use super::upload::{Leg, Upload};
use crate::cause::{Blocked, CallPhase, Processed, TransportCause, TransportEvent};
use crate::codec::CompressionEncoding;
use crate::codec::compression::Accepted;
use crate::inbound::{Inbound, Reader};
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// Everything needed to put a call on a connection.
pub(crate) struct StartCall {
    pub(crate) path: MethodPath,
    pub(crate) metadata: MetadataMap,
    pub(crate) outgoing: Outgoing,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) started: Instant,
    pub(crate) deadline: Option<Instant>,
    /// The largest message accepted, in octets.
    pub(crate) max_message: usize,
    /// What the request is compressed by.
    pub(crate) encoding: Option<CompressionEncoding>,
    /// What the response may be compressed by.
    pub(crate) accepted: Option<Arc<Accepted>>,
    /// A peer refused the call once; a second refusal stands (gRFC A6).
    pub(crate) refused: bool,
    /// It waits for a connection where others fail because none can be made.
    pub(crate) wait_for_ready: bool,
    /// It is an attempt of a call that has a policy of retries.
    pub(crate) attempt: Option<Arc<AttemptNotes>>,
}

/// What is known of one attempt where the attempts of a call are made.
#[derive(Debug, Default)]
pub(crate) struct AttemptNotes {
    /// Attempts before this one: `grpc-previous-rpc-attempts` if not zero.
    pub(crate) previous: u32,
    /// Who got it last.
    pub(crate) peer: OnceLock<PeerAddr>,
    /// The picker dropped it: no other may follow.
    dropped: AtomicBool,
}

impl AttemptNotes {
    pub(crate) fn after(previous: u32) -> Self {
        Self { previous, ..Self::default() }
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl StartCall {
    /// Ends the call before it began.
    pub(crate) fn fail(&self, status: Status) {
        self.close_upload();
        if let Some(waker) = self.inbound.end(Err(status)) {
            waker.wake();
        }
    }

    /// The same, for good: no policy may send it again (gRFC A6, drops).
    pub(crate) fn drop_for_good(&self, status: Status) {
        if let Some(notes) = &self.attempt {
            notes.dropped.store(true, Ordering::Relaxed);
        }
        self.fail(status);
    }

    /// Another attempt at the same call. Only the first one may be refused and go again by itself.
    pub(crate) fn again(&self, number: u32, inbound: Arc<Inbound>, notes: Arc<AttemptNotes>) -> Self {
        Self {
            path: self.path.clone(),
            metadata: self.metadata.clone(),
            outgoing: self.outgoing.again(number),
            inbound,
            accepted: self.accepted.clone(),
            refused: notes.previous > 0,
            attempt: Some(notes),
            ..*self
        }
    }

    /// Nothing of this attempt can be sent any more.
    fn close_upload(&self) {
        if let Some(waker) = self.outgoing.leg().and_then(Leg::close) {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(inbound: Arc<Inbound>) -> Self {
        Self {
            path: MethodPath::from_static("/a.B/C"),
            metadata: MetadataMap::new(),
            outgoing: Outgoing::Large(bytes::Bytes::from_static(&[0; 5])),
            inbound,
            started: Instant::now(),
            deadline: None,
            max_message: usize::MAX,
            encoding: None,
            accepted: None,
            refused: false,
            wait_for_ready: false,
            attempt: None,
        }
    }
}

/// The status of a call whose deadline passed before it was sent.
pub(crate) fn deadline_passed(after: Duration, phase: CallPhase, blocked_on: Option<Blocked>) -> Status {
    let event = TransportEvent::DeadlineExceeded { after, phase, blocked_on };
    Status::from_transport(Code::DeadlineExceeded, unsent(event))
}

/// The status of a call whose deadline passed where nobody knows how far it got.
pub(crate) fn deadline_passed_somewhere(after: Duration, phase: CallPhase) -> Status {
    let event = TransportEvent::DeadlineExceeded { after, phase, blocked_on: None };
    Status::from_transport(Code::DeadlineExceeded, TransportCause::anywhere(event))
}

/// The cause of a failure before the call left.
pub(crate) const fn unsent(event: TransportEvent) -> TransportCause {
    TransportCause { connection: None, event, processed: Processed::No }
}

/// What the caller holds while the response has not begun: dropping it gives the call up, wherever it is.
pub(crate) struct Caller {
    pub(crate) reader: Reader,
    upload: CloseOnDrop,
}

/// Stops the writer of a call, also of one that waits somewhere and has no stream yet.
pub(crate) struct CloseOnDrop(Option<Arc<Upload>>);

impl Caller {
    pub(crate) fn new(inbound: Arc<Inbound>, outgoing: &Outgoing) -> Self {
        Self::from_parts(Reader::new(inbound), CloseOnDrop::of(outgoing))
    }

    pub(crate) const fn from_parts(reader: Reader, upload: CloseOnDrop) -> Self {
        Self { reader, upload }
    }

    /// The call goes on with the reader alone.
    pub(crate) fn into_reader(mut self) -> Reader {
        self.upload.0 = None;
        self.reader
    }
}

impl CloseOnDrop {
    pub(crate) fn of(outgoing: &Outgoing) -> Self {
        Self(outgoing.leg().map(|leg| Arc::clone(leg.upload())))
    }

    pub(crate) const fn upload(&self) -> Option<&Arc<Upload>> {
        self.0.as_ref()
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(upload) = &self.0 {
            upload.close();
        }
    }
}
