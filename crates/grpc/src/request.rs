//! [`Request`] and [`Response`]: a message (or a stream of them) with its metadata.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use clearway_transport::PeerAddr;
#[cfg(feature = "tls")]
use clearway_transport::tls::{CertificateDer, PeerIdentity, TlsPeer};
use futures_core::Stream;
use http::Extensions;
use tokio::time::Instant;

use crate::Status;
use crate::codec::CompressionEncoding;
use crate::codec::compression::{CameCompressed, Choice, Wanted};
use crate::context::{self, CallContext, CancellationToken, Cancelled, Life};
use crate::metadata::MetadataMap;
use crate::server::Origin;

/// A message, or a stream of messages, on its way to a handler, with its metadata.
#[derive(Debug)]
pub struct Request<T> {
    metadata: MetadataMap,
    message: T,
    context: Context,
}

/// What belongs to a request beside metadata and message.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) deadline: Deadline,
    /// None: as the channel has it.
    pub(crate) wait_for_ready: Option<bool>,
    /// Server: where it came from.
    pub(crate) origin: Option<Origin>,
    pub(crate) extensions: Extensions,
}

impl Context {
    /// The same, without extensions.
    #[cfg(feature = "tower")]
    pub(crate) fn again(&self) -> Self {
        let Self { deadline, wait_for_ready, .. } = *self;
        Self { deadline, wait_for_ready, origin: self.origin.clone(), ..Self::default() }
    }

    /// What the request is compressed by, if `usual` is what its client compresses by.
    pub(crate) fn compression(&self, usual: Option<CompressionEncoding>) -> Option<CompressionEncoding> {
        Choice::among(&self.extensions, usual)
    }

    /// Server: the connection knows what hears of the call's end.
    pub(crate) fn knows(&self, life: &Arc<Life>) {
        if let Some(origin) = &self.origin {
            origin.knows(life);
        }
    }

    /// The context that a call with this request takes part in.
    pub(crate) fn inherited(&self) -> Option<CallContext> {
        context::handed_down().filter(|_| self.extensions.get::<Detached>().is_none())
    }
}

/// When a call must be over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Never.
    #[default]
    None,
    /// So long after it was started (client).
    After(Duration),
    /// At this instant (server).
    At(Instant),
}

impl<T> Request<T> {
    /// A request without metadata.
    pub fn new(message: T) -> Self {
        Self { metadata: MetadataMap::new(), message, context: Context::default() }
    }

    pub(crate) fn received(metadata: MetadataMap, message: T, context: Context) -> Self {
        Self { metadata, message, context }
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to change.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message, without the rest.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The metadata.
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The metadata, to change.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }

    /// Takes the request apart. Its deadline and its peer stay behind.
    pub fn into_parts(self) -> (MetadataMap, Extensions, T) {
        (self.metadata, self.context.extensions, self.message)
    }

    /// A request from its parts.
    pub fn from_parts(metadata: MetadataMap, extensions: Extensions, message: T) -> Self {
        Self { metadata, message, context: Context { extensions, ..Context::default() } }
    }

    pub(crate) const fn surroundings(&self) -> &Context {
        &self.context
    }

    pub(crate) fn split(self) -> (MetadataMap, Context, T) {
        (self.metadata, self.context, self.message)
    }

    /// What is lost when the request is taken apart and put together again.
    pub(crate) fn kept(&self) -> Context {
        let Context { deadline, wait_for_ready, .. } = self.context;
        Context { deadline, wait_for_ready, origin: self.context.origin.clone(), ..Context::default() }
    }

    /// The same request with what was lost of it.
    pub(crate) fn keeping(mut self, kept: Context) -> Self {
        let Context { deadline, wait_for_ready, origin, .. } = kept;
        if self.context.deadline == Deadline::None {
            self.context.deadline = deadline;
        }
        self.context.wait_for_ready = self.context.wait_for_ready.or(wait_for_ready);
        self.context.origin = self.context.origin.or(origin);
        self
    }

