//! Services without generated code: plain functions under names chosen at run time.

use core::future::Future;

use futures_core::Stream;

use super::{Methods, OnCancel, Placement, Service};
use crate::codec::{Codec, CompressionEncoding};
use crate::{Request, Response, Status, Streaming};

type Add = Box<dyn FnOnce(&mut Methods<'_>) + Send>;

/// A service put together from functions.
///
/// ```
/// use bytes::Bytes;
/// use clearway::codec::BytesCodec;
/// use clearway::server::GenericService;
/// use clearway::{Request, Response};
///
/// let echo = GenericService::new("demo.Echo").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
///     Ok(Response::new(request.into_inner()))
/// });
/// # let _ = echo;
/// ```
pub struct GenericService {
    name: String,
    methods: Vec<Add>,
}

impl core::fmt::Debug for GenericService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GenericService").field("name", &self.name).finish_non_exhaustive()
    }
}

impl GenericService {
    /// A service without methods. `name` is the full name, `package.Service`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), methods: Vec::new() }
    }

    fn with(mut self, add: impl FnOnce(&mut Methods<'_>) + Send + 'static) -> Self {
        self.methods.push(Box::new(add));
        self
    }

    /// The largest request message accepted by the methods added from here on; see
    /// [`Methods::max_decoding_message_size`].
    #[must_use]
    pub fn max_decoding_message_size(self, octets: usize) -> Self {
        self.with(move |methods| methods.max_decoding_message_size(octets))
    }

    /// The largest response message sent by the methods added from here on; see
    /// [`Methods::max_encoding_message_size`].
    #[must_use]
    pub fn max_encoding_message_size(self, octets: usize) -> Self {
        self.with(move |methods| methods.max_encoding_message_size(octets))
    }

    /// Accepts compressed requests in the methods added from here on; see [`Methods::accept_compressed`].
    #[must_use]
    pub fn accept_compressed(self, encoding: CompressionEncoding) -> Self {
        self.with(move |methods| methods.accept_compressed(encoding))
    }

    /// Compresses responses of the methods added from here on; see [`Methods::send_compressed`].
    #[must_use]
    pub fn send_compressed(self, encoding: CompressionEncoding) -> Self {
        self.with(move |methods| methods.send_compressed(encoding))
    }

    /// Where the handlers of methods added from here on are polled; see [`Methods::placement`].
    #[must_use]
    pub fn placement(self, placement: Placement) -> Self {
        self.with(move |methods| methods.placement(placement))
    }

    /// What becomes of the handlers of methods added from here on when their call is cancelled; see [`Methods::when_cancelled`].
    #[must_use]
    pub fn when_cancelled(self, on_cancel: OnCancel) -> Self {
        self.with(move |methods| methods.when_cancelled(on_cancel))
    }

    /// Adds a unary method.
    #[must_use]
    pub fn unary<C, F, Fut>(self, method: impl Into<String>, codec: C, handler: F) -> Self
    where
        C: Codec + Clone,
        F: Fn(Request<C::Decode>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<C::Encode>, Status>> + Send + 'static,
    {
        let method = method.into();
        self.with(move |methods| methods.unary(&method, codec, handler))
    }

    /// Adds a method that answers one message with a stream.
    #[must_use]
    pub fn server_streaming<C, F, Fut, S>(self, method: impl Into<String>, codec: C, handler: F) -> Self
    where
        C: Codec + Clone,
        F: Fn(Request<C::Decode>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<C::Encode, Status>> + Send + 'static,
    {
        let method = method.into();
        self.with(move |methods| methods.server_streaming(&method, codec, handler))
    }

    /// Adds a method that answers a stream with one message.
    #[must_use]
    pub fn client_streaming<C, F, Fut>(self, method: impl Into<String>, codec: C, handler: F) -> Self
    where
        C: Codec + Clone,
        F: Fn(Request<Streaming<C::Decode>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<C::Encode>, Status>> + Send + 'static,
    {
        let method = method.into();
        self.with(move |methods| methods.client_streaming(&method, codec, handler))
    }

    /// Adds a method that answers a stream with a stream.
    #[must_use]
    pub fn bidi_streaming<C, F, Fut, S>(self, method: impl Into<String>, codec: C, handler: F) -> Self
    where
        C: Codec + Clone,
        F: Fn(Request<Streaming<C::Decode>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<C::Encode, Status>> + Send + 'static,
    {
        let method = method.into();
        self.with(move |methods| methods.bidi_streaming(&method, codec, handler))
    }
}

impl Service for GenericService {
    fn name(&self) -> &str {
        &self.name
    }

    fn register(self, methods: &mut Methods<'_>) {
        for add in self.methods {
            add(methods);
        }
    }
}
