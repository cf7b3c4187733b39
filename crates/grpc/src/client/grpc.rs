//! [`Grpc`]: the four kinds of call, over any codec. Generated clients are thin wrappers of it; without them it makes calls
//! by path.

use core::future::poll_fn;
use core::time::Duration;
use std::sync::Arc;

use bytes::Buf as _;
use futures_core::Stream;
use tokio::time::Instant;

use super::attempts::{Attempts, Settled, Throttle};
use super::channel::{Channel, Shared};
#[cfg(feature = "tower")]
use super::http::HttpCall;
use super::outgoing::Outgoing;
use super::path::MethodPath;
use super::route::{CallRoute, GrpcService, Via};
use super::service_config::{Method, Repeat};
use super::start::{Caller, StartCall, deadline_passed};
use super::upload::{Upload, pump};
use crate::cause::{CallPhase, TransportCause, TransportEvent};
use crate::codec::compression::{Accepted, CameCompressed, Choosing, Packing, Unpacking};
use crate::codec::{Codec, CompressionEncoding, Decoder};
use crate::context::CallContext;
use crate::framing::Incoming;
use crate::inbound::{Inbound, WakeAt, Whole};
use crate::intercept::{CallKind, Watching};
use crate::message_queue::MessageQueue;
use crate::metadata::MetadataMap;
use crate::request::{Context, Deadline};
use crate::streaming::{Source, nothing_decoded};
use crate::{Code, Request, Response, Status, Streaming};

/// The largest message a client accepts unless told otherwise: 4 MiB, as everywhere in gRPC.
pub const DEFAULT_MAX_DECODING_MESSAGE_SIZE: usize = 4 * 1024 * 1024;

/// Makes calls through a channel.
///
/// Dropping the future of a call cancels it: the server is told by RST_STREAM(CANCEL), or nothing is sent at all if the call
/// had not left yet. Dropping a [`Streaming`] before its end does the same.
#[derive(Clone, Debug)]
pub struct Grpc<T = Channel> {
    pub(super) inner: T,
    pub(super) max_decoding: usize,
    pub(super) max_encoding: usize,
    /// None: as the channel has it.
    pub(super) send: Option<CompressionEncoding>,
    pub(super) accepted: Option<Arc<Accepted>>,
}

impl<T: GrpcService> Grpc<T> {
    /// Calls through `inner`.
    pub const fn new(inner: T) -> Self {
        Self {
            inner,
            max_decoding: DEFAULT_MAX_DECODING_MESSAGE_SIZE,
            max_encoding: usize::MAX,
            send: None,
            accepted: None,
        }
    }

