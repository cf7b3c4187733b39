//! Methods with a stream in either direction. Their handlers run as tasks, and what they send goes to the connection in
//! batches, as fast as the peer reads it.

use core::future::{Future, poll_fn};
use core::marker::PhantomData;
use core::pin::{Pin, pin};
use core::task::Poll;
use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::StreamKey;
use clearway_transport::OpQueue;
use futures_core::Stream;

use super::ops::{Outcome, ServerOp};
use crate::codec::{Codec, DecodeBuf, Decoder as _, Encoder};
use crate::gate::{GateClosed, SendGate};
use crate::inbound::Reader;
use crate::metadata::MetadataMap;
use crate::streaming::nothing_decoded;
use crate::{Code, Request, Response, Status, Streaming, framing};

/// Ready messages share one operation up to this many octets.
const BATCH: usize = 16 * 1024;

/// The messages of a request.
pub(super) enum Input<'a> {
    /// Exactly one.
    One(DecodeBuf<'a>),
    /// A stream of them.
    Many(Reader),
}

/// A running handler.
pub(super) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A method with a stream in either direction, its types erased.
pub(super) trait StreamingMethod: Send + Sync {
    /// Builds the handler's future.
    fn start(&self, head: Request<()>, input: Input<'_>, sink: Sink) -> Result<Running, Status>;
}

/// Where a response goes.
pub(super) struct Sink {
    pub(super) stream: StreamKey,
    pub(super) ops: Arc<OpQueue<ServerOp>>,
    pub(super) gate: Arc<SendGate>,
}

impl Sink {
    fn head(&self, metadata: MetadataMap) {
        let _ = self.ops.push(ServerOp::Head { stream: self.stream, metadata });
    }

    fn messages(&self, payload: Vec<u8>) {
        if !payload.is_empty() {
            self.gate.pushed(payload.len());
            let _ = self.ops.push(ServerOp::Messages { stream: self.stream, payload: Bytes::from(payload) });
        }
    }

    /// Sends a stream of messages to its end; the trailers are for an end that is OK.
    async fn pump<E, S>(self, encoder: &mut E, stream: S, limit: usize, trailers: MetadataMap) -> Outcome
    where
        E: Encoder<Error = Status>,
        S: Stream<Item = Result<E::Item, Status>>,
    {
        let mut stream = pin!(stream);
        loop {
            if let Err(GateClosed) = poll_fn(|cx| self.gate.poll_open(cx)).await {
                return Outcome::Nothing;
            }
            let mut batch = Vec::new();
            let end = poll_fn(|cx| fill(cx, stream.as_mut(), encoder, limit, &mut batch)).await;
            self.messages(batch);
            match end {
                Some(Ok(())) => return Outcome::Status(Status::with_metadata(Code::Ok, "", trailers)),
                Some(Err(status)) => return Outcome::Status(status),
                None => {}
            }
        }
    }
}

/// Encodes what is ready, up to [`BATCH`]. The end is there when the stream is over.
fn fill<E, S>(
    cx: &mut core::task::Context<'_>,
    mut stream: Pin<&mut S>,
    encoder: &mut E,
    limit: usize,
    batch: &mut Vec<u8>,
) -> Poll<Option<Result<(), Status>>>
where
    E: Encoder<Error = Status>,
    S: Stream<Item = Result<E::Item, Status>>,
{
    while batch.len() < BATCH {
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(item))) => {
                batch.reserve(framing::expected(encoder, &item));
                if let Err(status) = framing::encode(encoder, item, limit, batch) {
                    return Poll::Ready(Some(Err(status)));
                }
            }
            Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
            Poll::Ready(None) => return Poll::Ready(Some(Ok(()))),
            Poll::Pending if batch.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(None)
}

/// A function as a method. `Shape` is what it takes ([`Take`]), what it gives ([`Give`]), and the type of that.
pub(super) struct StreamingFn<C, F, Shape> {
    pub(super) codec: C,
    pub(super) handler: F,
    pub(super) encode_limit: usize,
    pub(super) shape: PhantomData<fn() -> Shape>,
}

/// The request is one message.
pub(super) enum TakeOne {}
/// The request is a stream.
pub(super) enum TakeMany {}
/// The response is one message.
pub(super) enum GiveOne {}
/// The response is a stream.
pub(super) enum GiveMany {}

/// What a handler takes.
pub(super) trait Take<C: Codec>: 'static {
    type Message: Send + 'static;
    fn take(codec: &mut C, input: Input<'_>) -> Result<Self::Message, Status>;
}

impl<C: Codec> Take<C> for TakeOne {
    type Message = C::Decode;

    fn take(codec: &mut C, input: Input<'_>) -> Result<C::Decode, Status> {
        match input {
            Input::One(mut message) => codec.decoder().decode(&mut message)?.ok_or_else(nothing_decoded),
            Input::Many(_) => Err(Status::internal("a stream was given to a method that takes one message")),
        }
    }
}

impl<C: Codec> Take<C> for TakeMany {
    type Message = Streaming<C::Decode>;

    fn take(codec: &mut C, input: Input<'_>) -> Result<Self::Message, Status> {
        match input {
            Input::Many(reader) => Ok(Streaming::new(reader, codec.decoder())),
            Input::One(_) => Err(Status::internal("a message was given to a method that takes a stream")),
        }
    }
}

/// What a handler gives.
pub(super) trait Give<C: Codec, R>: 'static {
    fn give(
        response: Response<R>,
        encoder: C::Encoder,
        limit: usize,
        sink: Sink,
    ) -> impl Future<Output = Outcome> + Send;
}

impl<C: Codec> Give<C, C::Encode> for GiveOne {
    async fn give(response: Response<C::Encode>, mut encoder: C::Encoder, limit: usize, _: Sink) -> Outcome {
        let (metadata, message, trailers) = response.split();
        let mut payload = Vec::with_capacity(framing::expected(&encoder, &message));
        match framing::encode(&mut encoder, message, limit, &mut payload) {
            Ok(()) => Outcome::Response { metadata, payload: Bytes::from(payload), trailers },
            Err(status) => Outcome::Status(status),
        }
    }
}

impl<C: Codec, S> Give<C, S> for GiveMany
where
    S: Stream<Item = Result<C::Encode, Status>> + Send + 'static,
{
    async fn give(response: Response<S>, mut encoder: C::Encoder, limit: usize, sink: Sink) -> Outcome {
        let (metadata, stream, trailers) = response.split();
        sink.head(metadata);
        sink.pump(&mut encoder, stream, limit, trailers).await
    }
}

impl<C, F, Fut, R, T, G> StreamingMethod for StreamingFn<C, F, (T, G, R)>
where
    C: Codec + Clone,
    T: Take<C>,
    G: Give<C, R>,
    F: Fn(Request<T::Message>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Response<R>, Status>> + Send + 'static,
    R: Send + 'static,
{
    fn start(&self, head: Request<()>, input: Input<'_>, sink: Sink) -> Result<Running, Status> {
        let mut codec = self.codec.clone();
        let message = T::take(&mut codec, input)?;
        let (encoder, limit) = (codec.encoder(), self.encode_limit);
        let future = (self.handler)(head.map(|()| message));
        Ok(Box::pin(async move {
            match future.await {
                Ok(response) => G::give(response, encoder, limit, sink).await,
                Err(status) => Outcome::Status(status),
            }
        }))
    }
}
