//! A call before it has a stream, and the two handles its caller keeps.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::Instant;

use super::outgoing::Outgoing;
use super::path::MethodPath;
use super::upload::Upload;
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
}

impl StartCall {
    /// Ends the call before it began.
    pub(crate) fn fail(&self, status: Status) {
        self.close_upload();
        if let Some(waker) = self.inbound.end(Err(status)) {
            waker.wake();
        }
    }

    /// Nothing can be sent any more.
    pub(crate) fn close_upload(&self) {
        if let Some(upload) = self.outgoing.upload() {
            upload.close();
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
        }
    }
}

/// The status of a call whose deadline passed before it was sent.
pub(crate) fn deadline_passed(after: Duration, phase: CallPhase, blocked_on: Option<Blocked>) -> Status {
    let event = TransportEvent::DeadlineExceeded { after, phase, blocked_on };
    Status::from_transport(Code::DeadlineExceeded, unsent(event))
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
struct CloseOnDrop(Option<Arc<Upload>>);

impl Caller {
    pub(crate) fn new(inbound: Arc<Inbound>, upload: Option<Arc<Upload>>) -> Self {
        Self { reader: Reader::new(inbound), upload: CloseOnDrop(upload) }
    }

    /// The call goes on with the reader alone.
    pub(crate) fn into_reader(mut self) -> Reader {
        self.upload.0 = None;
        self.reader
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(upload) = &self.0 {
            upload.close();
        }
    }
}
