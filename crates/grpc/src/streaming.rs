//! [`Streaming`]: the messages of a call, one after the other.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use futures_core::Stream;

use crate::client::Throttle;
use crate::codec::compression::Unpacking;
use crate::codec::{Decoder, Message};
use crate::inbound::Reader;
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// A stream of messages from the peer.
///
/// Reading is what gives the peer credit to send more; a reader that stops, stops the peer, and only the peer of this one
/// stream. Dropping it before its end cancels the call on a client; on a server the rest of the request is thrown away. A
/// request that is cut short is an error here and never looks like its end.
pub struct Streaming<T> {
    reader: Reader,
    decoder: Box<dyn Decoder<Item = T, Error = Status> + Send>,
    unpacking: Unpacking,
    state: State,
    /// Client: what a good end is told to.
    throttle: Option<Arc<Throttle>>,
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
        reader: Reader,
        decoder: impl Decoder<Item = T, Error = Status> + Send + 'static,
        unpacking: Unpacking,
    ) -> Self {
        Self { reader, decoder: Box::new(decoder), unpacking, state: State::Open, throttle: None }
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

    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Result<Option<T>, Status>> {
        if !matches!(self.state, State::Open) {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(match core::task::ready!(self.reader.poll_message(cx)) {
            Ok(message) => self.decode(message),
            Err(Ok(trailers)) => {
                if let Some(throttle) = self.throttle.take() {
                    throttle.succeeded();
                }
                self.state = State::Ended(trailers);
                Ok(None)
            }
            Err(Err(status)) => {
                self.state = State::Failed;
                Err(status)
            }
        })
    }

    fn decode(&mut self, message: Message) -> Result<Option<T>, Status> {
        let opened = self.unpacking.open(message.into());
        let decoded = opened.and_then(|mut message| self.decoder.decode(&mut message));
        let result = decoded.and_then(|message| message.ok_or_else(nothing_decoded));
        if result.is_err() {
            // Nothing after a message that cannot be read makes sense.
            self.state = State::Failed;
            self.reader.abandon();
        }
        result.map(Some)
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
