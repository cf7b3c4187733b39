//! What interceptors are shown: a call that begins, its messages' sizes, and its end.

use core::time::Duration;

use crate::client::MethodPath;
use crate::inbound::End;
use crate::metadata::MetadataMap;
use crate::request::Request;
use crate::{Code, Status};

/// Which end of a call this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It is made here.
    Client,
    /// It is answered here.
    Server,
}

/// Which sides of a call stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallKind {
    /// One message there, one back.
    Unary,
    /// A stream of messages there, one back.
    ClientStreaming,
    /// One message there, a stream back.
    ServerStreaming,
    /// A stream each way.
    BidiStreaming,
}

/// Which way a message goes, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Away.
    Sent,
    /// Towards us.
    Received,
}

/// The size of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageSize {
    /// Which way it goes.
    pub direction: Direction,
    /// Octets as its codec makes or reads them.
    pub octets: usize,
    /// Octets on the wire, without the prefix of five: fewer, if it is compressed.
    pub wire_octets: usize,
}

/// The messages of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their octets, as their codec makes or reads them.
    pub octets: u64,
    /// Their octets on the wire, without prefixes.
    pub wire_octets: u64,
}

/// A call that begins: where it goes, and its request without messages.
#[derive(Debug)]
pub struct Call {
    side: Side,
    kind: CallKind,
    path: MethodPath,
    pub(super) request: Request<()>,
}

impl Call {
    pub(crate) const fn new(side: Side, kind: CallKind, path: MethodPath, request: Request<()>) -> Self {
        Self { side, kind, path, request }
    }

    /// Which end of it this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// Which of its sides stream.
    #[must_use]
    pub fn kind(&self) -> CallKind {
        self.kind
    }

    /// `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// `package.Service`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.path.split().0
    }

    /// `Method`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.path.split().1
    }

    pub(super) const fn method_path(&self) -> &MethodPath {
        &self.path
    }

    /// The metadata of the request.
    #[must_use]
    pub fn metadata(&self) -> &MetadataMap {
        self.request.metadata()
    }

    /// The same, to change.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        self.request.metadata_mut()
    }

    /// The request: who is at the other end and its deadline (server), and values that travel with it inside this program.
    #[must_use]
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    /// The same, to change: a client's interceptor may set its timeout, and what is put into its extensions is there for interceptors
    /// further inside and, on a server, for the handler.
    pub fn request_mut(&mut self) -> &mut Request<()> {
        &mut self.request
    }

    pub(crate) fn into_request(self) -> Request<()> {
        self.request
    }
}

/// How a call ended, and what went by until then.
#[derive(Debug)]
pub struct CallEnd {
    pub(super) end: End,
    pub(super) cancelled: bool,
    pub(super) elapsed: Duration,
    pub(super) sent: Traffic,
    pub(super) received: Traffic,
}

impl CallEnd {
    /// The code; OK if the call went well.
    #[must_use]
    pub fn code(&self) -> Code {
        self.end.as_ref().map_or_else(Status::code, |_| Code::Ok)
    }

    /// The status, if it is not OK. Its metadata are the trailers.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.end.as_ref().err()
    }

    /// The trailers' metadata.
    #[must_use]
    pub fn trailers(&self) -> &MetadataMap {
        self.end.as_ref().unwrap_or_else(|status| status.metadata())
    }

    /// The same, to change.
    pub fn trailers_mut(&mut self) -> &mut MetadataMap {
        match &mut self.end {
            Ok(trailers) => trailers,
            Err(status) => status.metadata_mut(),
        }
    }

    /// Ends the call with another status; [`Code::Ok`] with its metadata as trailers is one, too. A call that must give one message and has
    /// none ends with INTERNAL then.
    pub fn set_status(&mut self, status: Status) {
        self.end = if status.code() == Code::Ok { Ok(status.into_metadata()) } else { Err(status) };
    }

    /// True if nobody waits for the end: on a client the call was dropped, on a server its client gave it up, its connection was
    /// lost, or its deadline passed. The code says CANCELLED, or DEADLINE_EXCEEDED if the deadline has passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// How long it took, from before the first interceptor.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Messages sent from here.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.sent
    }

    /// Messages received here and read.
    #[must_use]
    pub fn received(&self) -> Traffic {
        self.received
    }
}