    /// Compresses requests by `encoding`; of several calls of this the last one counts. A message that does not get smaller is
    /// sent as it is. The server must know the algorithm: one that does not answers UNIMPLEMENTED.
    ///
    /// Default: what [`Endpoint::send_compressed`](super::Endpoint::send_compressed) says; without either none.
    #[must_use]
    pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.send = Some(encoding);
        self
    }

    /// Accepts responses compressed by `encoding`, too, and tells the server so. One that is compressed by something else, which
    /// is not what the request was compressed by either, ends its call with INTERNAL.
    ///
    /// Default: what [`Endpoint::accept_compressed`](super::Endpoint::accept_compressed) says; without either none.
    #[must_use]
    pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.accepted = Some(Arc::new(Accepted::and(self.accepted.as_deref(), encoding)));
        self
    }

    /// The largest message accepted, in octets without the prefix. A larger one ends its call with RESOURCE_EXHAUSTED.
    ///
    /// Default: [`DEFAULT_MAX_DECODING_MESSAGE_SIZE`].
    #[must_use]
    pub fn max_decoding_message_size(mut self, octets: usize) -> Self {
        self.max_decoding = octets;
        self
    }

    /// The largest message sent, in octets without the prefix. A larger one ends its call with RESOURCE_EXHAUSTED.
    ///
    /// Default: no limit but the 4 GiB of the prefix.
    #[must_use]
    pub fn max_encoding_message_size(mut self, octets: usize) -> Self {
        self.max_encoding = octets;
        self
    }

    /// One message there, one message back. The response's metadata holds the trailers, too.
    ///
    /// # Errors
    /// The status the call ended with, if not OK; UNIMPLEMENTED if the answer was not exactly one message.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn unary<C: Codec>(
        &self,
        request: Request<C::Encode>,
        path: MethodPath,
        mut codec: C,
    ) -> Result<Response<C::Decode>, Status> {
        if let Some(stack) = self.route().interceptors {
            let asked = (stack, CallKind::Unary);
            let watched = Box::pin(self.watched_message(asked, request, path, &mut codec)).await?;
            return Box::pin(watched.single(codec.decoder())).await;
        }
        let (begun, limit) = self.start_with_message(request, path, &mut codec, WakeAt::End, None)?;
        single(begun, codec.decoder(), limit).await
    }

    /// One message there, a stream of messages back. Returns when the response has begun.
    ///
    /// # Errors
    /// The status the call ended with before its response began.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn server_streaming<C: Codec>(
        &self,
        request: Request<C::Encode>,
        path: MethodPath,
        mut codec: C,
    ) -> Result<Response<Streaming<C::Decode>>, Status> {
        if let Some(stack) = self.route().interceptors {
            let asked = (stack, CallKind::ServerStreaming);
            let watched = Box::pin(self.watched_message(asked, request, path, &mut codec)).await?;
            return Box::pin(watched.streamed(codec.decoder())).await;
        }
        let (begun, limit) = self.start_with_message(request, path, &mut codec, WakeAt::Each, None)?;
        streamed(begun, codec.decoder(), limit).await
    }

    /// A stream of messages there, one message back. The response's metadata holds the trailers, too.
    ///
    /// The stream is read by a task of its own, no faster than the server takes the messages, and dropped when the call is
    /// over.
    ///
    /// # Errors
    /// The status the call ended with, if not OK; UNIMPLEMENTED if the answer was not exactly one message.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn client_streaming<C, S>(
        &self,
        request: Request<S>,
        path: MethodPath,
        mut codec: C,
    ) -> Result<Response<C::Decode>, Status>
    where
        C: Codec,
        S: Stream<Item = C::Encode> + Send + 'static,
    {
        if let Some(stack) = self.route().interceptors {
            let asked = (stack, CallKind::ClientStreaming);
            let watched = Box::pin(self.watched_stream(asked, request, path, &mut codec)).await?;
            return Box::pin(watched.single(codec.decoder())).await;
        }
        let (begun, limit) = self.start_with_stream(request, path, &mut codec, WakeAt::End, None)?;
        single(begun, codec.decoder(), limit).await
    }

    /// A stream of messages each way. Returns when the response has begun, which some servers let depend on the first
    /// messages of the request; these are sent meanwhile.
    ///
    /// # Errors
    /// The status the call ended with before its response began.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn bidi_streaming<C, S>(
        &self,
        request: Request<S>,
        path: MethodPath,
        mut codec: C,
    ) -> Result<Response<Streaming<C::Decode>>, Status>
    where
        C: Codec,
        S: Stream<Item = C::Encode> + Send + 'static,
    {
        if let Some(stack) = self.route().interceptors {
            let asked = (stack, CallKind::BidiStreaming);
            let watched = Box::pin(self.watched_stream(asked, request, path, &mut codec)).await?;
            return Box::pin(watched.streamed(codec.decoder())).await;
        }
        let (begun, limit) = self.start_with_stream(request, path, &mut codec, WakeAt::Each, None)?;
        streamed(begun, codec.decoder(), limit).await
    }

    /// Which way calls go.
    pub(super) fn route(&self) -> CallRoute<'_> {
        self.inner.route()
    }

    pub(super) fn start_with_message<C: Codec>(
        &self,
        request: Request<C::Encode>,
        path: MethodPath,
        codec: &mut C,
        wake_at: WakeAt,
        watching: Option<&Watching>,
    ) -> Result<(Begun, usize), Status> {
        #[cfg(feature = "tower")]
        if let Via::Http(service) = self.route().via {
            return self.message_over(service, request, &path, codec, watching);
        }
        let started = Instant::now();
        let (metadata, context, message) = request.split();
        let mut encoder = codec.encoder();
        let method = self.method(&path);
        let packing = self.packing(&context, method);
        let outgoing = Outgoing::message(&mut encoder, message, packing, watching)?;
        let encoding = packing.encoding;
        self.start(Start { path, metadata, context, method, encoding, outgoing, wake_at, started })
    }

    pub(super) fn start_with_stream<C, S>(
        &self,
        request: Request<S>,
        path: MethodPath,
        codec: &mut C,
        wake_at: WakeAt,
        watching: Option<Arc<Watching>>,
    ) -> Result<(Begun, usize), Status>
    where
        C: Codec,
        S: Stream<Item = C::Encode> + Send + 'static,
    {
        let shared = match self.route().via {
            Via::Channel(channel) => channel.shared(),
            #[cfg(feature = "tower")]
            Via::Http(service) => return self.stream_over(service, request, &path, codec, watching),
        };
        let started = Instant::now();
        let (metadata, context, messages) = request.split();
        let method = self.method(&path);
        let room = &shared.room;
        let leg = match method.and_then(|method| method.repeat.as_ref()) {
            None => Upload::once(room),
            Some(_) => Upload::by_policy(room),
        };
        let upload = Arc::clone(leg.upload());
        let outgoing = Outgoing::Stream(leg);
        let packing = self.packing(&context, method);
        let encoding = packing.encoding;
        let encoder = Choosing::new(codec.encoder(), &context.extensions);
        let parent = context.inherited();
        let begun =
            self.start(Start { path, metadata, context, method, encoding, outgoing, wake_at, started })?;
        let pump = pump(upload, messages, encoder, packing, watching);
        // The stream of messages is the caller's, and so are the calls it makes.
        match parent {
            Some(parent) => drop(tokio::spawn(parent.scope(pump))),
            None => drop(tokio::spawn(pump)),
        }
        Ok(begun)
    }

    /// What the channel's service config says of a method.
    pub(super) fn method(&self, path: &MethodPath) -> Option<&Method> {
        self.route().shared()?.methods.as_ref()?.find(path.as_str())
    }

    /// How the messages of a request go out.
    fn packing(&self, context: &Context, method: Option<&Method>) -> Packing {
        let encoding = context.compression(self.send.or_else(|| self.route().shared()?.send));
        let limit = method.map_or(usize::MAX, |method| method.max_request).min(self.max_encoding);
        Packing { limit, encoding }
    }

    /// When a call must be over.
    pub(super) fn deadline(
        context: &Context,
        (method, channels): (Option<&Method>, Option<Duration>),
        parent: Option<&CallContext>,
        started: Instant,
    ) -> Option<Instant> {
        let timeouts = [method.and_then(|method| method.timeout), channels];
        deadline(context, timeouts, parent.and_then(CallContext::deadline), started)
    }

    /// Begins a call; says how large a message of its response may be.
    fn start(&self, start: Start<'_>) -> Result<(Begun, usize), Status> {
        let Start { path, metadata, context, method, encoding, outgoing, wake_at, started } = start;
        let Some(shared) = self.route().shared() else { return Err(no_channel()) };
        let parent = context.inherited();
        let deadline = Self::deadline(&context, (method, shared.timeout), parent.as_ref(), started);
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(deadline_passed(started.elapsed(), CallPhase::Connecting, None));
        }
        let max_message = method.map_or(usize::MAX, |method| method.max_response).min(self.max_decoding);
        let configured = method.and_then(|method| method.wait_for_ready);
        let inbound = Arc::new(Inbound::unopened(wake_at));
        let call = Box::new(StartCall {
            path,
            metadata,
            outgoing,
            inbound,
            started,
            deadline,
            max_message,
            encoding,
            accepted: self.accepted.as_ref().or(shared.accepted.as_ref()).cloned(),
            refused: false,
            wait_for_ready: context.wait_for_ready.or(configured).unwrap_or(shared.wait_for_ready),
            attempt: None,
        });
        if let Some(policy) = method.and_then(|method| method.repeat.as_ref()) {
            return Ok((by_policy(shared, call, parent, policy), max_message));
        }
        if let Some(parent) = &parent {
            parent.adopt(&call.inbound)?;
        }
        let caller = Caller::new(Arc::clone(&call.inbound), &call.outgoing);
        shared.start(call);
        Ok((Begun::Once(caller, throttle(shared)), max_message))
    }
}

