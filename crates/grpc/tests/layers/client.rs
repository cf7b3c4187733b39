//! Middleware around a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::client::ResponseFuture;
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

/// A call that waits in middleware is called off with its handler's, too.
#[tokio::test(start_paused = true)]
async fn a_call_in_middleware_ends_with_the_call_it_is_made_for() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |request: Request<Bytes>| {
        let tell = tell.clone();
        async move {
            let client = Grpc::new(ServiceBuilder::new().concurrency_limit(0).service(channel()));
            let status = unary(&client, "Echo", request).await.unwrap_err();
            tell.send(status.code()).unwrap();
            Err::<Response<Bytes>, _>(status)
        }
    };
    let service =
        GenericService::new("t.S").when_cancelled(OnCancel::Token).unary("Ask", BytesCodec, handler);
    let outer = Grpc::new(Server::builder().add_service(service).in_process());
    let call = tokio::spawn(async move { unary(&outer, "Ask", text("hi")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(told.try_recv().is_err());
    call.abort();
    let code = tokio::time::timeout(Duration::from_secs(1), told.recv()).await;
    assert_eq!(code.expect("it is called off"), Some(Code::Cancelled));
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