    /// The same request with another message.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Request<U> {
        Request { metadata: self.metadata, message: change(self.message), context: self.context }
    }

    /// Client: the call ends with DEADLINE_EXCEEDED when it has taken so long, waiting for a connection included. The time
    /// left is sent as `grpc-timeout`.
    ///
    /// Default: none. Of this, the channel's own timeout and what is left to the handler that makes the call
    /// ([`CallContext`](crate::CallContext)) the smallest counts.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.context.deadline = Deadline::After(timeout);
    }

    /// Client: whether the call waits for a connection where none can be made, as long as its deadline allows, instead of
    /// failing with UNAVAILABLE (gRPC's wait-for-ready page).
    ///
    /// Default: as the channel's service config says for the method, or else its endpoint.
    pub fn set_wait_for_ready(&mut self, wait: bool) {
        self.context.wait_for_ready = Some(wait);
    }

    /// Client: the call ends with DEADLINE_EXCEEDED at this instant; as [`Request::set_timeout`] otherwise.
    pub fn set_deadline(&mut self, at: Instant) {
        self.context.deadline = Deadline::At(at);
    }

    /// Client: the call takes no part in the [`CallContext`](crate::CallContext) it is made in: neither the deadline nor the end of
    /// the call that a handler works for reaches it. For work that must be done whatever becomes of that call.
    pub fn detach_from_context(&mut self) {
        self.context.extensions.insert(Detached);
    }

    /// Client: sends this request as it is, although its client compresses. The response may still be compressed.
    pub fn disable_compression(&mut self) {
        self.context.extensions.insert(Choice::Off);
    }

    /// Client: compresses this request by `encoding`, whatever its client says. Single messages of a stream are chosen with
    /// [`Request::compress_if`].
    pub fn compress_by(&mut self, encoding: CompressionEncoding) {
        self.context.extensions.insert(Choice::By(encoding));
    }

    /// Server: true if the message came compressed. For streams see [`Streaming::was_compressed`](crate::Streaming::was_compressed).
    pub fn was_compressed(&self) -> bool {
        self.context.extensions.get::<CameCompressed>().is_some()
    }

    /// Server: when the call must be over, if the client set a deadline.
    pub fn deadline(&self) -> Option<Instant> {
        match self.context.deadline {
            Deadline::At(at) => Some(at),
            Deadline::None | Deadline::After(_) => None,
        }
    }

    /// Server: how long the call may still take, if the client set a deadline; zero once that has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Server: what tells whether somebody still waits for this call: false until its client gave it up, its deadline passed, its
    /// connection was lost, or it was answered. It can be taken wherever the request is; one that is first taken after
    /// the end hears of it a moment later.
    ///
    /// By default a handler is dropped when its call is cancelled and sees none of that, only tasks it gave the token to do;
    /// [`OnCancel`](crate::server::OnCancel) lets it go on. On a request of this program's own it never says so.
    pub fn cancellation_token(&self) -> CancellationToken {
        CancellationToken::new(self.context.origin.as_ref().map(|origin| Arc::clone(origin.life())))
    }

    /// Server: ready when nobody waits for the call any more; see [`Request::cancellation_token`].
    ///
    /// # Cancel safety
    /// It can be dropped and asked for again.
    pub fn cancelled(&self) -> Cancelled {
        self.cancellation_token().cancelled()
    }

    /// Server: the address of the client, if it came over TCP.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match self.peer() {
            Some(PeerAddr::Tcp(address)) => Some(*address),
            _ => None,
        }
    }

    /// Server: who is at the other end.
    pub fn peer(&self) -> Option<&PeerAddr> {
        self.context.origin.as_ref().map(Origin::peer)
    }

    /// Server: what TLS agreed on with the client, if it was spoken.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&TlsPeer> {
        self.context.origin.as_ref()?.remote().tls()
    }

    /// Server: the certificates the client showed, its own first. They were verified. None if it showed none, which needs
    /// [`ServerTlsConfig::client_ca_root`](crate::transport::ServerTlsConfig::client_ca_root).
    #[cfg(feature = "tls")]
    pub fn peer_certs(&self) -> Option<Arc<Vec<CertificateDer<'static>>>> {
        self.tls()?.certificates().cloned()
    }

    /// Server: who the client is, by the certificate it showed. Read once for each connection, when it is first asked for.
    ///
    /// None if it showed none, or if it cannot be read ([`TlsPeer::identity`] says why): whoever has none is nobody.
    ///
    /// ```
    /// use clearway::{Request, Status};
    ///
    /// fn only_billing<T>(request: &Request<T>) -> Result<(), Status> {
    ///     let who = request.peer_identity().ok_or_else(|| Status::unauthenticated("show a certificate"))?;
    ///     match who.spiffe_id() {
    ///         Some("spiffe://example.org/billing") => Ok(()),
    ///         _ => Err(Status::permission_denied("this is for billing")),
    ///     }
    /// }
    /// # assert!(only_billing(&Request::new(())).is_err());
    /// ```
    #[cfg(feature = "tls")]
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.tls()?.identity()?.ok()
    }

    /// Values of any types that travel with the request inside this program.
    pub fn extensions(&self) -> &Extensions {
        &self.context.extensions
    }

    /// The same, to change.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.context.extensions
    }
}

/// A message, or a stream of messages, on its way back to the caller, with its metadata.
#[derive(Debug)]
pub struct Response<T> {
    metadata: MetadataMap,
    message: T,
    trailers: MetadataMap,
    extensions: Extensions,
}