/// Calls through middleware are begun elsewhere.
fn no_channel() -> Status {
    Status::internal("there is no channel")
}

/// What the kinds of call differ in when they begin.
struct Start<'a> {
    path: MethodPath,
    metadata: MetadataMap,
    context: Context,
    method: Option<&'a Method>,
    encoding: Option<CompressionEncoding>,
    outgoing: Outgoing,
    wake_at: WakeAt,
    started: Instant,
}

/// A call under way.
pub(super) enum Begun {
    /// As nearly all are. Its success counts for the calls that may be sent again.
    Once(Caller, Option<Arc<Throttle>>),
    /// It may be sent again.
    ByPolicy(Box<Attempts>),
    /// It goes through middleware.
    #[cfg(feature = "tower")]
    Http(Box<HttpCall>),
}

/// Begins a call that may be sent again. Few are, and the others pay nothing for it.
#[cold]
fn by_policy(
    shared: &Arc<Shared>,
    call: Box<StartCall>,
    parent: Option<CallContext>,
    policy: &Repeat,
) -> Begun {
    let attempts = Attempts::begin(Arc::clone(shared), call, parent, policy.clone(), throttle(shared));
    Begun::ByPolicy(Box::new(attempts))
}

/// What bounds the channel's retries; every call's success counts, whatever its method (gRFC A6).
#[inline]
fn throttle(shared: &Shared) -> Option<Arc<Throttle>> {
    shared.methods.as_ref()?.throttle.clone()
}

