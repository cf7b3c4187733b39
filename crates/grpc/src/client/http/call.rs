//! From a call to an `http::Request`, and from an `http::Response` to the rest of the call.

use core::convert::Infallible;
use core::future::pending;
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, TE};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Answer, HttpService};
use crate::body::{Body, BodyMessages, Encoded, OverAt, header_map, section};
use crate::cause::{CallPhase, Processed};
use crate::client::grpc::{Begun, Grpc, Opened};
use crate::client::outgoing::Outgoing;
use crate::client::start::{deadline_passed, deadline_passed_somewhere};
use crate::client::{GrpcService, MethodPath};
use crate::codec::compression::{Accepted, Choosing, Packing};
use crate::codec::{Codec, CompressionEncoding};
use crate::context::CallContext;
use crate::deadline::TimeoutValue;
use crate::framing::{Incoming, is_grpc};
use crate::inbound::Whole;
use crate::intercept::Watching;
use crate::metadata::MetadataMap;
use crate::request::Context;
use crate::{Code, Request, Status};

/// How long after a deadline a body may still say itself that it passed: what is inside of middleware knows more of it.
const SAYS_ITSELF: Duration = Duration::from_millis(20);

/// What a client wants of the channel that its call gets to at last; travels among the request's extensions.
#[derive(Clone)]
pub(super) struct Carried {
    pub(super) send: Option<CompressionEncoding>,
    pub(super) accepted: Option<Arc<Accepted>>,
    pub(super) limit: usize,
    pub(super) deadline: Option<Instant>,
    pub(super) wait_for_ready: Option<bool>,
}

/// A call under way through middleware.
pub(in crate::client) struct HttpCall {
    answer: Answer,
    began: Instant,
    deadline: Option<Instant>,
    /// The context that the call is made in.
    parent: Option<CallContext>,
    limit: usize,
}

impl<T: GrpcService> Grpc<T> {
    /// Begins a call whose request is one message.
    pub(in crate::client) fn message_over<C: Codec>(
        &self,
        service: &dyn HttpService,
        request: Request<C::Encode>,
        path: &MethodPath,
        codec: &mut C,
        watching: Option<&Watching>,
    ) -> Result<(Begun, usize), Status> {
        let (metadata, context, message) = request.split();
        let outgoing = Outgoing::message(&mut codec.encoder(), message, self.unpacked(), watching)?;
        let body = Body::message(match outgoing {
            Outgoing::Small(small) => Bytes::copy_from_slice(small.as_slice()),
            Outgoing::Large(message) => message,
            Outgoing::Stream(_) => Bytes::new(),
        });
        self.begin_over(service, path, (&metadata, context), body)
    }

    /// Begins a call whose request is a stream.
    pub(in crate::client) fn stream_over<C, S>(
        &self,
        service: &dyn HttpService,
        request: Request<S>,
        path: &MethodPath,
        codec: &mut C,
        watching: Option<Arc<Watching>>,
    ) -> Result<(Begun, usize), Status>
    where
        C: Codec,
        S: Stream<Item = C::Encode> + Send + 'static,
    {
        let (metadata, context, messages) = request.split();
        let encoder = Choosing::new(codec.encoder(), &context.extensions);
        let body = Body::of(Encoded::new(messages, encoder, self.unpacked(), watching));
        self.begin_over(service, path, (&metadata, context), body)
    }

    /// How messages go into bodies: what they are compressed by is the channel's business.
    const fn unpacked(&self) -> Packing {
        Packing { limit: self.max_encoding, encoding: None }
    }