impl<S: Stream> Request<S> {
    /// Client: asks `wanted` of every message of the stream, in turn, whether it is compressed, where the request is; the others go as they are.
    /// It may count, or look at the message; it should be quick.
    ///
    /// ```
    /// # use clearway::Request;
    /// let mut request = Request::new(tokio_stream::iter(["a log", "a picture"]));
    /// request.compress_if(|message: &&str| !message.contains("picture"));
    /// ```
    pub fn compress_if(&mut self, wanted: impl FnMut(&S::Item) -> bool + Send + 'static)
    where
        S::Item: 'static,
    {
        self.context.extensions.insert(Wanted::new(wanted));
    }
}

impl<T, S: Stream<Item = Result<T, Status>>> Response<S> {
    /// Server: asks `wanted` of every message of the stream, in turn, whether it is compressed, where the response is; the others go as they are.
    /// It may count, or look at the message; it should be quick.
    pub fn compress_if(&mut self, wanted: impl FnMut(&T) -> bool + Send + 'static)
    where
        T: 'static,
    {
        self.extensions.insert(Wanted::new(wanted));
    }
}

/// Among the extensions of a request: it takes no part in the context it is sent from.
#[derive(Clone, Copy, Debug)]
struct Detached;

impl<T> Response<T> {
    /// A response without metadata.
    pub fn new(message: T) -> Self {
        Self::received(MetadataMap::new(), message)
    }

    pub(crate) fn received(metadata: MetadataMap, message: T) -> Self {
        Self::from_parts(metadata, message, Extensions::new())
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to change.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message, without the rest.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The metadata. For a unary or client-streaming call it holds the trailers, too.
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The metadata, to change.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }

    /// Server: metadata that follows the message, or the last message of a stream, if the call ends with OK. A status
    /// other than OK brings its own ([`Status::with_metadata`](crate::Status::with_metadata)).
    ///
    /// A stream whose trailers are not known when it begins ends with `Err(Status::with_metadata(Code::Ok, "", trailers))`
    /// instead of `None`.
    pub fn trailers_mut(&mut self) -> &mut MetadataMap {
        &mut self.trailers
    }

    /// Metadata, message and trailers, for the wire.
    pub(crate) fn split(self) -> (MetadataMap, T, MetadataMap) {
        (self.metadata, self.message, self.trailers)
    }

    /// Takes the response apart. What [`Response::trailers_mut`] holds stays behind.
    pub fn into_parts(self) -> (MetadataMap, T, Extensions) {
        (self.metadata, self.message, self.extensions)
    }

    /// A response from its parts.
    pub fn from_parts(metadata: MetadataMap, message: T, extensions: Extensions) -> Self {
        Self { metadata, message, trailers: MetadataMap::new(), extensions }
    }

    /// The same response with another message.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Response<U> {
        Response {
            metadata: self.metadata,
            message: change(self.message),
            trailers: self.trailers,
            extensions: self.extensions,
        }
    }

    /// Server: sends this response as it is, although its service compresses.
    pub fn disable_compression(&mut self) {
        self.extensions.insert(Choice::Off);
    }

    /// Client: true if the message came compressed. For streams see [`Streaming::was_compressed`](crate::Streaming::was_compressed).
    pub fn was_compressed(&self) -> bool {
        self.extensions.get::<CameCompressed>().is_some()
    }

    pub(crate) fn may_be_compressed(&self) -> bool {
        self.extensions.get::<Choice>().is_none()
    }

    /// Values of any types that travel with the response inside this program.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to change.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

impl<T> From<T> for Response<T> {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}

/// A message, or a request around one.
pub trait IntoRequest<T> {
    /// The request.
    fn into_request(self) -> Request<T>;
}

impl<T> IntoRequest<T> for T {
    fn into_request(self) -> Request<T> {
        Request::new(self)
    }
}

impl<T> IntoRequest<T> for Request<T> {
    fn into_request(self) -> Self {
        self
    }
}

/// A stream of messages, or a request around one.
pub trait IntoStreamingRequest {
    /// The stream.
    type Stream: Stream<Item = Self::Message> + Send + 'static;
    /// What it is a stream of.
    type Message;

    /// The request.
    fn into_streaming_request(self) -> Request<Self::Stream>;
}

impl<S: Stream + Send + 'static> IntoStreamingRequest for S {
    type Stream = S;
    type Message = S::Item;

    fn into_streaming_request(self) -> Request<S> {
        Request::new(self)
    }
}

impl<S: Stream + Send + 'static> IntoStreamingRequest for Request<S> {
    type Stream = S;
    type Message = S::Item;

    fn into_streaming_request(self) -> Self {
        self
    }
}
