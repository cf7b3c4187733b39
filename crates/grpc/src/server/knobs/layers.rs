//! Middleware of a whole server.

use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{Body, BoxError};
use crate::server::{Server, ServerService};

impl Server {
    /// Puts middleware of the tower family around all services: timeouts, limits, tracing, authorization, whatever is a `Layer` around a
    /// `Service<http::Request<Body>, Response = http::Response<..>>`. Of several the first is the outermost. Interceptors are inside. Cargo
    /// feature `tower`.
    ///
    /// What it sees are requests with the method's path as their URI, metadata as headers, and gRPC frames as
    /// [`Body`]; the answer ends with `grpc-status` in its trailers, or in its headers if there is nothing else. Its
    /// errors become statuses: a timeout is DEADLINE_EXCEEDED, load that is shed RESOURCE_EXHAUSTED, a [`Status`](crate::Status) in the chain of
    /// sources is itself, everything else UNKNOWN. An answer that has no `grpc-status`, such as HTTP's 401, becomes the status that gRPC's
    /// mapping page has for it.
    ///
    /// Calls of methods that do not exist are answered without it. With layers the messages of every call are copied into frames once
    /// more; without them nothing changes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use clearway::transport::Server;
    /// use tower::limit::ConcurrencyLimitLayer;
    /// use tower::timeout::TimeoutLayer;
    ///
    /// let server = Server::builder()
    ///     .layer(TimeoutLayer::new(Duration::from_secs(10)))
    ///     .layer(ConcurrencyLimitLayer::new(100));
    /// # let _ = server;
    /// ```
    #[must_use]
    pub fn layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<ServerService> + Send + Sync + 'static,
        L::Service:
            Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        <L::Service as Service<http::Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<http::Request<Body>>>::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.layers.push(layer);
        self
    }
}
