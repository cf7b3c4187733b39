//! What is at the bottom of a server's middleware: finds the method that a request is for, runs it, and makes an answer of what it
//! sends. See [`super::layers`].
//!
//! Nothing is spawned: the handler is polled by whoever polls the answer or its body, and a body that is dropped drops it. It is
//! polled for more only when what it sent was taken, so a slow reader slows it down.
//!
//! Invariant: what a handler sends goes through a queue and a gate of this call's own, in order.

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use clearway_transport::OpQueue;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use tower_service::Service;

use super::methods::{Method, Route, Routes};
use super::ops::{Outcome, ServerOp};
use super::run::finish_unary;
use super::streaming::{Input, Running, Sink, StreamingMethod};
use super::via::Via;
use crate::body::{Body, BodyMessages, header_map, section};
use crate::codec::DecodeBuf;
use crate::codec::compression::{Agreed, Unpacking};
use crate::framing::Incoming;
use crate::gate::SendGate;
use crate::metadata::MetadataMap;
use crate::request::Context as Surroundings;
use crate::streaming::Source;
use crate::{Code, Request, Status};

/// Octets a handler may be ahead of whoever reads its answer.
const AHEAD: usize = 64 * 1024;

/// What a request brings with it through the middleware, among its extensions: its deadline and where it came from.
#[derive(Clone)]
pub(super) struct Arrived(Arc<Surroundings>);

impl Arrived {
    pub(super) fn new(kept: Surroundings) -> Self {
        Self(Arc::new(kept))
    }
}

/// The methods of a table, as a service.
#[derive(Clone)]
pub(super) struct Dispatch(Arc<Routes>);

impl Dispatch {
    pub(super) const fn new(routes: Arc<Routes>) -> Self {
        Self(routes)
    }
}

impl Service<http::Request<Body>> for Dispatch {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let routes = Arc::clone(&self.0);
        Box::pin(async move { Ok(run(&routes, request).await.unwrap_or_else(|status| refusal(&status))) })
    }
}

async fn run(routes: &Routes, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().as_bytes();
    let Some(route) = routes.get(routes.find(path)) else { return Err(routes.not_found(path)) };
    let Some(Arrived(kept)) = parts.extensions.remove() else {
        return Err(Status::internal("middleware threw away the extensions of a request"));
    };
    let metadata = MetadataMap::of_request(&section(&parts.headers))
        .map_err(|_| Status::internal("binary metadata is not base64"))?;
    let context = Surroundings { extensions: parts.extensions, ..Surroundings::default() };
    let head = Request::received(metadata, (), context).keeping(kept.again());
    let messages = BodyMessages::new(body, Incoming::Request, route.decode_limit);
    match &route.method {
        Method::Unary(method) => {
            let mut message = only(messages).await?;
            let call = method.call(head, &mut message, None)?;
            Ok(whole(finish_unary(call).await))
        }
        Method::TakesOne(method) => {
            let message = only(messages).await?;
            begin(&**method, head, Input::One(message)).await
        }
        Method::TakesMany(method) => {
            let input = Input::Many(Source::of_body(messages), unpacking(route));
            begin(&**method, head, input).await
        }
    }
}

/// Messages were inflated before they came here.
fn unpacking(route: &Route) -> Unpacking {
    route.unpacking(Agreed::default())
}

/// The one message of a request.
async fn only(mut messages: BodyMessages) -> Result<DecodeBuf<'static>, Status> {
    let (mut messages, end) = messages.all().await;
    end?;
    match (messages.pop(), messages.pop()) {
        (Some(message), None) => Ok(message.into()),
        (None, _) => Err(Status::unimplemented("the request has no message, want exactly one")),
        (Some(_), Some(_)) => {
            Err(Status::unimplemented("the request has more than one message, want exactly one"))
        }
    }
}

