//! Middleware of the tower family around all services of a server. Cargo feature `tower`.
//!
//! A server with layers has two tables of methods. What its connections call is one in which every method takes and gives streams of
//! octets and hands them to the middleware as an `http::Request`; at the bottom of the middleware is a service
//! ([`super::dispatch`]) that finds the method meant, by the path, in the table of services. A server without layers has the latter only.
//!
//! Invariant: what is compressed, how large a message may be and when a call must be over is settled outside of the middleware, where
//! the connection is; what goes through it are plain messages.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderValue, StatusCode, Uri};
use tower_layer::Layer;
use tower_service::Service;

use super::dispatch::{Arrived, Dispatch};
use super::methods::Routes;
use crate::body::{Body, BodyMessages, BoxError, Framed, request_headers, section, status_of};
use crate::client::without_status;
use crate::framing::{Incoming, is_grpc};
use crate::metadata::MetadataMap;
use crate::{Code, Request, Response, Status, Streaming};

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, BoxError>> + Send>>;

/// All services of a server, or middleware around them, as a `tower_service::Service`: what layers are put around.
pub struct ServerService(Box<dyn AnyService>);

trait AnyService: Send + Sync {
    fn clone_box(&self) -> Box<dyn AnyService>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
    fn call(&mut self, request: http::Request<Body>) -> Answer;
}

/// A service whose answers and errors are ours.
#[derive(Clone)]
struct Translated<S>(S);

impl<S, B> AnyService for Translated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn clone_box(&self) -> Box<dyn AnyService> {
        Box::new(self.clone())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map(|response| response.map(Body::new)).map_err(Into::into) })
    }
}

impl ServerService {
    /// The methods of a table.
    pub(super) fn new(routes: Arc<Routes>) -> Self {
        Self(Box::new(Translated(Dispatch::new(routes))))
    }
}

impl Clone for ServerService {
    fn clone(&self) -> Self {
        Self(self.0.clone_box())
    }
}

impl fmt::Debug for ServerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerService")
    }
}

impl Service<http::Request<Body>> for ServerService {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

/// The layers of a server, the outermost first.
#[derive(Clone, Default)]
pub(super) struct Layers(Vec<Arc<dyn Fn(ServerService) -> ServerService + Send + Sync>>);

impl Layers {
    pub(super) fn push<L, B>(&mut self, layer: L)
    where
        L: Layer<ServerService> + Send + Sync + 'static,
        L::Service:
            Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        <L::Service as Service<http::Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<http::Request<Body>>>::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let around = move |inner| ServerService(Box::new(Translated(layer.layer(inner))));
        self.0.push(Arc::new(around));
    }

    /// The table that connections call, of the table of services.
    pub(super) fn around(&self, routes: Routes) -> Routes {
        if self.0.is_empty() {
            return routes;
        }
        let routes = Arc::new(routes);
        let service =
            self.0.iter().rev().fold(ServerService::new(Arc::clone(&routes)), |inner, layer| layer(inner));
        routes.forwarded(|path| {
            let (service, uri) = (service.clone(), path.parse::<Uri>().unwrap_or_default());
            move |request| handle(service.clone(), uri.clone(), request)
        })
    }
}

/// A call on its way through the middleware.
async fn handle(
    mut service: ServerService,
    uri: Uri,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Messages>, Status> {
    let request = to_http(uri, request);
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(status_of)?;
    let response = service.call(request).await.map_err(status_of)?;
    from_http(response)
}

fn to_http(uri: Uri, request: Request<Streaming<Bytes>>) -> http::Request<Body> {
    let mut headers = request_headers(request.metadata());
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let arrived = Arrived::new(request.kept());
    let (_, mut extensions, messages) = request.into_parts();
    extensions.insert(arrived);
    let mut request = http::Request::new(Body::of(Framed::request(messages)));
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    *request.extensions_mut() = extensions;
    request
}

fn from_http(response: http::Response<Body>) -> Result<Response<Messages>, Status> {
    let (parts, body) = response.into_parts();
    let section = section(&parts.headers);
    let metadata = MetadataMap::of_response(&section);
    let messages = match Status::from_section(&section) {
        Some(status) if status.code() == Code::Ok => BodyMessages::ended(Incoming::Response, Ok(metadata)),
        Some(status) => return Err(status.and_metadata(metadata)),
        None => {
            let is_grpc = parts.headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
            if parts.status != StatusCode::OK || !is_grpc {
                return Err(without_status(parts.status));
            }
            let messages = BodyMessages::new(body, Incoming::Response, usize::MAX);
            return Ok(Response::from_parts(metadata, Messages(Some(messages)), parts.extensions));
        }
    };
    Ok(Response::from_parts(MetadataMap::new(), Messages(Some(messages)), parts.extensions))
}

/// The messages of an answer; trailers that have something in them are its last item.
pub(super) struct Messages(Option<BodyMessages>);

impl Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(messages) = &mut self.0 else { return Poll::Ready(None) };
        messages.poll_message(cx).map(|next| match next {
            Ok(message) => Some(Ok(message.octets)),
            Err(end) => {
                self.0 = None;
                match end {
                    Ok(trailers) if trailers.is_untouched() => None,
                    Ok(trailers) => Some(Err(Status::with_metadata(Code::Ok, "", trailers))),
                    Err(status) => Some(Err(status)),
                }
            }
        })
    }
}
