//! Middleware around a channel.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use clearway::body::Body;
use clearway::client::{Grpc, GrpcService, ResponseFuture};
use clearway::codec::BytesCodec;
use clearway::intercept::{Call, CallEnd, Intercept, InterceptedService, Watch};
use clearway::server::{GenericService, OnCancel};
use clearway::transport::{Channel, Endpoint, Processed, Server};
use clearway::{Code, Request, Response, Status};
use http::{HeaderName, HeaderValue};
use tower::ServiceBuilder;
use tower_http::set_header::SetRequestHeaderLayer;
use tower_http::trace::TraceLayer;

use crate::kinds::all_kinds;
use crate::service::{path, service, text, unary};

fn channel() -> Channel {
    Server::builder().add_service(service()).in_process()
}

#[tokio::test]
async fn all_kinds_of_call_go_through_middleware() {
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_grpc())
        .timeout(Duration::from_secs(60))
        .concurrency_limit(10)
        .service(channel());
    all_kinds(&Grpc::new(service)).await;
    // tower's queue in front of a service, with a task of its own.
    all_kinds(&Grpc::new(ServiceBuilder::new().buffer(10).service(channel()))).await;
}

/// What calls end with that a handler makes, when the call it works for is given up.
async fn when_called_off<T, C>(calls: impl Fn(Request<Bytes>) -> C + Clone + Send + Sync + 'static) -> T
where
    T: std::fmt::Debug + Send + 'static,
    C: Future<Output = T> + Send + 'static,
{
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |request: Request<Bytes>| {
        let (tell, calls) = (tell.clone(), calls(request));
        async move {
            tell.send(calls.await).unwrap();
            Ok(Response::new(Bytes::new()))
        }
    };
    let service =
        GenericService::new("t.S").when_cancelled(OnCancel::Token).unary("Ask", BytesCodec, handler);
    let outer = Grpc::new(Server::builder().add_service(service).in_process());
    let call = tokio::spawn(async move { unary(&outer, "Ask", text("hi")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(told.try_recv().is_err());
    call.abort();
    let ended = tokio::time::timeout(Duration::from_secs(1), told.recv()).await;
    ended.expect("it is called off").unwrap()
}

/// A call that waits in middleware is called off with its handler's, too.
#[tokio::test(start_paused = true)]
async fn a_call_in_middleware_ends_with_the_call_it_is_made_for() {
    let waits = |request: Request<Bytes>| async move {
        let client = Grpc::new(ServiceBuilder::new().concurrency_limit(0).service(channel()));
        unary(&client, "Echo", request).await.unwrap_err().code()
    };
    assert_eq!(when_called_off(waits).await, Code::Cancelled);
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn what_a_client_compresses_by_reaches_its_channel() {
    use clearway::codec::CompressionEncoding;
    let gzip = CompressionEncoding::Gzip;
    let channel =
        Server::builder().accept_compressed(gzip).send_compressed(gzip).add_service(service()).in_process();
    let service = ServiceBuilder::new().timeout(Duration::from_secs(60)).service(channel);
    all_kinds(&Grpc::new(service).send_compressed(gzip).accept_compressed(gzip)).await;
}

/// Counts the ends it hears of.
#[derive(Clone, Default)]
struct Ends(Arc<AtomicUsize>);

impl Intercept for Ends {
    type Watch = Self;

    async fn begin(&self, _: &mut Call) -> Result<Self, Status> {
        Ok(self.clone())
    }
}

impl Watch for Ends {
    fn end(&self, end: &mut CallEnd) {
        assert!(end.is_cancelled() || end.sent().messages > 0 || end.code() != Code::NotFound);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn interceptors_go_around_middleware_and_inside_of_it() {
    let (outside, inside) = (Ends::default(), Ends::default());
    let inner = InterceptedService::new(channel(), inside.clone());
    // An intercepted channel is no service for middleware; what is around middleware is intercepted all the same.
    unary(&Grpc::new(inner), "Echo", text("hi")).await.unwrap();
    assert_eq!(inside.0.load(Ordering::Relaxed), 1);
    let service = ServiceBuilder::new().timeout(Duration::from_secs(60)).service(channel());
    all_kinds(&Grpc::new(InterceptedService::new(service, outside.clone()))).await;
    assert_eq!(outside.0.load(Ordering::Relaxed), 13, "one for every call");
}

/// Says when its calls are gone.
fn watched() -> (Channel, tokio::sync::mpsc::UnboundedReceiver<&'static str>) {
    struct OnDrop(tokio::sync::mpsc::UnboundedSender<&'static str>, &'static str);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(self.1);
        }
    }
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let also = tell.clone();
    let service = GenericService::new("t.S")
        .unary("Never", BytesCodec, move |_: Request<Bytes>| {
            let on_drop = OnDrop(tell.clone(), "never");
            async move {
                core::future::pending::<()>().await;
                drop(on_drop);
                Ok(Response::new(Bytes::new()))
            }
        })
        .server_streaming("Endless", BytesCodec, move |_: Request<Bytes>| {
            let on_drop = OnDrop(also.clone(), "endless");
            let messages = core::iter::repeat_with(move || {
                let _ = &on_drop;
                Ok(Bytes::from_static(b"x"))
            });
            async move { Ok(Response::new(tokio_stream::iter(messages))) }
        });
    (Server::builder().add_service(service).in_process(), told)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_middleware_cancels_the_call_inside() {
    let (channel, mut told) = watched();
    let client = Grpc::new(ServiceBuilder::new().timeout(Duration::from_secs(3)).service(channel));
    let began = tokio::time::Instant::now();
    let status = unary(&client, "Never", text("hi")).await.unwrap_err();
    assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 3), "{status}");
    assert_eq!(told.recv().await, Some("never"));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_response_resets_its_stream_through_middleware() {
    let (channel, mut told) = watched();
    let client = Grpc::new(ServiceBuilder::new().timeout(Duration::from_secs(3)).service(channel));
    let mut stream =
        client.server_streaming(text("x"), path("Endless"), BytesCodec).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap(), "x");
    drop(stream);
    assert_eq!(told.recv().await, Some("endless"));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_counts_whatever_the_call_waits_for() {
    let (channel, mut told) = watched();
    let client = Grpc::new(ServiceBuilder::new().concurrency_limit(1).service(channel));
    let first = tokio::spawn({
        let client = client.clone();
        async move { unary(&client, "Never", text("hi")).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut request = text("hi");
    request.set_timeout(Duration::from_secs(2));
    let status = unary(&client, "Never", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("in middleware"), "{status}");
    first.abort();
    assert_eq!(told.recv().await, Some("never"));
    let mut request = text("hi");
    request.set_timeout(Duration::from_secs(2));
    let status = unary(&client, "Never", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(told.recv().await, Some("never"), "the server is told");
}

/// Middleware that keeps an answer back: the server has seen the call, and its status does not say otherwise.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_middleware_does_not_say_that_nothing_was_done() {
    let late = ServiceBuilder::new().map_future(|answer: ResponseFuture| async move {
        let answer = answer.await;
        core::future::pending::<()>().await;
        answer
    });
    let client = Grpc::new(late.service(channel()));
    let mut request = text("hi");
    request.set_timeout(Duration::from_secs(2));
    let status = unary(&client, "Echo", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.transport().unwrap().processed, Processed::Maybe, "{status}");
}

/// The head of an answer, so many messages, and then nothing more; says when it is dropped.
struct Stalled {
    left: usize,
    _dropped: Arc<()>,
}

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Pending };
        self.left = left;
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"\0\0\0\0\x01x")))))
    }
}