/// The smallest of the request's deadline, the `timeouts` of its method and its channel, and the deadline of the handler that makes the
/// call. One too far away for the clock is none.
fn deadline(
    context: &Context,
    timeouts: [Option<Duration>; 2],
    handlers: Option<Instant>,
    started: Instant,
) -> Option<Instant> {
    let own = match context.deadline {
        Deadline::None => None,
        Deadline::After(timeout) => started.checked_add(timeout),
        Deadline::At(at) => Some(at),
    };
    let timeouts = timeouts.into_iter().flatten().filter_map(|timeout| started.checked_add(timeout));
    [own, handlers].into_iter().flatten().chain(timeouts).min()
}

/// How the messages of a response come in.
pub(super) const fn unpacking(limit: usize, encoding: Option<CompressionEncoding>) -> Unpacking {
    Unpacking { from: Incoming::Response, limit, encoding }
}

impl Begun {
    /// Everything it brings.
    pub(super) async fn whole(self) -> Result<Whole, Status> {
        match self {
            Self::Once(caller, throttle) => {
                let whole = poll_fn(|cx| caller.reader.poll_whole(cx)).await;
                if let (Some(throttle), Ok(_)) = (throttle, &whole.end) {
                    throttle.succeeded();
                }
                Ok(whole)
            }
            Self::ByPolicy(attempts) => Box::pin(attempts.whole()).await,
            #[cfg(feature = "tower")]
            Self::Http(call) => Box::pin(call.whole()).await,
        }
    }