/// Runs a handler to the head of its response, or to its end if there is none before.
async fn begin(
    method: &dyn StreamingMethod,
    head: Request<()>,
    input: Input<'_>,
) -> Result<http::Response<Body>, Status> {
    let Some(stream) = head.surroundings().origin.as_ref().map(super::Origin::stream) else {
        return Err(Status::internal("a request without an origin"));
    };
    let (ops, gate) = (Arc::new(OpQueue::default()), Arc::new(SendGate::open(AHEAD)));
    let sink =
        Sink { stream, ops: Arc::clone(&ops), gate: Arc::clone(&gate), encoding: None, watching: None };
    let mut running = RunningCall {
        handler: Some(method.start(head, input, sink)?),
        ops,
        gate,
        head: None,
        payloads: VecDeque::new(),
        outcome: None,
    };
    let head = poll_fn(|cx| {
        running.advance(cx);
        match (running.head.take(), running.outcome.take()) {
            (Some(head), outcome) => {
                running.outcome = outcome;
                Poll::Ready(Ok(head))
            }
            (None, Some(outcome)) => Poll::Ready(Err(outcome)),
            (None, None) => Poll::Pending,
        }
    });
    Ok(match head.await {
        Ok(head) => response(&head, Body::of(running)),
        Err(outcome) => whole(outcome),
    })
}

/// A handler that sends.
struct RunningCall {
    handler: Option<Running>,
    ops: Arc<OpQueue<ServerOp>>,
    gate: Arc<SendGate>,
    head: Option<MetadataMap>,
    payloads: VecDeque<Bytes>,
    outcome: Option<Outcome>,
}

impl RunningCall {
    /// Polls the handler, and takes what it sent.
    fn advance(&mut self, cx: &mut Context<'_>) {
        let Some(handler) = &mut self.handler else { return };
        if let Poll::Ready(outcome) = handler.as_mut().poll(cx, &mut Via::Queue { pushed: 0 }) {
            self.outcome = Some(outcome);
            self.handler = None;
        }
        for op in self.ops.take_all() {
            match op {
                ServerOp::Head { metadata, .. } => self.head = Some(metadata),
                ServerOp::Messages { payload, .. } => self.payloads.push_back(payload),
                _ => {}
            }
        }
    }

    fn next_payload(&mut self) -> Option<Bytes> {
        let payload = self.payloads.pop_front()?;
        if let Some(waker) = self.gate.applied(payload.len(), false, AHEAD) {
            waker.wake();
        }
        Some(payload)
    }
}

impl http_body::Body for RunningCall {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.payloads.is_empty() {
            this.advance(cx);
        }
        if let Some(payload) = this.next_payload() {
            return Poll::Ready(Some(Ok(Frame::data(payload))));
        }
        match this.outcome.take() {
            Some(Outcome::Status(status)) => Poll::Ready(Some(Ok(Frame::trailers(trailers(&status))))),
            Some(_) => Poll::Ready(Some(Err(gone()))),
            None if this.handler.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// The answer of a handler that sent nothing before its end.
fn whole(outcome: Outcome) -> http::Response<Body> {
    match outcome {
        Outcome::Response { metadata, payload, trailers: after, .. } => {
            let end = trailers(&Status::with_metadata(Code::Ok, "", after));
            response(&metadata, Body::of(Whole(Some(payload), Some(end))))
        }
        Outcome::Status(status) => refusal(&status),
        Outcome::Nothing => refusal(&gone()),
    }
}

/// A framed message and its trailers.
struct Whole(Option<Bytes>, Option<http::HeaderMap>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let message = self.0.take().map(Frame::data);
        Poll::Ready(message.or_else(|| self.1.take().map(Frame::trailers)).map(Ok))
    }
}

fn gone() -> Status {
    Status::cancelled("the call was over before its handler was")
}

fn trailers(status: &Status) -> http::HeaderMap {
    header_map(status.trailer().fields())
}

fn response(metadata: &MetadataMap, body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = header_map(metadata.fields());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A response with nothing but a status.
fn refusal(status: &Status) -> http::Response<Body> {
    let mut response = response(&MetadataMap::new(), Body::empty());
    response.headers_mut().extend(trailers(status));
    response
}
