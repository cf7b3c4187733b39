//! Middleware around a server.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clearway::body::Body;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::server::{GenericService, Placement, Service as _};
use clearway::transport::{Channel, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio_stream::StreamExt as _;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service};
use tower_http::auth::{AsyncAuthorizeRequest, AsyncRequireAuthorizationLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

use crate::kinds::all_kinds;
use crate::service::{path, service, text, unary};

/// Counts calls and puts the count into their extensions; written as for tonic.
#[derive(Clone, Default)]
struct CountLayer(Arc<AtomicUsize>);

#[derive(Clone)]
struct CountService<S>(S, Arc<AtomicUsize>);

#[derive(Clone)]
struct Number(usize);

impl<S> Layer<S> for CountLayer {
    type Service = CountService<S>;

    fn layer(&self, inner: S) -> CountService<S> {
        CountService(inner, Arc::clone(&self.0))
    }
}

impl<S, B> Service<http::Request<Body>> for CountService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> S::Future {
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert!(request.uri().path().starts_with("/t.S/"));
        request.extensions_mut().insert(Number(self.1.fetch_add(1, Ordering::Relaxed)));
        self.0.call(request)
    }
}

#[tokio::test]
async fn all_kinds_of_call_go_through_layers() {
    let count = CountLayer::default();
    let marked = SetResponseHeaderLayer::overriding(
        HeaderName::from_static("x-marked"),
        HeaderValue::from_static("yes"),
    );
    let router = Server::builder()
        .layer(TraceLayer::new_for_grpc())
        .layer(count.clone())
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(ConcurrencyLimitLayer::new(10))
        .layer(marked)
        .add_service(service());
    let client = Grpc::new(router.in_process());
    all_kinds(&client).await;
    assert_eq!(count.0.load(Ordering::Relaxed), 12, "a method that does not exist is answered outside");
    let answer = unary(&client, "Echo", text("hi")).await.unwrap();
    assert_eq!(answer.metadata().get("x-marked").unwrap(), "yes");
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn compression_is_settled_outside_of_layers() {
    use clearway::codec::CompressionEncoding;
    let gzip = CompressionEncoding::Gzip;
    let router = Server::builder()
        .accept_compressed(gzip)
        .send_compressed(gzip)
        .layer(CountLayer::default())
        .add_service(service());
    all_kinds(&Grpc::new(router.in_process()).send_compressed(gzip).accept_compressed(gzip)).await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_middleware_is_a_deadline_that_passed() {
    let router = Server::builder().layer(TimeoutLayer::new(Duration::from_secs(3))).add_service(service());
    let client = Grpc::new(router.in_process());
    let began = tokio::time::Instant::now();
    let status = unary(&client, "Never", text("hi")).await.unwrap_err();
    assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 3), "{status}");
    assert!(status.message().contains("middleware"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn load_that_is_shed_exhausts_a_resource() {
    let router = Server::builder()
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .add_service(service());
    let client = Grpc::new(router.in_process());
    let first = tokio::spawn({
        let client = client.clone();
        async move { unary(&client, "Never", text("hi")).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = unary(&client, "Echo", text("hi")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(unary(&client, "Echo", text("hi")).await.unwrap().into_inner(), "hi", "there is room again");
}

/// Lets nobody in without a token.
#[derive(Clone)]
struct Token;

impl AsyncAuthorizeRequest<Body> for Token {
    type RequestBody = Body;
    type ResponseBody = Body;
    type Future = core::future::Ready<Result<http::Request<Body>, http::Response<Body>>>;

    fn authorize(&mut self, request: http::Request<Body>) -> Self::Future {
        let code = match request.headers().get("authorization") {
            Some(token) if token == "Bearer t" => return core::future::ready(Ok(request)),
            Some(_) => StatusCode::FORBIDDEN,
            None => StatusCode::UNAUTHORIZED,
        };
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = code;
        core::future::ready(Err(response))
    }
}

#[tokio::test(start_paused = true)]
async fn http_statuses_become_grpcs() {
    let router = Server::builder().layer(AsyncRequireAuthorizationLayer::new(Token)).add_service(service());
    let client = Grpc::new(router.in_process());
    let with = |token: Option<&'static str>| {
        let mut request = text("hi");
        token.map(|token| request.metadata_mut().insert("authorization", token.parse().unwrap()));
        request
    };
    let status = unary(&client, "Echo", with(None)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("401"), "{status}");
    assert_eq!(unary(&client, "Echo", with(Some("x"))).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(unary(&client, "Echo", with(Some("Bearer t"))).await.unwrap().into_inner(), "hi");
    let refused = client.server_streaming(with(None), path("Endless"), BytesCodec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_what_layers_put_in_and_what_they_do_not_know() {
    let service =
        GenericService::new("t.S").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            let number = request.extensions().get::<Number>().map(|number| number.0);
            let (agent, peer) = (request.metadata().get("user-agent").is_some(), request.peer().is_some());
            let left = request.remaining().map(|left| left.as_secs());
            Ok(Response::new(Bytes::from(format!("{number:?} {agent} {peer} {left:?}"))))
        });
    let router = Server::builder().layer(CountLayer::default()).add_service(service);
    let client = Grpc::new(router.in_process());
    let mut request = text("");
    request.set_timeout(Duration::from_secs(9));
    assert_eq!(unary(&client, "Echo", request).await.unwrap().into_inner(), "Some(0) true true Some(9)");
}

/// Says when it is dropped, and counts what it gives.
struct Endless(tokio::sync::mpsc::UnboundedSender<usize>, usize);

impl tokio_stream::Stream for Endless {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: core::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.1 += 1;
        Poll::Ready(Some(Ok(Bytes::from(vec![7; 10_000]))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

fn endless(gone: tokio::sync::mpsc::UnboundedSender<usize>) -> Channel {
    let service = GenericService::new("t.S").server_streaming("Endless", BytesCodec, {
        move |_: Request<Bytes>| {
            let stream = Endless(gone.clone(), 0);
            async move { Ok(Response::new(stream)) }
        }
    });
    Server::builder().layer(TimeoutLayer::new(Duration::from_secs(600))).add_service(service).in_process()
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_slows_the_handler_down_through_layers_and_one_that_leaves_drops_it() {
    let (gone, mut over) = tokio::sync::mpsc::unbounded_channel();
    let client = Grpc::new(endless(gone));
    let mut stream: Streaming<Bytes> =
        client.server_streaming(text("x"), path("Endless"), BytesCodec).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(stream.message().await.unwrap().unwrap().len(), 10_000);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(stream);
    let given = over.recv().await.unwrap();
    assert!(given < 200, "{given} messages of 10,000 octets were made for a reader of three");
}

/// Fails in the way it is told.
#[derive(Clone)]
struct Fail(&'static str);

impl<S> Layer<S> for Fail {
    type Service = Fail;

    fn layer(&self, _: S) -> Fail {
        self.clone()
    }
}

impl Service<http::Request<Body>> for Fail {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = core::future::Ready<Result<http::Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        core::future::ready(match self.0 {
            "status" => Err(Box::new(Status::aborted("by a layer"))),
            "io" => Err(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))),
            "empty" => Ok(http::Response::new(Body::empty())),
            other => Err(other.into()),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_layers_become_statuses() {
    for (how, code) in [
        ("status", Code::Aborted),
        ("io", Code::Unavailable),
        ("odd", Code::Unknown),
        ("empty", Code::Unknown),
    ] {
        let client = Grpc::new(Server::builder().layer(Fail(how)).add_service(service()).in_process());
        let status = unary(&client, "Echo", text("hi")).await.unwrap_err();
        assert_eq!(status.code(), code, "{how}: {status}");
    }
}

/// Answers in octets of its own, in pieces that are no messages.
#[derive(Clone)]
struct Pieces;

struct PieceBody(Vec<Bytes>);

impl http_body::Body for PieceBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: core::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if let Some(piece) = self.0.pop() {
            return Poll::Ready(Some(Ok(http_body::Frame::data(piece))));
        }
        Poll::Ready(None)
    }
}

impl<S> Layer<S> for Pieces {
    type Service = Pieces;

    fn layer(&self, _: S) -> Pieces {
        Pieces
    }
}

impl Service<http::Request<Body>> for Pieces {
    type Response = http::Response<PieceBody>;
    type Error = Infallible;
    type Future = core::future::Ready<Result<http::Response<PieceBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let octets: &[u8] = match request.uri().path() {
            "/t.S/Letters" => b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c",
            "/t.S/Endless" => b"\0\0\0\0\x02a",
            _ => b"\x07\0\0\0\0",
        };
        let pieces = octets.iter().rev().map(|octet| Bytes::copy_from_slice(&[*octet])).collect();
        let mut response = http::Response::new(PieceBody(pieces));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc+proto"));
        core::future::ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_of_layers_are_read_as_carefully_as_those_of_peers() {
    let client = Grpc::new(Server::builder().layer(Pieces).add_service(service()).in_process());
    let mut letters =
        client.server_streaming(text(""), path("Letters"), BytesCodec).await.unwrap().into_inner();
    for word in ["ab", "", "c"] {
        assert_eq!(letters.message().await.unwrap().unwrap(), word);
    }
    assert_eq!(letters.message().await.unwrap_err().code(), Code::Unknown, "there were no trailers");
    for method in ["Endless", "Echo"] {
        let mut stream =
            client.server_streaming(text(""), path(method), BytesCodec).await.unwrap().into_inner();
        assert!(stream.message().await.is_err(), "{method}");
    }
}

/// Handlers that block or compute keep to their own tasks, with middleware around them as without.
#[tokio::test]
async fn placement_is_chosen_by_the_service_inside() {
    let named = GenericService::new("t.S").bidi_streaming(
        "Where",
        BytesCodec,
        |request: Request<Streaming<Bytes>>| async move {
            let task =
                |message: Result<Bytes, Status>| message.map(|_| Bytes::from(tokio::task::id().to_string()));
            Ok(Response::new(request.into_inner().map(task)))
        },
    );
    let server = Server::builder().layer(CountLayer::default());
    let client = Grpc::new(server.add_service(named.placed(Placement::Spawn)).in_process());
    let mut tasks = BTreeSet::new();
    for _ in 0..2 {
        let (send, messages) = tokio::sync::mpsc::channel(1);
        send.send(Bytes::from_static(b"m")).await.unwrap();
        let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(messages));
        let mut answers =
            client.bidi_streaming(request, path("Where"), BytesCodec).await.unwrap().into_inner();
        let first = answers.message().await.unwrap().unwrap();
        for _ in 0..20 {
            send.send(Bytes::from_static(b"m")).await.unwrap();
            assert_eq!(answers.message().await.unwrap(), Some(first.clone()), "all of it in one task");
        }
        assert!(tasks.insert(first), "and that is not the connection's");
    }
}

/// A request of a method that takes one message is judged when there are two, as without layers; it need not end.
#[tokio::test(start_paused = true)]
async fn a_second_message_is_refused_before_the_end_of_the_request() {
    for server in [Server::builder(), Server::builder().layer(CountLayer::default())] {
        let client = Grpc::new(server.add_service(service()).in_process());
        for method in ["Echo", "Letters"] {
            let two = tokio_stream::iter([Bytes::from_static(b"m"), Bytes::from_static(b"m")]);
            let open = Request::new(two.chain(tokio_stream::pending()));
            let call = client.bidi_streaming(open, path(method), BytesCodec);
            let answer = tokio::time::timeout(Duration::from_secs(1), call).await.expect("an answer");
            assert_eq!(answer.unwrap_err().code(), Code::Unimplemented, "{method}");
        }
    }
}
