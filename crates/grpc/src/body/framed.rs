//! Bodies made of messages: [`Encoded`] of those a program sends, [`Framed`] of those that came from a peer.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use futures_core::Stream;
use http_body::Frame;

use super::header_map;
use crate::codec::Encoder;
use crate::codec::compression::Packing;
use crate::framing::PREFIX;
use crate::intercept::Watching;
use crate::metadata::MetadataMap;
use crate::send_buffer::{self, BATCH, Filled};
use crate::{Code, Status, Streaming};

pin_project_lite::pin_project! {
    /// The messages of a request stream, encoded as they are asked for.
    pub(crate) struct Encoded<S, E> {
        #[pin]
        messages: S,
        encoder: E,
        packing: Packing,
        watching: Option<Arc<Watching>>,
        end: Option<Result<(), Status>>,
    }
}

impl<S, E> Encoded<S, E> {
    pub(crate) const fn new(
        messages: S,
        encoder: E,
        packing: Packing,
        watching: Option<Arc<Watching>>,
    ) -> Self {
        Self { messages, encoder, packing, watching, end: None }
    }
}

impl<S, E> http_body::Body for Encoded<S, E>
where
    S: Stream<Item = E::Item>,
    E: Encoder<Error = Status>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        if let Some(end) = this.end {
            let told = core::mem::replace(end, Ok(()));
            return Poll::Ready(told.err().map(Err));
        }
        let mut batch = Vec::new();
        let next = || this.messages.as_mut().poll_next(cx).map(|message| message.map(Ok));
        let watching = this.watching.as_deref();
        match send_buffer::fill(next, this.encoder, *this.packing, BATCH, &mut batch, watching) {
            Filled::Pending if batch.is_empty() => return Poll::Pending,
            Filled::Up | Filled::Pending => {}
            Filled::End(end) if batch.is_empty() => {
                *this.end = Some(Ok(()));
                return Poll::Ready(end.err().map(Err));
            }
            // What was encoded before goes first.
            Filled::End(end) => *this.end = Some(end),
        }
        Poll::Ready(Some(Ok(Frame::data(send_buffer::seal(batch)))))
    }
}

/// Who reads the end of a [`Framed`] body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// A request: it has no trailers.
    Plainly,
    /// A response: its status stands in the trailers.
    WithStatus,
}

/// Messages that came, with their prefixes again.
pub(crate) struct Framed {
    messages: Streaming<Bytes>,
    ends: Ends,
    /// A message whose prefix was given out.
    next: Option<Bytes>,
    over: bool,
}

impl Framed {
    pub(crate) const fn request(messages: Streaming<Bytes>) -> Self {
        Self { messages, ends: Ends::Plainly, next: None, over: false }
    }

    pub(crate) const fn response(messages: Streaming<Bytes>) -> Self {
        Self { messages, ends: Ends::WithStatus, next: None, over: false }
    }

    /// The last frame, if there is one.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        self.over = true;
        let trailers = self.messages.take_trailers();
        (self.ends == Ends::WithStatus).then(|| Ok(Frame::trailers(trailers_of(&ok(trailers)))))
    }

    fn failed(&mut self, status: Status) -> Result<Frame<Bytes>, Status> {
        self.over = true;
        // What the peer said is an end like any other; what happened to the transport is an error for middleware, too.
        if self.ends == Ends::WithStatus && status.transport().is_none() {
            return Ok(Frame::trailers(trailers_of(&status)));
        }
        Err(status)
    }
}

fn ok(trailers: MetadataMap) -> Status {
    Status::with_metadata(Code::Ok, "", trailers)
}

fn trailers_of(status: &Status) -> http::HeaderMap {
    header_map(status.trailer().fields())
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(message) = this.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if this.over {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(this.messages.poll_message(cx)) {
            Ok(Some(message)) => {
                let (prefix, rest) = framed(message);
                this.next = rest;
                Some(Ok(Frame::data(prefix)))
            }
            Ok(None) => this.end(),
            Err(status) => Some(this.failed(status)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.next.is_none()
    }
}

/// Messages below this are copied behind their prefix.
const SMALL: usize = 4096;

/// A message with its prefix: in one piece, or in two.
fn framed(message: Bytes) -> (Bytes, Option<Bytes>) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let together = message.len() < SMALL;
    let mut head = Vec::with_capacity(if together { PREFIX.saturating_add(message.len()) } else { PREFIX });
    head.put_u8(0);
    head.put_u32(length);
    if together {
        head.extend_from_slice(&message);
        return (head.into(), None);
    }
    (head.into(), Some(message))
}
