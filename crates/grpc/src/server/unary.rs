//! Unary methods: one message in, one out. The handler's future is polled once in place; see [`UnaryCall`].

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::codec::compression::Packing;
use crate::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder as _, Encoder};
use crate::metadata::MetadataMap;
use crate::streaming::nothing_decoded;
use crate::{Request, Response, Status, framing};

/// A unary method with its types erased.
pub(super) trait UnaryMethod: Send + Sync {
    /// Decodes the message and builds the handler's future; its response is compressed by `encoding`.
    fn call(
        &self,
        head: Request<()>,
        message: &mut DecodeBuf<'_>,
        encoding: Option<CompressionEncoding>,
    ) -> Result<Pin<Box<dyn UnaryCall>>, Status>;
}

/// One call of a unary method: the handler's future and, once it is done, its response.
pub(super) trait UnaryCall: Send {
    /// Polls the handler; not to be called again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// The response without its message, once ready.
    fn head(self: Pin<&mut Self>) -> Result<Before, Status>;

    /// Appends the message with its prefix, and gives what follows it; after [`UnaryCall::head`].
    fn encode(self: Pin<&mut Self>, out: &mut Vec<u8>) -> Result<After, Status>;
}

/// What stands before the message of a response.
pub(super) struct Before {
    pub(super) metadata: MetadataMap,
    pub(super) encoding: Option<CompressionEncoding>,
    /// Octets the message will take with its prefix, as far as its encoder can say.
    pub(super) expected: usize,
}

/// What follows it, once it is encoded.
pub(super) struct After {
    /// What its encoder made of it, in octets.
    pub(super) octets: usize,
    pub(super) trailers: MetadataMap,
}

/// A function as a unary method.
pub(super) struct UnaryFn<C, F> {
    pub(super) codec: C,
    pub(super) handler: F,
    pub(super) encode_limit: usize,
}

impl<C, F, Fut> UnaryMethod for UnaryFn<C, F>
where
    C: Codec + Clone,
    F: Fn(Request<C::Decode>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Response<C::Encode>, Status>> + Send + 'static,
{
    fn call(
        &self,
        head: Request<()>,
        message: &mut DecodeBuf<'_>,
        encoding: Option<CompressionEncoding>,
    ) -> Result<Pin<Box<dyn UnaryCall>>, Status> {
        let mut codec = self.codec.clone();
        let message = codec.decoder().decode(message)?.ok_or_else(nothing_decoded)?;
        let future = (self.handler)(head.map(|()| message));
        Ok(Box::pin(UnaryTask {
            future,
            answer: Answer::Awaited,
            encoder: codec.encoder(),
            packing: Packing { limit: self.encode_limit, encoding },
        }))
    }
}

/// How far a handler's answer has come.
enum Answer<T> {
    /// Its future is not ready.
    Awaited,
    /// It is here.
    Here(Result<Response<T>, Status>),
    /// Its head was taken, and its message and trailers are left.
    Message(T, MetadataMap),
    /// All of it was taken.
    Taken,
}

pin_project_lite::pin_project! {
    struct UnaryTask<Fut, E: Encoder> {
        #[pin]
        future: Fut,
        answer: Answer<E::Item>,
        encoder: E,
        packing: Packing,
    }
}

impl<Fut, E> UnaryCall for UnaryTask<Fut, E>
where
    Fut: Future<Output = Result<Response<E::Item>, Status>> + Send,
    E: Encoder<Error = Status> + Send,
    E::Item: Send,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.future.poll(cx).map(|answer| *this.answer = Answer::Here(answer))
    }

    fn head(self: Pin<&mut Self>) -> Result<Before, Status> {
        let this = self.project();
        let Answer::Here(response) = core::mem::replace(this.answer, Answer::Taken) else {
            return Err(Status::internal("the handler is not done"));
        };
        let response = response?;
        if this.packing.encoding.is_some() && !response.may_be_compressed() {
            this.packing.encoding = None;
        }
        let (metadata, message, trailers) = response.split();
        let expected = framing::expected(this.encoder, &message);
        *this.answer = Answer::Message(message, trailers);
        Ok(Before { metadata, encoding: this.packing.encoding, expected })
    }

    fn encode(self: Pin<&mut Self>, out: &mut Vec<u8>) -> Result<After, Status> {
        let this = self.project();
        match core::mem::replace(this.answer, Answer::Taken) {
            Answer::Message(message, trailers) => {
                let octets = framing::encode(this.encoder, message, *this.packing, out)?;
                Ok(After { octets, trailers })
            }
            _ => Err(Status::internal("the handler is not done")),
        }
    }
}
