//! Methods by path: what services register, and what a connection looks up.

use core::future::Future;
use core::marker::PhantomData;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use clearway_http2::RouteId;
use futures_core::Stream;

use super::intercepted::Intercepted;
use super::on_cancel::OnCancel;
use super::placement::{Learned, Placement};
use super::streaming::{GiveMany, GiveOne, StreamingFn, StreamingMethod, TakeMany, TakeOne};
use super::unary::{UnaryFn, UnaryMethod};
use crate::codec::compression::{Agreed, Encodings, Unpacking};
use crate::codec::{Codec, CompressionEncoding};
use crate::context::{CallContext, Life};
use crate::framing::Incoming;
use crate::intercept::{CallKind, IntoInterceptor, Stack};
use crate::{Request, Response, Status, Streaming};

/// The largest message accepted, unless a service says otherwise.
pub(crate) const MAX_DECODING: usize = 4 * 1024 * 1024;

/// A method, and how its request comes.
pub(super) enum Method {
    /// One message in, one out.
    Unary(Box<dyn UnaryMethod>),
    /// One message in, a stream out.
    TakesOne(Box<dyn StreamingMethod>),
    /// A stream in.
    TakesMany(Box<dyn StreamingMethod>),
}

/// A method at its path.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) decode_limit: usize,
    pub(super) encodings: Encodings,
    /// What the codec is called, if it cares.
    pub(super) subtype: Option<&'static str>,
    pub(super) learned: Learned,
    pub(super) on_cancel: OnCancel,
    /// `/package.Service/Method`.
    pub(super) path: Arc<str>,
}

impl Route {
    /// How the messages of a call's request come in.
    pub(super) fn unpacking(&self, agreed: Agreed) -> Unpacking {
        let encoding = self.encodings.of_request(agreed);
        Unpacking { from: Incoming::Request, limit: self.decode_limit, encoding }
    }

    /// The context of a call of this method.
    pub(super) fn context(&self, head: &Request<()>) -> CallContext {
        let life = match self.on_cancel {
            OnCancel::Drop => None,
            chosen => {
                let life = Arc::new(Life::new(chosen));
                head.surroundings().knows(&life);
                Some(life)
            }
        };
        CallContext::new(head.deadline(), life)
    }
}

/// All methods of a server.
#[derive(Default)]
pub(super) struct Routes {
    by_path: HashMap<Box<[u8]>, u32>,
    routes: Vec<Route>,
    services: HashSet<String>,
    /// What methods use unless their service says more.
    encodings: Encodings,
    /// What is around every method.
    interceptors: Option<Stack>,
}

impl Routes {
    /// What the methods of services added from here on can use, to change.
    pub(super) fn encodings_mut(&mut self) -> &mut Encodings {
        &mut self.encodings
    }

    /// What is around the methods of services added from here on, to change.
    pub(super) fn interceptors_mut(&mut self) -> &mut Option<Stack> {
        &mut self.interceptors
    }

