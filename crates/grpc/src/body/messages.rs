//! [`BodyMessages`]: messages out of a body, whoever made it.
//!
//! Invariant: what is kept is one frame and one message in assembly; a body is asked for more only when they are used up, so a reader
//! that stops, stops whoever fills the body.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;

use super::{Body, section};
use crate::codec::Message;
use crate::framing::{Assembler, Incoming};
use crate::inbound::End;
use crate::message_queue::MessageQueue;
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// Takes messages out of a body.
pub(crate) struct BodyMessages {
    body: Option<Body>,
    from: Incoming,
    assembler: Assembler,
    /// Of the last frame, what is not used yet.
    rest: Bytes,
    /// How it ended, to be told again.
    end: Option<End>,
}

impl BodyMessages {
    /// Of messages with `limit` octets at most.
    pub(crate) fn new(body: Body, from: Incoming, limit: usize) -> Self {
        let assembler = Assembler::new(limit);
        Self { body: Some(body), from, assembler, rest: Bytes::new(), end: None }
    }

    /// None, and how that ended.
    pub(crate) fn ended(from: Incoming, end: End) -> Self {
        Self { body: None, from, assembler: Assembler::new(0), rest: Bytes::new(), end: Some(end) }
    }

    /// The next message, or the end.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, End>> {
        loop {
            if let Some(end) = &self.end {
                return Poll::Ready(Err(end.clone()));
            }
            let mut input = &self.rest[..];
            match self.assembler.next(&mut input) {
                Ok(Some(message)) => {
                    let message = message.into_message();
                    let used = self.rest.len().saturating_sub(input.len());
                    self.rest.advance(used);
                    return Poll::Ready(Ok(message));
                }
                Ok(None) => self.rest.clear(),
                Err(error) => {
                    self.over(Err(error.status(self.from)));
                    continue;
                }
            }
            let Some(body) = &mut self.body else {
                self.over(Ok(MetadataMap::new()));
                continue;
            };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let end = self.ends_with(&trailers);
                        self.over(end);
                    }
                },
                Some(Err(status)) => self.over(Err(status)),
                None => {
                    let end = self.ends_with(&http::HeaderMap::new());
                    self.over(end);
                }
            }
        }
    }

    fn over(&mut self, end: End) {
        self.end = Some(end);
        self.rest.clear();
        self.body = None;
    }

    fn ends_with(&self, trailers: &http::HeaderMap) -> End {
        let section = section(trailers);
        match (Status::from_section(&section), self.from) {
            (Some(status), _) if status.code() != Code::Ok => {
                Err(status.and_metadata(MetadataMap::of_response(&section)))
            }
            _ if !self.assembler.at_boundary() => {
                Err(Status::internal("the body ended in the middle of a message"))
            }
            (Some(_), _) => Ok(MetadataMap::of_response(&section)),
            (None, Incoming::Request) => Ok(MetadataMap::new()),
            (None, Incoming::Response) => Err(Status::unknown("no grpc-status in a response")),
        }
    }

    /// Nobody wants the rest.
    pub(crate) fn abandon(&mut self) {
        self.over(Ok(MetadataMap::new()));
    }

    /// All of them, of which no more than two are kept: enough to tell that there were more than one. A request is not read on then; a
    /// response may still say at its end what went wrong.
    pub(crate) async fn all(&mut self) -> (MessageQueue, End) {
        let (mut kept, mut messages) = (0_u8, MessageQueue::default());
        loop {
            match poll_fn(|cx| self.poll_message(cx)).await {
                Ok(message) if kept < 2 => {
                    kept = kept.saturating_add(1);
                    messages.push(message);
                    if kept == 2 && self.from == Incoming::Request {
                        return (messages, Ok(MetadataMap::new()));
                    }
                }
                Ok(_) => {}
                Err(end) => return (messages, end),
            }
        }
    }
}