/// A service whose answers stall, and what their bodies hold.
fn stalling(left: usize) -> (Grpc<impl GrpcService>, Weak<()>) {
    let held = Arc::new(());
    let dropped = Arc::downgrade(&held);
    let held = Mutex::new(Some(held));
    let service = tower::service_fn(move |_: http::Request<Body>| {
        let body = Stalled { left, _dropped: held.lock().unwrap().take().unwrap() };
        let answer = http::Response::builder().header("content-type", "application/grpc").body(body);
        core::future::ready(answer)
    });
    (Grpc::new(ServiceBuilder::new().buffer(1).service(service)), dropped)
}

/// What must be over before the hour is.
async fn soon<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), answer).await.expect("it ends")
}

/// Middleware that keeps the rest of an answer back, or makes answers of its own: the deadline is the call's, and not the channel's.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_with_the_deadline() {
    let deadline = |seconds| {
        let mut request = text("hi");
        request.set_timeout(Duration::from_secs(seconds));
        request
    };
    for messages in 0..3 {
        let (client, body) = stalling(messages);
        let began = tokio::time::Instant::now();
        let status = soon(unary(&client, "Echo", deadline(2))).await.unwrap_err();
        assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 2), "{status}");
        assert!(status.message().contains("in the middle of the response"), "{status}");
        assert_eq!(status.transport().unwrap().processed, Processed::Maybe);
        assert_eq!(body.strong_count(), 0, "the body is gone");

        let (client, body) = stalling(messages);
        let began = tokio::time::Instant::now();
        let answer = client.server_streaming(deadline(2), path("Endless"), BytesCodec).await;
        let mut stream = answer.unwrap().into_inner();
        for _ in 0..messages {
            assert_eq!(stream.message().await.unwrap().unwrap(), "x");
        }
        let status = soon(stream.message()).await.unwrap_err();
        assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 2), "{status}");
        assert_eq!(stream.message().await.unwrap(), None, "it is told once");
        assert_eq!(body.strong_count(), 0, "the body is gone");
    }
    // Nobody who set no timeout gets one.
    let (client, _body) = stalling(0);
    let waiting = tokio::time::timeout(Duration::from_secs(3600), unary(&client, "Echo", text("hi")));
    assert!(waiting.await.is_err());
}

