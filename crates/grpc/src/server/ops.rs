//! What handlers and their streams ask of the task that owns the connection.

use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::StreamKey;
use clearway_transport::OpQueue;

use super::origin::{AskedBy, Link};
use crate::Status;
use crate::codec::CompressionEncoding;
use crate::context::{Life, Over};
use crate::inbound::StreamOps;
use crate::metadata::MetadataMap;

/// One operation. Those for streams that are gone do nothing.
#[derive(Debug)]
pub(crate) enum ServerOp {
    /// The head of a response whose messages follow.
    Head { stream: StreamKey, metadata: MetadataMap, encoding: Option<CompressionEncoding> },
    /// Messages of a response, with their prefixes.
    Messages { stream: StreamKey, payload: Bytes },
    /// The handler has ended, with this.
    Done { stream: StreamKey, outcome: Outcome },
    /// The request's reader consumed so many octets.
    Release { stream: StreamKey, octets: usize },
    /// The request's reader waits for the message in assembly.
    Want { stream: StreamKey },
    /// The request's reader is gone.
    Abandon { stream: StreamKey },
    /// Somebody wants to hear of the call's end.
    Watch { stream: StreamKey, life: Arc<Life>, asked_by: AskedBy },
}

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With a whole response: its head, its one message with prefix, and what follows it.
    Response {
        metadata: MetadataMap,
        encoding: Option<CompressionEncoding>,
        payload: Bytes,
        trailers: MetadataMap,
    },
    /// With a status, after whatever it sent before.
    Status(Status),
    /// Without anything to say: it was dropped, or its stream was gone.
    Nothing,
}

impl StreamOps for OpQueue<ServerOp> {
    // A connection that is over needs no credit, so what it gives back is dropped.

    fn release(&self, stream: StreamKey, octets: usize) {
        let _ = self.push(ServerOp::Release { stream, octets });
    }

    fn want(&self, stream: StreamKey) {
        let _ = self.push(ServerOp::Want { stream });
    }

    fn abandon(&self, stream: StreamKey) {
        let _ = self.push(ServerOp::Abandon { stream });
    }
}

/// Tells the connection that a handler has ended, however it did: by itself, aborted, or unwound.
pub(super) struct DoneGuard {
    /// None once it was told.
    link: Option<Arc<Link>>,
    stream: StreamKey,
}

impl DoneGuard {
    pub(super) const fn new(link: Arc<Link>, stream: StreamKey) -> Self {
        Self { link: Some(link), stream }
    }

    /// The handler asked for its context, which is to hear of the call's end.
    #[cold]
    pub(super) fn watch(&self, life: &Arc<Life>) {
        let asked_by = AskedBy::Context;
        let watch = ServerOp::Watch { stream: self.stream, life: Arc::clone(life), asked_by };
        if self.link.as_ref().is_none_or(|link| link.ops.push(watch).is_err()) {
            life.end_now(Over::Cancelled);
        }
    }

    /// Ends with an outcome.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    /// The connection knows already.
    pub(super) fn disarm(mut self) {
        self.link = None;
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(link) = self.link.take() {
            let _ = link.ops.push(ServerOp::Done { stream: self.stream, outcome });
            link.shared.handler_ended();
        }
    }
}

impl Drop for DoneGuard {
    fn drop(&mut self) {
        self.tell(Outcome::Nothing);
    }
}
