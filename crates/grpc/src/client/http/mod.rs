//! Calls through middleware of the tower family, and the channel as a service that such middleware goes around. Cargo feature
//! `tower`.
//!
//! A generated client takes whatever is a `Service<http::Request<Body>>`, as tonic's does: [`Grpc`](super::Grpc) makes an
//! `http::Request` of a call, asks a clone of the service whether it is ready, and makes a call of its answer again. A client over a
//! bare channel takes none of these steps.
//!
//! The deadline and the context of a call are its client's to keep, until its answer has ended: what answers may not be a channel, and what
//! stalls may be in front of it.
//!
//! Invariant: dropping the future of a call, or the body of its response, drops the call inside and resets its stream; a body is read no
//! faster than the messages of the response are.

mod call;
mod channel;

use core::any::Any;
use core::future::{Future, poll_fn};
use core::pin::Pin;

use bytes::Bytes;
use tower_service::Service;

pub(super) use call::HttpCall;
pub(crate) use call::without_status;
pub use channel::ResponseFuture;

use super::channel::Channel;
use super::route::{CallRoute, GrpcService};
use crate::Status;
use crate::body::{Body, BoxError, status_of};

/// An answer of middleware.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Status>> + Send>>;

/// Middleware, its type erased.
pub(crate) trait HttpService: Send + Sync {
    /// Waits until it is ready, and calls it.
    fn answer(&self, request: http::Request<Body>) -> Answer;
}

impl<S, B> HttpService for S
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn answer(&self, request: http::Request<Body>) -> Answer {
        let mut service = self.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(status_of)?;
            let response = Service::call(&mut service, request).await.map_err(status_of)?;
            Ok(response.map(Body::new))
        })
    }
}

/// A bare channel is called directly, everything else through `HttpService`. Which it is the compiler knows.
impl<S, B> GrpcService for S
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn route(&self) -> CallRoute<'_> {
        match (self as &dyn Any).downcast_ref::<Channel>() {
            Some(channel) => CallRoute::of_channel(channel),
            None => CallRoute::of_service(self),
        }
    }
}
