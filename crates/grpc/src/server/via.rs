//! How what a handler sends reaches its connection: through the queue of operations if its own task polls it, straight into the
//! output if the connection's task does.
//!
//! Invariant: a handler's messages go out in the order it made them. So it is polled by the connection's task only when what
//! its own task pushed was applied ([`super::visit`]).

use core::task::{Context, Poll};

use clearway_http2::Tx;

use super::call::Said;
use super::ops::ServerOp;
use super::respond;
use super::streaming::Sink;
use crate::Status;
use crate::gate::GateClosed;
use crate::metadata::MetadataMap;
use crate::send_buffer::{self, BATCH};

/// Who polls a handler, and what it sent so far.
pub(super) enum Via<'a> {
    /// Its own task, which pushed so many operations.
    Queue { pushed: u32 },
    /// The connection's.
    Output(Direct<'a>),
}

/// A handler's way into the output.
pub(super) struct Direct<'a> {
    pub(super) tx: &'a mut Tx,
    pub(super) said: Said,
    /// Small messages are encoded here and then copied: what is the user's does not run while the output is open.
    pub(super) buffer: Vec<u8>,
    /// The head of the response could not be sent; the call ends with this.
    pub(super) refused: Option<Status>,
}

impl Via<'_> {
    /// How many operations were pushed to the connection's queue.
    pub(super) const fn pushed(&self) -> u32 {
        match self {
            Self::Queue { pushed } => *pushed,
            Self::Output(_) => 0,
        }
    }

    pub(super) fn head(&mut self, sink: &Sink, metadata: MetadataMap) {
        match self {
            Self::Queue { pushed } => {
                let head = ServerOp::Head { stream: sink.stream, metadata, encoding: sink.encoding };
                let _ = sink.ops.push(head);
                *pushed = pushed.wrapping_add(1);
            }
            Self::Output(direct) => match respond::head(direct.tx, sink.stream, &metadata, sink.encoding) {
                Ok(()) => direct.said = Said::Head,
                Err(status) => direct.refused = Some(status),
            },
        }
    }

    /// Ready when messages may be sent, with how many octets at most, if they are small.
    pub(super) fn poll_open(&mut self, sink: &Sink, cx: &Context<'_>) -> Poll<Result<usize, GateClosed>> {
        match self {
            Self::Queue { .. } => sink.gate.poll_open(cx),
            Self::Output(Direct { refused: Some(_), .. }) => Poll::Ready(Err(GateClosed)),
            // One batch goes with nothing waiting, whatever the gate was told before.
            Self::Output(Direct { tx, .. }) if tx.backlog_octets(sink.stream) == 0 => Poll::Ready(Ok(BATCH)),
            Self::Output(Direct { tx, .. }) => {
                sink.gate.poll_open_here(cx, tx.is_backlogged(sink.stream), tx.writer_mark())
            }
        }
    }

    /// An empty buffer for messages.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        match self {
            Self::Queue { .. } => Vec::new(),
            Self::Output(direct) => core::mem::take(&mut direct.buffer),
        }
    }

    /// Sends messages with their prefixes.
    pub(super) fn messages(&mut self, sink: &Sink, mut payload: Vec<u8>) {
        match self {
            _ if payload.is_empty() => {}
            Self::Queue { pushed } => {
                sink.gate.pushed(payload.len());
                let messages =
                    ServerOp::Messages { stream: sink.stream, payload: send_buffer::seal(payload) };
                let _ = sink.ops.push(messages);
                *pushed = pushed.wrapping_add(1);
                return;
            }
            // A stream that is gone takes its call with it, and the handler.
            Self::Output(direct) if payload.len() <= BATCH => {
                let _ = direct.tx.send_data_with(sink.stream, payload.len(), false, |out| {
                    out.extend_from_slice(&payload);
                    Ok::<(), core::convert::Infallible>(())
                });
            }
            Self::Output(direct) => {
                let _ = direct.tx.send_data(sink.stream, send_buffer::seal(payload), false);
                return;
            }
        }
        if let Self::Output(direct) = self {
            payload.clear();
            direct.buffer = payload;
        }
    }
}
