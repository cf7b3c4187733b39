//! Methods with a stream in either direction. Their handlers are tasks, which the connection's task may visit (see
//! [`super::visit`]); what they send goes to the connection in batches, as fast as the peer reads it.

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use clearway_http2::StreamKey;
use clearway_transport::OpQueue;
use futures_core::Stream;
use pin_project_lite::pin_project;

use super::ops::{Outcome, ServerOp};
use super::via::Via;
use crate::codec::compression::{Choosing, Packing, Unpacking};
use crate::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder as _, Encoder};
use crate::context;
use crate::gate::{GateClosed, SendGate};
use crate::intercept::Watching;
use crate::metadata::MetadataMap;
use crate::send_buffer::{self, Filled};
use crate::streaming::{Source, nothing_decoded};
use crate::{Code, Request, Response, Status, Streaming, framing};

/// The messages of a request.
pub(super) enum Input<'a> {
    /// Exactly one.
    One(DecodeBuf<'a>),
    /// A stream of them.
    Many(Source, Unpacking),
}

/// A handler, and then the sending of what it gave.
pub(super) trait Handler: Send {
    /// Polls it; not to be called again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, via: &mut Via<'_>) -> Poll<Outcome>;
}

/// A running handler.
pub(super) type Running = Pin<Box<dyn Handler>>;

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
    /// What its messages are compressed by.
    pub(super) encoding: Option<CompressionEncoding>,
    /// Who hears of its head and messages.
    pub(super) watching: Option<Arc<Watching>>,
}

pin_project! {
    /// Sends a stream of messages to its end, as fast as its gate lets it; then it is the outcome of the call: `trailers`
    /// are for an end that is OK. `admitted` says that the gate let it through, for how many octets, and that nothing was sent
    /// since. `opening` is what those who watch the call do with the head before it is sent.
    pub(super) struct Pump<S, E> {
        opening: Option<Opening>,
        #[pin]
        stream: S,
        encoder: E,
        limit: usize,
        sink: Sink,
        trailers: MetadataMap,
        admitted: Option<usize>,
    }
}

impl<S, E> Handler for Pump<S, E>
where
    E: Encoder<Error = Status> + Send,
    S: Stream<Item = Result<E::Item, Status>> + Send,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, via: &mut Via<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if let Some(opening) = this.opening {
            match ready!(opening.as_mut().poll(cx)) {
                Ok(metadata) => via.head(this.sink, metadata),
                Err(status) => return Poll::Ready(Outcome::Status(status)),
            }
            *this.opening = None;
        }
        loop {
            let most = match *this.admitted {
                Some(most) => most,
                None => match ready!(via.poll_open(this.sink, cx)) {
                    Ok(mark) => *this.admitted.insert(mark.min(send_buffer::BATCH)),
                    Err(GateClosed) if context::runs_on() => return poll_out(this.stream, cx),
                    Err(GateClosed) => return Poll::Ready(Outcome::Nothing),
                },
            };
            let mut batch = via.buffer();
            let packing = Packing { limit: *this.limit, encoding: this.sink.encoding };
            let next = || this.stream.as_mut().poll_next(cx);
            let watching = this.sink.watching.as_deref();
            let filled = send_buffer::fill(next, this.encoder, packing, most, &mut batch, watching);
            if !batch.is_empty() {
                *this.admitted = None;
            }
            via.messages(this.sink, batch);
            match filled {
                Filled::Up => {}
                // The stream wakes us, and then the gate is asked again.
                Filled::Pending => return Poll::Pending,
                Filled::End(Ok(())) => {
                    let trailers = core::mem::take(this.trailers);
                    return Poll::Ready(Outcome::Status(Status::with_metadata(Code::Ok, "", trailers)));
                }
                Filled::End(Err(status)) => return Poll::Ready(Outcome::Status(status)),
            }
        }
    }
}

/// Messages thrown away in one poll.
const THROWN_AWAY: usize = 64;

/// Reads a response that nobody waits for to its end, as its handler chose
/// ([`OnCancel`](super::OnCancel)).
fn poll_out<S: Stream>(mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<Outcome> {
    for _ in 0..THROWN_AWAY {
        if ready!(stream.as_mut().poll_next(cx)).is_none() {
            return Poll::Ready(Outcome::Nothing);
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The head of a response that is watched, on its way out.
type Opening = Pin<Box<dyn Future<Output = Result<MetadataMap, Status>> + Send>>;

fn open(watching: Arc<Watching>, mut metadata: MetadataMap) -> Opening {
    Box::pin(async move { watching.head(&mut metadata).await.map(|()| metadata) })
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
            Input::Many(..) => Err(Status::internal("a stream was given to a method that takes one message")),
        }
    }
}

impl<C: Codec> Take<C> for TakeMany {
    type Message = Streaming<C::Decode>;

    fn take(codec: &mut C, input: Input<'_>) -> Result<Self::Message, Status> {
        match input {
            Input::Many(source, unpacking) => Ok(Streaming::new(source, codec.decoder(), unpacking)),
            Input::One(_) => Err(Status::internal("a message was given to a method that takes a stream")),
        }
    }
}

/// What a handler gives.
pub(super) trait Give<C: Codec, R>: 'static {
    /// Sends it, and is the outcome.
    type Giving: Handler + 'static;

    fn give(
        response: Response<R>,
        encoder: C::Encoder,
        limit: usize,
        sink: Sink,
        via: &mut Via<'_>,
    ) -> Self::Giving;
}

impl<C: Codec> Give<C, C::Encode> for GiveOne {
    type Giving = Given;

    fn give(
        response: Response<C::Encode>,
        mut encoder: C::Encoder,
        limit: usize,
        sink: Sink,
        _: &mut Via<'_>,
    ) -> Given {
        let encoding = sink.encoding.filter(|_| response.may_be_compressed());
        let packing = Packing { limit, encoding };
        let (metadata, message, trailers) = response.split();
        let mut payload = Vec::new();
        send_buffer::reserve(&mut payload, framing::expected(&encoder, &message));
        Given(Some(match framing::encode(&mut encoder, message, packing, &mut payload) {
            Ok(octets) => {
                if let Some(watching) = &sink.watching
                    && let Err(status) = watching.sent(octets, framing::wire_octets(payload.len()))
                {
                    return Given(Some(Outcome::Status(status)));
                }
                Outcome::Response { metadata, encoding, payload: send_buffer::seal(payload), trailers }
            }
            Err(status) => Outcome::Status(status),
        }))
    }
}

/// An outcome that is there.
pub(super) struct Given(Option<Outcome>);

impl Handler for Given {
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut Via<'_>) -> Poll<Outcome> {
        Poll::Ready(self.0.take().unwrap_or(Outcome::Nothing))
    }
}

