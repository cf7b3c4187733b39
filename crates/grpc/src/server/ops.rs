//! What handlers and their streams ask of the task that owns the connection.

use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::StreamKey;
use clearway_transport::OpQueue;

use crate::Status;
use crate::codec::CompressionEncoding;
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
    ops: Arc<OpQueue<ServerOp>>,
    stream: StreamKey,
    outcome: Outcome,
}

impl DoneGuard {
    pub(super) const fn new(ops: Arc<OpQueue<ServerOp>>, stream: StreamKey) -> Self {
        Self { ops, stream, outcome: Outcome::Nothing }
    }

    /// Ends with an outcome.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for DoneGuard {
    fn drop(&mut self) {
        let outcome = core::mem::replace(&mut self.outcome, Outcome::Nothing);
        let _ = self.ops.push(ServerOp::Done { stream: self.stream, outcome });
    }
}
