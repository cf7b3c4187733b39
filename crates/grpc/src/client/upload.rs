//! The request stream of a call: a task of its own takes messages from it, encodes them and hands them to the connection, as
//! fast as the connection lets it.
//!
//! Messages that are ready together go in one operation, up to [`send_buffer::BATCH`]. The task ends when the stream of messages does,
//! or when the call is over.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::{Arc, OnceLock};

use clearway_http2::StreamKey;
use futures_core::Stream;

use super::connection::{ClientOp, Ops};
use crate::codec::Encoder;
use crate::codec::compression::Packing;
use crate::gate::SendGate;
use crate::send_buffer::{self, Filled};
use crate::{Code, Status};

/// Between the task that sends a request and the connection's task.
pub(crate) struct Upload {
    gate: SendGate,
    /// Set once, when the call gets its stream: a call with a request stream is never sent twice.
    link: OnceLock<(StreamKey, Ops)>,
}

impl Upload {
    pub(crate) fn new() -> Self {
        Self { gate: SendGate::shut(), link: OnceLock::new() }
    }

    pub(crate) const fn gate(&self) -> &SendGate {
        &self.gate
    }

    /// The call got its stream: the writer may begin once the gate is opened.
    pub(crate) fn opened(&self, stream: StreamKey, ops: Ops) {
        let _ = self.link.set((stream, ops));
    }

    /// The call is over, or given up.
    pub(crate) fn close(&self) {
        if let Some(waker) = self.gate.close() {
            waker.wake();
        }
    }

    fn push(&self, payload: Vec<u8>, end: bool) {
        if let Some((stream, ops)) = self.link.get() {
            self.gate.pushed(payload.len());
            let payload = send_buffer::seal(payload);
            // A closed queue has ended the call already.
            let _ = ops.push(ClientOp::Send { stream: *stream, payload, end });
        }
    }

    fn fail(&self, status: Status) {
        if let Some((stream, ops)) = self.link.get() {
            let _ = ops.push(ClientOp::Fail { stream: *stream, status });
        }
    }
}

/// Fails the call if the task ends before the request did: the stream of messages panicked, or the runtime went down.
struct Unfinished(Option<Arc<Upload>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(upload) = &self.0 {
            upload.fail(Status::new(Code::Cancelled, "the request stream was dropped before its end"));
        }
    }
}

enum Turn {
    /// These octets are to be sent; with `true` they are the last.
    Send(Vec<u8>, bool),
    /// The call is over.
    Over,
    /// A message cannot be sent.
    Failed(Status),
}

/// Sends a request stream to its end.
pub(crate) async fn pump<S, E>(upload: Arc<Upload>, messages: S, mut encoder: E, packing: Packing)
where
    S: Stream<Item = E::Item>,
    E: Encoder<Error = Status>,
{
    let mut unfinished = Unfinished(Some(Arc::clone(&upload)));
    let mut messages = core::pin::pin!(messages);
    loop {
        let turn = poll_fn(|cx| poll_turn(&upload, messages.as_mut(), &mut encoder, packing, cx)).await;
        let over = match turn {
            Turn::Send(octets, end) => {
                upload.push(octets, end);
                end
            }
            Turn::Over => true,
            Turn::Failed(status) => {
                upload.fail(status);
                true
            }
        };
        if over {
            unfinished.0 = None;
            return;
        }
    }
}

fn poll_turn<S, E>(
    upload: &Upload,
    mut messages: Pin<&mut S>,
    encoder: &mut E,
    packing: Packing,
    cx: &mut Context<'_>,
) -> Poll<Turn>
where
    S: Stream<Item = E::Item>,
    E: Encoder<Error = Status>,
{
    let Ok(mark) = ready!(upload.gate.poll_open(cx)) else { return Poll::Ready(Turn::Over) };
    let (mut octets, most) = (Vec::new(), mark.min(send_buffer::BATCH));
    let next = || messages.as_mut().poll_next(cx).map(|message| message.map(Ok));
    match send_buffer::fill(next, encoder, packing, most, &mut octets) {
        Filled::End(Err(status)) => Poll::Ready(Turn::Failed(status)),
        Filled::End(Ok(())) => Poll::Ready(Turn::Send(octets, true)),
        Filled::Pending if octets.is_empty() => upload.gate.poll_closed(cx).map(|()| Turn::Over),
        Filled::Up | Filled::Pending => Poll::Ready(Turn::Send(octets, false)),
    }
}