impl<C: Codec, S> Give<C, S> for GiveMany
where
    S: Stream<Item = Result<C::Encode, Status>> + Send + 'static,
{
    type Giving = Pump<S, Choosing<C::Encoder>>;

    fn give(
        response: Response<S>,
        encoder: C::Encoder,
        limit: usize,
        mut sink: Sink,
        via: &mut Via<'_>,
    ) -> Self::Giving {
        sink.encoding = sink.encoding.filter(|_| response.may_be_compressed());
        let encoder = Choosing::new(encoder, response.extensions());
        let (metadata, stream, trailers) = response.split();
        let opening = match &sink.watching {
            None => {
                via.head(&sink, metadata);
                None
            }
            Some(watching) => Some(open(Arc::clone(watching), metadata)),
        };
        Pump { opening, stream, encoder, limit, sink, trailers, admitted: None }
    }
}

pin_project! {
    /// A call: its handler, and then the sending of what that gave. An async block would keep room for both, and for the
    /// handler twice: as what it captured and as what it awaits. `then` says how its response is sent.
    #[project = HandlingNow]
    enum Handling<F, T, G> {
        Handler {
            #[pin]
            future: F,
            then: Option<T>,
        },
        Giving {
            #[pin]
            giving: G,
        },
    }
}

impl<F, R, T, G> Handler for Handling<F, T, G>
where
    F: Future<Output = Result<Response<R>, Status>> + Send,
    T: FnOnce(Response<R>, &mut Via<'_>) -> G + Send,
    G: Handler,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, via: &mut Via<'_>) -> Poll<Outcome> {
        loop {
            let giving = match self.as_mut().project() {
                HandlingNow::Giving { giving } => return giving.poll(cx, via),
                HandlingNow::Handler { future, then } => match (ready!(future.poll(cx)), then.take()) {
                    (Ok(response), Some(then)) => then(response, via),
                    (Err(status), _) => return Poll::Ready(Outcome::Status(status)),
                    // It is not polled again after it was ready.
                    (Ok(_), None) => return Poll::Ready(Outcome::Nothing),
                },
            };
            self.set(Self::Giving { giving });
        }
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
        let then = move |response, via: &mut Via<'_>| G::give(response, encoder, limit, sink, via);
        Ok(Box::pin(Handling::Handler { future, then: Some(then) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::BytesCodec;
    use crate::framing::Incoming;
    use crate::inbound::{Inbound, Reader, WakeAt};
    use bytes::Bytes;

    /// What an open call costs beside its handler's own future: that is kept once, and what sends its response lies in the
    /// same place.
    #[tokio::test]
    async fn a_call_is_its_handler_and_little_more() {
        let handler = |request: Request<Streaming<Bytes>>| async move {
            tokio::task::yield_now().await;
            Ok(Response::new(request.into_inner()))
        };
        let stream = crate::inbound::tests::key();
        let ops = Arc::new(OpQueue::default());
        let inbound =
            Arc::new(Inbound::new(Some(stream), WakeAt::Each, Arc::<OpQueue<ServerOp>>::clone(&ops) as _));
        let unpacking = Unpacking { from: Incoming::Request, limit: usize::MAX, encoding: None };
        let request =
            Request::new(Streaming::new(Source::new(Reader::new(inbound)), BytesCodec.decoder(), unpacking));
        let own = size_of_val(&handler(request));
        let method = StreamingFn {
            codec: BytesCodec,
            handler,
            encode_limit: usize::MAX,
            shape: PhantomData::<fn() -> (TakeMany, GiveMany, Streaming<Bytes>)>,
        };
        let sink = Sink {
            stream,
            ops: Arc::clone(&ops),
            gate: Arc::new(SendGate::default()),
            encoding: None,
            watching: None,
        };
        let inbound = Arc::new(Inbound::new(Some(stream), WakeAt::Each, ops as _));
        let running = method
            .start(Request::new(()), Input::Many(Source::new(Reader::new(inbound)), unpacking), sink)
            .map(|call| size_of_val(&*call));
        assert!(running.as_ref().is_ok_and(|octets| *octets <= own + 64), "{running:?} around {own} octets");
    }
}
