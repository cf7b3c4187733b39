//! [`BodyMessages`]: messages out of a body, whoever made it.
//!
//! Invariant: what is kept is one frame and one message in assembly; a body is asked for more only when they are used up, so a reader
//! that stops, stops whoever fills the body.

use core::convert::Infallible;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use tokio::task::coop::consume_budget;

use super::{Body, section};
use crate::codec::Message;
use crate::framing::{Assembler, Incoming};
use crate::inbound::End;
use crate::message_queue::MessageQueue;
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// Ready, with the status to tell, when nobody waits for a body's messages any more.
pub(crate) type OverAt = Pin<Box<dyn Future<Output = Result<Infallible, Status>> + Send>>;

/// Takes messages out of a body.
pub(crate) struct BodyMessages {
    body: Option<Body>,
    from: Incoming,
    assembler: Assembler,
    /// Of the last frame, what is not used yet.
    rest: Bytes,
    /// How it ended, to be told again.
    end: Option<End>,
    /// What ends it where the body does not.
    over_at: Option<OverAt>,
}

impl BodyMessages {
    /// Of messages with `limit` octets at most.
    pub(crate) fn new(body: Body, from: Incoming, limit: usize) -> Self {
        let assembler = Assembler::new(limit);
        Self { body: Some(body), from, assembler, rest: Bytes::new(), end: None, over_at: None }
    }

    /// The same, but over with a status when there is one. What the body has in time is taken first: a reader that comes late gets an
    /// answer that did not.
    pub(crate) fn over_at(mut self, over_at: Option<OverAt>) -> Self {
        self.over_at = over_at;
        self
    }

    /// None, and how that ended.
    pub(crate) fn ended(from: Incoming, end: End) -> Self {
        Self {
            body: None,
            from,
            assembler: Assembler::new(0),
            rest: Bytes::new(),
            end: Some(end),
            over_at: None,
        }
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
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.poll_over(cx));
                    continue;
                }
            };
            match frame {
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

    /// Ready when nobody waits any more; it has ended then.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(over_at) = &mut self.over_at else { return Poll::Pending };
        let Err(status) = ready!(over_at.as_mut().poll(cx));
        self.over(Err(status));
        Poll::Ready(())
    }

    fn over(&mut self, end: End) {
        self.end = Some(end);
        self.over_at = None;
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
    /// response may still say at its end what went wrong, but one that never ends does not outlast the call by its messages either.
    pub(crate) async fn all(&mut self) -> (MessageQueue, End) {
        let (mut kept, mut messages) = (0_u8, MessageQueue::default());
        loop {
            if kept == 2 {
                // Somebody else has to be asked now and then whether it is over, and the body need not ever be pending.
                consume_budget().await;
            }
            let next = poll_fn(|cx| {
                if kept == 2 && self.end.is_none() {
                    let _ = self.poll_over(cx);
                }
                self.poll_message(cx)
            });
            match next.await {
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
