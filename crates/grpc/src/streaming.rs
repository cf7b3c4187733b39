//! [`Streaming`]: the messages of a call, one after the other.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use bytes::Buf as _;
use futures_core::Stream;

#[cfg(feature = "tower")]
use crate::body::BodyMessages;
use crate::client::Throttle;
use crate::codec::compression::Unpacking;
use crate::codec::{DecodeBuf, Decoder, Message};
use crate::inbound::{End, Reader};
use crate::intercept::Follow;
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// A stream of messages from the peer.
///
/// Reading is what gives the peer credit to send more; a reader that stops, stops the peer, and only the peer of this one
/// stream. Dropping it before its end cancels the call on a client; on a server the rest of the request is thrown away. A
/// request that is cut short is an error here and never looks like its end.
pub struct Streaming<T> {
    source: Source,
    decoder: Box<dyn Decoder<Item = T, Error = Status> + Send>,
    unpacking: Unpacking,
    state: State,
    /// Client: what a good end is told to.
    throttle: Option<Arc<Throttle>>,
    /// Of the message given out last.
    was_compressed: bool,
}

/// Where the messages of a stream come from, and who else hears of them.
pub(crate) struct Source {
    from: From,
    follow: Option<Follow>,
}

enum From {
    /// A connection of ours.
    Stream(Reader),
    /// Somebody's middleware.
    #[cfg(feature = "tower")]
    Body(Box<BodyMessages>),
}

impl Source {
    pub(crate) const fn new(reader: Reader) -> Self {
        Self { from: From::Stream(reader), follow: None }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn of_body(messages: BodyMessages) -> Self {
        Self { from: From::Body(Box::new(messages)), follow: None }
    }

    /// The same, of a call that is watched.
    pub(crate) fn followed(mut self, follow: Follow) -> Self {
        self.follow = Some(follow);
        self
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, End>> {
        match &mut self.from {
            From::Stream(reader) => reader.poll_message(cx),
            #[cfg(feature = "tower")]
            From::Body(messages) => messages.poll_message(cx),
        }
    }

    /// A message was taken and inflated; gives back what goes on.
    #[inline]
    fn heard<'a>(&self, message: DecodeBuf<'a>) -> Result<DecodeBuf<'a>, Status> {
        let Some(follow) = &self.follow else { return Ok(message) };
        follow.received(message.remaining(), message.wire_octets())?;
        Ok(message.altered(|octets| follow.altered(octets)))
    }

    /// The stream ended like this; gives back how it ends for its reader.
    fn end(&self, end: End) -> End {
        match &self.follow {
            Some(follow) => follow.end(end),
            None => end,
        }
    }

    /// Nobody wants the rest.
    fn abandon(&mut self) {
        match &mut self.from {
            From::Stream(reader) => reader.abandon(),
            #[cfg(feature = "tower")]
            From::Body(messages) => messages.abandon(),
        }
    }
}

enum State {
    /// Messages may come.
    Open,
    /// The peer ended it; its trailers.
    Ended(MetadataMap),
    /// It failed, and the failure was told.
    Failed,
}

impl<T> Streaming<T> {
    pub(crate) fn new(
        source: Source,
        decoder: impl Decoder<Item = T, Error = Status> + Send + 'static,
        unpacking: Unpacking,
    ) -> Self {
        Self {
            source,
            decoder: Box::new(decoder),
            unpacking,
            state: State::Open,
            throttle: None,
            was_compressed: false,
        }
    }

    /// Tells a good end to a channel's retry throttle.
    pub(crate) fn counted_by(mut self, throttle: Option<Arc<Throttle>>) -> Self {
        self.throttle = throttle;
        self
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// The status with which the call ended, if not OK. On a server [`Code::Cancelled`] says that the client gave up or the
    /// connection was lost before the request was complete.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The trailers; `None` before the end. Messages that were not read are thrown away.
    ///
    /// # Errors
    /// As [`Streaming::message`].
    pub async fn trailers(&mut self) -> Result<Option<MetadataMap>, Status> {
        while self.message().await?.is_some() {}
        Ok(match core::mem::replace(&mut self.state, State::Failed) {
            State::Ended(trailers) => Some(trailers),
            State::Open | State::Failed => None,
        })
    }

    /// True if the message given out last came compressed.
    pub fn was_compressed(&self) -> bool {
        self.was_compressed
    }

    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>, Status>> {
        if !matches!(self.state, State::Open) {
            return Poll::Ready(Ok(None));
        }
        match core::task::ready!(self.source.poll_message(cx)) {
            Ok(message) => Poll::Ready(self.decode(message).map(Some).or_else(|status| {
                // Nothing after a message that cannot be read makes sense.
                self.source.abandon();
                self.ended(Err(status))
            })),
            Err(end) => Poll::Ready(self.ended(end)),
        }
    }

    fn ended(&mut self, end: End) -> Result<Option<T>, Status> {
        if end.is_ok()
            && let Some(throttle) = self.throttle.take()
        {
            throttle.succeeded();
        }
        match self.source.end(end) {
            Ok(trailers) => {
                self.state = State::Ended(trailers);
                Ok(None)
            }
            Err(status) => {
                self.state = State::Failed;
                Err(status)
            }
        }
    }

    fn decode(&mut self, message: Message) -> Result<T, Status> {
        self.was_compressed = message.compressed;
        let mut message = self.source.heard(self.unpacking.open(message.into())?)?;
        self.decoder.decode(&mut message)?.ok_or_else(nothing_decoded)
    }
}

#[cfg(feature = "tower")]
impl<T> Streaming<T> {
    /// The trailers, once it has ended well.
    pub(crate) fn take_trailers(&mut self) -> MetadataMap {
        match core::mem::replace(&mut self.state, State::Failed) {
            State::Ended(trailers) => trailers,
            State::Open | State::Failed => MetadataMap::new(),
        }
    }
}

/// A decoder took a whole message and made nothing of it.
pub(crate) fn nothing_decoded() -> Status {
    Status::new(Code::Internal, "the decoder made no message of a whole one")
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx).map(Result::transpose)
    }
}

impl<T> Unpin for Streaming<T> {}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streaming")
    }
}