    /// A table of the same paths, in which every method takes octets and gives octets by what `handler` makes for its path.
    #[cfg(feature = "tower")]
    pub(super) fn forwarded<F, Fut, S>(&self, handler: impl Fn(&str) -> F) -> Self
    where
        F: Fn(Request<Streaming<bytes::Bytes>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<bytes::Bytes, Status>> + Send + 'static,
    {
        let forward = |route: &Route| {
            let function: StreamingFn<_, F, (TakeMany, GiveMany, S)> = StreamingFn {
                codec: crate::codec::BytesCodec,
                handler: handler(&route.path),
                encode_limit: usize::MAX,
                shape: PhantomData,
            };
            Route {
                method: Method::TakesMany(Box::new(function)),
                decode_limit: route.decode_limit,
                encodings: route.encodings.clone(),
                subtype: route.subtype,
                // Who blocks inside of middleware blocks.
                learned: Learned::new(route.learned.placement()),
                on_cancel: route.on_cancel,
                path: Arc::clone(&route.path),
            }
        };
        Self {
            by_path: self.by_path.clone(),
            routes: self.routes.iter().map(forward).collect(),
            services: self.services.clone(),
            encodings: self.encodings.clone(),
            interceptors: None,
        }
    }

    pub(super) fn find(&self, path: &[u8]) -> RouteId {
        self.by_path.get(path).map_or(RouteId::NONE, |index| RouteId(*index))
    }

    pub(super) fn get(&self, route: RouteId) -> Option<&Route> {
        self.routes.get(route.0 as usize)
    }

    /// Why a path leads nowhere (gRPC's status page: UNIMPLEMENTED).
    pub(super) fn not_found(&self, path: &[u8]) -> Status {
        let path = String::from_utf8_lossy(path);
        let Some((service, method)) = path.strip_prefix('/').and_then(|rest| rest.split_once('/')) else {
            return Status::unimplemented(format!(
                "malformed method path {path:?}: want /package.Service/Method"
            ));
        };
        if self.services.contains(service) {
            Status::unimplemented(format!("unknown method {method} of service {service}"))
        } else {
            Status::unimplemented(format!("unknown service {service}"))
        }
    }
}

/// Collects the methods of one service.
pub struct Methods<'a> {
    routes: &'a mut Routes,
    service: String,
    decode_limit: usize,
    encode_limit: usize,
    encodings: Encodings,
    placement: Placement,
    on_cancel: OnCancel,
    interceptors: Option<Stack>,
}

impl core::fmt::Debug for Methods<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Methods").field("service", &self.service).finish_non_exhaustive()
    }
}

impl<'a> Methods<'a> {
    pub(super) fn of(routes: &'a mut Routes, service: &str) -> Self {
        routes.services.insert(service.to_owned());
        let (encodings, interceptors) = (routes.encodings.clone(), routes.interceptors.clone());
        Self {
            routes,
            service: service.to_owned(),
            decode_limit: MAX_DECODING,
            encode_limit: usize::MAX,
            encodings,
            placement: Placement::Auto,
            on_cancel: OnCancel::Drop,
            interceptors,
        }
    }

    /// The largest request message accepted, in octets, by the methods added from here on. Default: 4 MiB. A larger one
    /// ends its call with RESOURCE_EXHAUSTED.
    pub fn max_decoding_message_size(&mut self, octets: usize) {
        self.decode_limit = octets;
    }

    /// The largest response message sent, in octets, by the methods added from here on. Default: no limit. A larger one
    /// ends its call with RESOURCE_EXHAUSTED.
    pub fn max_encoding_message_size(&mut self, octets: usize) {
        self.encode_limit = octets;
    }

    /// Accepts requests compressed by `encoding` in the methods added from here on. Default: what
    /// [`Server::accept_compressed`](crate::transport::Server::accept_compressed) says; without either none, and a request
    /// that is compressed ends with UNIMPLEMENTED and a list of what is accepted.
    pub fn accept_compressed(&mut self, encoding: CompressionEncoding) {
        self.encodings.accept(encoding);
    }

    /// Compresses responses of the methods added from here on by `encoding`, for clients that can read it. Of several, the
    /// first that the client can read is used. Default: what
    /// [`Server::send_compressed`](crate::transport::Server::send_compressed) says; without either none.
    ///
    /// A message that does not get smaller is sent as it is.
    pub fn send_compressed(&mut self, encoding: CompressionEncoding) {
        self.encodings.send(encoding);
    }

    /// Where the handlers of methods added from here on are polled. Default: [`Placement::Auto`].
    pub fn placement(&mut self, placement: Placement) {
        self.placement = placement;
    }

    /// What becomes of the handlers of methods added from here on when their call is cancelled. Default: [`OnCancel::Drop`].
    pub fn when_cancelled(&mut self, on_cancel: OnCancel) {
        self.on_cancel = on_cancel;
    }

    /// Puts an interceptor around the methods added from here on, inside of those that are around them already.
    pub fn intercept<Form>(&mut self, interceptor: impl IntoInterceptor<Form>) {
        self.interceptors = Some(Stack::and(self.interceptors.as_ref(), interceptor.into_interceptor()));
    }