    /// The head of its response, and what comes after that.
    pub(super) async fn head(self) -> Result<Opened, Status> {
        match self {
            Self::Once(caller, throttle) => {
                let (head, encoding) = poll_fn(|cx| caller.reader.poll_head(cx)).await?;
                Ok(Opened { source: Source::new(caller.into_reader()), head, encoding, throttle })
            }
            Self::ByPolicy(attempts) => {
                let Settled { caller, head, encoding, throttle, .. } = Box::pin(attempts.settle()).await?;
                Ok(Opened { source: Source::new(caller.into_reader()), head, encoding, throttle })
            }
            #[cfg(feature = "tower")]
            Self::Http(call) => Box::pin(call.head()).await,
        }
    }
}

fn wrong_count(none: bool) -> Status {
    let event = TransportEvent::MessageCount { none };
    Status::from_transport(Code::Unimplemented, TransportCause::anywhere(event))
}

/// A response that has begun.
pub(super) struct Opened {
    pub(super) source: Source,
    pub(super) head: MetadataMap,
    pub(super) encoding: Option<CompressionEncoding>,
    pub(super) throttle: Option<Arc<Throttle>>,
}

/// The one message of a response, which may have `limit` octets.
async fn single<D>(begun: Begun, mut decoder: D, limit: usize) -> Result<Response<D::Item>, Status>
where
    D: Decoder<Error = Status>,
{
    let Whole { head, encoding, messages, end } = begun.whole().await?;
    let trailers = match end {
        Ok(trailers) => trailers,
        // What came in its head is not lost with the response: a status has one map for both.
        Err(status) => return Err(status.and_head(head)),
    };
    let message = only(messages, &mut decoder, unpacking(limit, encoding), None)?;
    Ok(respond(head, &trailers, message))
}

/// The one message of a response, and how it came.
pub(super) struct Only<M> {
    message: M,
    was_compressed: bool,
}

/// The message of a response that must have exactly one; who watches the call hears of it.
pub(super) fn only<D>(
    mut messages: MessageQueue,
    decoder: &mut D,
    unpacking: Unpacking,
    watching: Option<&Watching>,
) -> Result<Only<D::Item>, Status>
where
    D: Decoder<Error = Status>,
{
    let message = match (messages.pop(), messages.pop().is_none()) {
        (Some(message), true) => message,
        (None, _) => return Err(wrong_count(true)),
        (Some(_), false) => {
            return Err(wrong_count(false));
        }
    };
    let was_compressed = message.compressed;
    let mut message = unpacking.open(message.into())?;
    if let Some(watching) = watching {
        watching.received(message.remaining(), message.wire_octets())?;
        message = message.altered(|octets| watching.altered(octets));
    }
    let message = decoder.decode(&mut message)?.ok_or_else(nothing_decoded)?;
    Ok(Only { message, was_compressed })
}

/// The response with its one message, and with all its metadata in one map.
pub(super) fn respond<M>(head: Option<MetadataMap>, trailers: &MetadataMap, only: Only<M>) -> Response<M> {
    let metadata = match head {
        Some(mut head) => {
            head.merge(trailers);
            head
        }
        None => trailers.clone(),
    };
    let mut response = Response::received(metadata, only.message);
    if only.was_compressed {
        response.extensions_mut().insert(CameCompressed);
    }
    response
}

/// A response that has begun. Each of its messages may have `limit` octets.
async fn streamed<D>(begun: Begun, decoder: D, limit: usize) -> Result<Response<Streaming<D::Item>>, Status>
where
    D: Decoder<Error = Status> + Send + 'static,
{
    let Opened { source, head, encoding, throttle } = begun.head().await?;
    let messages = Streaming::new(source, decoder, unpacking(limit, encoding));
    Ok(Response::received(head, messages.counted_by(throttle)))
}
