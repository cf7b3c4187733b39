//! Calls that somebody intercepts: what the four kinds of call are made of, with the interceptors asked before, the head, the
//! messages and the end told to them.
//!
//! Invariant: whatever happens to a call after its interceptors let it through, they hear of one end: everything here that gives up
//! goes through [`Guard::refuse`] or [`Guard::end`], and a future that is dropped drops the guard.

use futures_core::Stream;
use tokio::time::{Instant, timeout_at};

use super::GrpcService;
use super::grpc::{self, Begun, Grpc, Opened};
use super::path::MethodPath;
use super::start::{deadline_passed, deadline_passed_somewhere};
use crate::cause::{CallPhase, Processed};
use crate::codec::{Codec, Decoder};
use crate::inbound::{WakeAt, Whole};
use crate::intercept::{Call, CallKind, Follow, Guard, Side, Stack, no_response};
use crate::metadata::MetadataMap;
use crate::request::Deadline;
use crate::{Request, Response, Status, Streaming};

/// A call that its interceptors let through, under way.
pub(super) struct Watched {
    guard: Guard,
    begun: Begun,
    /// How large a message of its response may be.
    limit: usize,
}

impl Watched {
    fn new(guard: Guard, begun: Result<(Begun, usize), Status>) -> Result<Self, Status> {
        match begun {
            Ok((begun, limit)) => Ok(Self { guard, begun, limit }),
            Err(status) => Err(guard.refuse(status)),
        }
    }
}

impl<T: GrpcService> Grpc<T> {
    /// How a call begins whose request is one message.
    pub(super) async fn watched_message<C: Codec>(
        &self,
        (stack, kind): (&Stack, CallKind),
        request: Request<C::Encode>,
        path: MethodPath,
        codec: &mut C,
    ) -> Result<Watched, Status> {
        let (guard, request) = self.ask(stack, kind, &path, request).await?;
        let watching = Some(&**guard.watching());
        let wake_at = if kind == CallKind::Unary { WakeAt::End } else { WakeAt::Each };
        let begun = self.start_with_message(request, path, codec, wake_at, watching);
        Watched::new(guard, begun)
    }

    /// How one begins whose request is a stream.
    pub(super) async fn watched_stream<C, S>(
        &self,
        (stack, kind): (&Stack, CallKind),
        request: Request<S>,
        path: MethodPath,
        codec: &mut C,
    ) -> Result<Watched, Status>
    where
        C: Codec,
        S: Stream<Item = C::Encode> + Send + 'static,
    {
        let (guard, request) = self.ask(stack, kind, &path, request).await?;
        let watching = Some(guard.watching().clone());
        let wake_at = if kind == CallKind::ClientStreaming { WakeAt::End } else { WakeAt::Each };
        let begun = self.start_with_stream(request, path, codec, wake_at, watching);
        Watched::new(guard, begun)
    }

    /// Asks the interceptors, for as long as the call may take.
    async fn ask<M>(
        &self,
        stack: &Stack,
        kind: CallKind,
        path: &MethodPath,
        request: Request<M>,
    ) -> Result<(Guard, Request<M>), Status> {
        let began = Instant::now();
        let (metadata, mut context, message) = request.split();
        let timeout = self.route().shared().and_then(|shared| shared.timeout);
        let parent = context.inherited();
        let deadline = Self::deadline(&context, (self.method(path), timeout), parent.as_ref(), began);
        context.deadline = deadline.map_or(Deadline::None, Deadline::At);
        let head = Request::received(metadata, (), context);
        let mut call = Call::new(Side::Client, kind, path.clone(), head);
        let asking = Guard::begin(stack, &mut call, began, deadline);
        // No call is under way that could be called off.
        let asking = async {
            match &parent {
                Some(parent) => parent.unless_over(Processed::No, asking).await,
                None => asking.await,
            }
        };
        let guard = match deadline {
            None => asking.await?,
            Some(at) => timeout_at(at, asking)
                .await
                .map_err(|_| deadline_passed(began.elapsed(), CallPhase::Intercepted, None))??,
        };
        Ok((guard, call.into_request().map(|()| message)))
    }
}

/// Tells the interceptors the head of the response, for as long as the call may take.
async fn tell_head(guard: &Guard, head: &mut MetadataMap) -> Result<(), Status> {
    let told = match guard.times() {
        (_, None) => guard.head(head).await,
        (began, Some(at)) => timeout_at(at, guard.head(head))
            .await
            .unwrap_or_else(|_| Err(deadline_passed_somewhere(began.elapsed(), CallPhase::Intercepted))),
    };
    told.map_err(|status| guard.refuse(status))
}

impl Watched {
    /// The one message of its response.
    pub(super) async fn single<D>(self, mut decoder: D) -> Result<Response<D::Item>, Status>
    where
        D: Decoder<Error = Status>,
    {
        let Self { guard, begun, limit } = self;
        let whole = begun.whole().await.map_err(|status| guard.refuse(status))?;
        let Whole { mut head, encoding, messages, end } = whole;
        if let Some(head) = &mut head {
            tell_head(&guard, head).await?;
        }
        let mut message = None;
        let end = end.and_then(|trailers| {
            message =
                Some(grpc::only(messages, &mut decoder, grpc::unpacking(limit, encoding), Some(&*guard))?);
            Ok(trailers)
        });
        match (guard.end(end), message) {
            (Ok(trailers), Some(message)) => Ok(grpc::respond(head, &trailers, message)),
            (Ok(_), None) => Err(no_response().and_head(head)),
            (Err(status), _) => Err(status.and_head(head)),
        }
    }

    /// The stream of its response.
    pub(super) async fn streamed<D>(self, decoder: D) -> Result<Response<Streaming<D::Item>>, Status>
    where
        D: Decoder<Error = Status> + Send + 'static,
    {
        let Self { guard, begun, limit } = self;
        let opened = begun.head().await.map_err(|status| guard.refuse(status))?;
        let Opened { source, mut head, encoding, throttle } = opened;
        tell_head(&guard, &mut head).await?;
        let source = source.followed(Follow::Call(guard));
        let messages = Streaming::new(source, decoder, grpc::unpacking(limit, encoding));
        Ok(Response::received(head, messages.counted_by(throttle)))
    }
}