    fn add(&mut self, name: &str, subtype: Option<&'static str>, kind: CallKind, method: Method) {
        let path: Arc<str> = format!("/{}/{name}", self.service).into();
        let method = match &self.interceptors {
            Some(stack) => Intercepted::around(method, stack, kind, &path),
            None => method,
        };
        let Ok(index) = u32::try_from(self.routes.routes.len()) else { return };
        // A path registered again replaces the earlier method, as a service added twice does.
        self.routes.by_path.insert(path.as_bytes().into(), index);
        let learned = Learned::new(self.placement);
        let (decode_limit, encodings) = (self.decode_limit, self.encodings.clone());
        let on_cancel = self.on_cancel;
        self.routes.routes.push(Route { method, decode_limit, encodings, subtype, learned, on_cancel, path });
    }

    /// Adds a unary method.
    pub fn unary<C, F, Fut>(&mut self, method: &str, codec: C, handler: F)
    where
        C: Codec + Clone,
        F: Fn(Request<C::Decode>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<C::Encode>, Status>> + Send + 'static,
    {
        let subtype = codec.content_subtype();
        let function = UnaryFn { codec, handler, encode_limit: self.encode_limit };
        self.add(method, subtype, CallKind::Unary, Method::Unary(Box::new(function)));
    }

    /// Adds a method that answers one message with a stream.
    pub fn server_streaming<C, F, Fut, S>(&mut self, method: &str, codec: C, handler: F)
    where
        C: Codec + Clone,
        F: Fn(Request<C::Decode>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<C::Encode, Status>> + Send + 'static,
    {
        let subtype = codec.content_subtype();
        let function: StreamingFn<C, F, (TakeOne, GiveMany, S)> = self.streaming(codec, handler);
        self.add(method, subtype, CallKind::ServerStreaming, Method::TakesOne(Box::new(function)));
    }

    /// Adds a method that answers a stream with one message.
    pub fn client_streaming<C, F, Fut>(&mut self, method: &str, codec: C, handler: F)
    where
        C: Codec + Clone,
        F: Fn(Request<Streaming<C::Decode>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<C::Encode>, Status>> + Send + 'static,
    {
        let subtype = codec.content_subtype();
        let function: StreamingFn<C, F, (TakeMany, GiveOne, C::Encode)> = self.streaming(codec, handler);
        self.add(method, subtype, CallKind::ClientStreaming, Method::TakesMany(Box::new(function)));
    }

    /// Adds a method that answers a stream with a stream.
    pub fn bidi_streaming<C, F, Fut, S>(&mut self, method: &str, codec: C, handler: F)
    where
        C: Codec + Clone,
        F: Fn(Request<Streaming<C::Decode>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<C::Encode, Status>> + Send + 'static,
    {
        let subtype = codec.content_subtype();
        let function: StreamingFn<C, F, (TakeMany, GiveMany, S)> = self.streaming(codec, handler);
        self.add(method, subtype, CallKind::BidiStreaming, Method::TakesMany(Box::new(function)));
    }

    fn streaming<C, F, Shape>(&self, codec: C, handler: F) -> StreamingFn<C, F, Shape> {
        StreamingFn { codec, handler, encode_limit: self.encode_limit, shape: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use crate::codec::BytesCodec;

    #[test]
    fn paths_are_found_exactly_and_the_rest_is_explained() {
        let mut routes = Routes::default();
        let mut methods = Methods::of(&mut routes, "a.B");
        methods.unary("C", BytesCodec, |request: Request<bytes::Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        });
        assert!(routes.get(routes.find(b"/a.B/C")).is_some());
        for (path, text) in [
            ("/a.B/c", "unknown method c of service a.B"),
            ("/a.B/C/", "unknown method C/ of service a.B"),
            ("/a.b/C", "unknown service a.b"),
            ("/a.B", "malformed method path"),
            ("*", "malformed method path"),
        ] {
            assert_eq!(routes.find(path.as_bytes()), RouteId::NONE, "{path}");
            let status = routes.not_found(path.as_bytes());
            assert_eq!(status.code(), Code::Unimplemented);
            assert!(status.message().contains(text), "{status}");
        }
    }
}