    fn begin_over(
        &self,
        service: &dyn HttpService,
        path: &MethodPath,
        (metadata, mut context): (&MetadataMap, Context),
        body: Body,
    ) -> Result<(Begun, usize), Status> {
        let began = Instant::now();
        let parent = context.inherited();
        let deadline = Self::deadline(&context, (None, None), parent.as_ref(), began);
        let left = deadline.map(|at| at.saturating_duration_since(began));
        if left == Some(Duration::ZERO) {
            return Err(deadline_passed(Duration::ZERO, CallPhase::Connecting, None));
        }
        let carried = Carried {
            send: self.send,
            accepted: self.accepted.clone(),
            limit: self.max_decoding,
            deadline,
            wait_for_ready: context.wait_for_ready,
        };
        context.extensions.insert(carried);
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = path.as_str().parse().map_err(|error| {
            Status::internal(format!("the path {path} cannot be given to middleware: {error}"))
        })?;
        *request.headers_mut() = headers(metadata, left);
        *request.extensions_mut() = context.extensions;
        let (answer, limit) = (service.answer(request), self.max_decoding);
        Ok((Begun::Http(Box::new(HttpCall { answer, began, deadline, parent, limit })), limit))
    }
}

fn headers(metadata: &MetadataMap, left: Option<Duration>) -> http::HeaderMap {
    let mut headers = header_map(metadata.fields());
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let timeout = left.map(TimeoutValue::new);
    if let Some(Ok(value)) = timeout.map(|value| HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert("grpc-timeout", value);
    }
    headers
}

impl HttpCall {
    /// The head of the answer and its messages.
    async fn answered(self) -> Result<(MetadataMap, BodyMessages), Status> {
        let Self { answer, began, deadline, parent, limit } = self;
        // It may wait in middleware, where no call is that could be called off.
        let answer = async {
            match &parent {
                Some(parent) => parent.unless_over(Processed::Maybe, answer).await,
                None => answer.await,
            }
        };
        let response = match deadline {
            None => answer.await?,
            Some(at) => timeout_at(at, answer)
                .await
                .map_err(|_| deadline_passed_somewhere(began.elapsed(), CallPhase::Middleware))??,
        };
        let (parts, body) = response.into_parts();
        let section = section(&parts.headers);
        let metadata = MetadataMap::of_response(&section);
        match Status::from_section(&section) {
            Some(status) if status.code() == Code::Ok => {
                return Ok((MetadataMap::new(), BodyMessages::ended(Incoming::Response, Ok(metadata))));
            }
            Some(status) => return Err(status.and_metadata(metadata)),
            None => {}
        }
        let is_grpc = parts.headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
        if parts.status != http::StatusCode::OK || !is_grpc {
            return Err(without_status(parts.status).and_metadata(metadata));
        }
        let messages = BodyMessages::new(body, Incoming::Response, limit);
        Ok((metadata, messages.over_at(over_at(began, deadline, parent))))
    }

    pub(in crate::client) async fn whole(self: Box<Self>) -> Result<Whole, Status> {
        let (head, mut messages) = self.answered().await?;
        let (messages, end) = messages.all().await;
        Ok(Whole { head: Some(head), encoding: None, messages, end })
    }

    pub(in crate::client) async fn head(self: Box<Self>) -> Result<Opened, Status> {
        let (head, messages) = self.answered().await?;
        let source = crate::streaming::Source::of_body(messages);
        Ok(Opened { source, head, encoding: None, throttle: None })
    }
}

/// What ends a call whose answer has begun and stalls somewhere in middleware, where no channel's deadline is.
fn over_at(began: Instant, deadline: Option<Instant>, parent: Option<CallContext>) -> Option<OverAt> {
    if deadline.is_none() && parent.is_none() {
        return None;
    }
    Some(Box::pin(async move {
        let passed = async {
            match deadline.and_then(|at| at.checked_add(SAYS_ITSELF)) {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
            Err::<Infallible, _>(deadline_passed_somewhere(began.elapsed(), CallPhase::Streaming))
        };
        match &parent {
            Some(parent) => parent.unless_over(Processed::Maybe, passed).await,
            None => passed.await,
        }
    }))
}

/// What an answer means that is not gRPC's: middleware refused the call in HTTP's words (gRPC's mapping page).
pub(crate) fn without_status(status: http::StatusCode) -> Status {
    Status::new(
        Code::from_http_status(status.as_u16()),
        format!("no grpc-status in a response with HTTP status {}", status.as_u16()),
    )
}