/// A body that always has one more message does not keep a call for one message past its deadline either.
#[tokio::test]
async fn an_answer_of_endless_messages_ends_with_the_deadline() {
    let (client, body) = stalling(usize::MAX);
    let mut request = text("hi");
    request.set_timeout(Duration::from_millis(50));
    let status = unary(&client, "Echo", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(body.strong_count(), 0, "the body is gone");
}

/// Nor does a stalled body keep a call whose handler's call is over.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_with_the_call_it_is_read_for() {
    let stalls = |_: Request<Bytes>| async move {
        let (unary_client, _body) = stalling(1);
        let (streaming_client, _other) = stalling(1);
        let answer = streaming_client.server_streaming(text("hi"), path("Endless"), BytesCodec).await;
        let mut stream = answer.unwrap().into_inner();
        stream.message().await.unwrap();
        let (answer, message) = tokio::join!(unary(&unary_client, "Echo", text("hi")), stream.message());
        [answer.unwrap_err().code(), message.unwrap_err().code()]
    };
    assert_eq!(when_called_off(stalls).await, [Code::Cancelled; 2]);
}

#[tokio::test(start_paused = true)]
async fn load_that_is_shed_exhausts_a_resource() {
    let (channel, _told) = watched();
    let client = Grpc::new(ServiceBuilder::new().load_shed().concurrency_limit(1).service(channel));
    let first = tokio::spawn({
        let client = client.clone();
        async move { unary(&client, "Never", text("hi")).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(unary(&client, "Never", text("hi")).await.unwrap_err().code(), Code::ResourceExhausted);
    first.abort();
}

#[tokio::test]
async fn headers_of_middleware_are_metadata() {
    let service =
        GenericService::new("t.S").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            let token =
                request.metadata().get("x-token").map_or("none", |token| token.to_str().unwrap()).to_owned();
            Ok(Response::new(Bytes::from(token)))
        });
    let channel = Server::builder().add_service(service).in_process();
    let layer = SetRequestHeaderLayer::overriding(
        HeaderName::from_static("x-token"),
        HeaderValue::from_static("secret"),
    );
    let client = Grpc::new(ServiceBuilder::new().layer(layer).service(channel));
    assert_eq!(unary(&client, "Echo", text("")).await.unwrap().into_inner(), "secret");
}

#[tokio::test]
async fn what_happened_to_the_transport_is_known_through_middleware() {
    let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let client = Grpc::new(ServiceBuilder::new().timeout(Duration::from_secs(60)).service(channel));
    let status = unary(&client, "Echo", text("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.transport().is_some(), "{status}");
}
