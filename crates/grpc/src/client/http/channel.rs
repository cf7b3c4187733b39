//! A [`Channel`] as a service of `http::Request`s.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio::time::Instant;
use tower_service::Service;

use super::Answer;
use super::call::Carried;
use crate::body::{Body, BodyMessages, Framed, header_map, section};
use crate::client::{Channel, DEFAULT_MAX_DECODING_MESSAGE_SIZE, Grpc, MethodPath};
use crate::codec::{BytesDecoder, BytesEncoder, Codec, EncodeBuf, Encoder};
use crate::deadline::parse_timeout;
use crate::framing::{Incoming, PREFIX};
use crate::metadata::MetadataMap;
use crate::request::{Context as Surroundings, Deadline};
use crate::{Request, Response, Status, Streaming};

/// The answer to a request given to a channel by its `tower_service::Service`.
pub struct ResponseFuture(Answer);

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

impl Future for ResponseFuture {
    type Output = Result<http::Response<Body>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Any gRPC call as HTTP: the path is the method, the body frames of gRPC. For middleware around a channel:
///
/// ```
/// use std::time::Duration;
/// use clearway::client::Grpc;
/// use clearway::transport::Endpoint;
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let channel = Endpoint::from_static("http://localhost:50051").connect_lazy();
/// let service = ServiceBuilder::new().timeout(Duration::from_secs(5)).concurrency_limit(10).service(channel);
/// let client = Grpc::new(service); // or a generated client
/// # let _ = client;
/// # }
/// ```
///
/// A call that ends with a status of the server's is an answer with `grpc-status`; one that the transport could not bring to its end is
/// an error, or an error of the body. It is always ready: what waits for a connection waits in the channel.
impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> ResponseFuture {
        ResponseFuture(Box::pin(forward(self.clone(), request)))
    }
}

async fn forward(channel: Channel, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let path = MethodPath::new(parts.uri.path()).map_err(|error| Status::internal(error.to_string()))?;
    let carried: Option<Carried> = parts.extensions.remove();
    let metadata = MetadataMap::of_request(&section(&parts.headers))
        .map_err(|_| Status::internal("binary metadata is not base64"))?;
    let deadline = match &carried {
        Some(carried) => carried.deadline.map_or(Deadline::None, Deadline::At),
        None => timeout(&parts.headers)?,
    };
    let wait_for_ready = carried.as_ref().and_then(|carried| carried.wait_for_ready);
    let extensions = parts.extensions;
    let context = Surroundings { deadline, wait_for_ready, extensions, ..Surroundings::default() };
    let head = Request::received(metadata, (), context);
    let mut grpc = Grpc::new(channel).max_decoding_message_size(DEFAULT_MAX_DECODING_MESSAGE_SIZE);
    if let Some(Carried { send, accepted, limit, .. }) = carried {
        (grpc.send, grpc.accepted, grpc.max_decoding) = (send, accepted, limit);
    }
    let answer = match body.into_message() {
        Ok(framed) => {
            let message = framed.get(PREFIX..).map(|message| framed.slice_ref(message)).unwrap_or_default();
            grpc.server_streaming(head.map(|()| Ok(message)), path, Passed).await
        }
        Err(body) => {
            let messages = BodyMessages::new(body, Incoming::Request, usize::MAX);
            grpc.bidi_streaming(head.map(|()| Messages { messages, over: false }), path, Passed).await
        }
    };
    respond(answer)
}

/// What a request says whose client is not ours.
fn timeout(headers: &http::HeaderMap) -> Result<Deadline, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(Deadline::None) };
    match parse_timeout(value.as_bytes()) {
        Ok(timeout) => Ok(Instant::now().checked_add(timeout).map_or(Deadline::None, Deadline::At)),
        Err(_) => Err(Status::internal("malformed grpc-timeout")),
    }
}

fn respond(answer: Result<Response<Streaming<Bytes>>, Status>) -> Result<http::Response<Body>, Status> {
    let mut response = http::Response::new(Body::empty());
    *response.version_mut() = http::Version::HTTP_2;
    match answer {
        Ok(answer) => {
            let (metadata, messages, extensions) = answer.into_parts();
            *response.headers_mut() = header_map(metadata.fields());
            *response.body_mut() = Body::of(Framed::response(messages));
            *response.extensions_mut() = extensions;
        }
        Err(status) if status.transport().is_some() => return Err(status),
        Err(status) => *response.headers_mut() = header_map(status.trailer().fields()),
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The messages of a body; what went wrong with it is one, too.
struct Messages {
    messages: BodyMessages,
    over: bool,
}

impl Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.messages.poll_message(cx).map(|next| match next {
            Ok(message) => Some(Ok(message.octets)),
            Err(end) => {
                self.over = true;
                end.err().map(Err)
            }
        })
    }
}

/// Passes messages on; one that could not be had ends the call.
#[derive(Clone, Copy)]
struct Passed;

impl Codec for Passed {
    type Encode = Result<Bytes, Status>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = BytesDecoder;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> BytesDecoder {
        BytesDecoder
    }
}

impl Encoder for Passed {
    type Item = Result<Bytes, Status>;
    type Error = Status;

    fn encode(&mut self, item: Result<Bytes, Status>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        BytesEncoder.encode(item?, out)
    }

    fn size_hint(&self, item: &Result<Bytes, Status>) -> Option<usize> {
        item.as_ref().ok().map(bytes::Buf::remaining)
    }
}
