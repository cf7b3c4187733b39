//! Code of the user's that panics ends its own call and nothing else.

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};

use crate::{Client, socket_endpoint, text};

fn router() -> Router {
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("BeforeTheFuture", BytesCodec, |_: Request<Bytes>| -> core::future::Ready<Answer> {
            panic!("before there is a future")
        })
        .unary("Inline", BytesCodec, |_: Request<Bytes>| async move { panic_now("at the first poll") })
        .unary("Spawned", BytesCodec, |_: Request<Bytes>| async move {
            tokio::task::yield_now().await;
            panic_now("at a later poll")
        })
        .client_streaming("Upload", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let _ = request.into_inner().message().await;
            panic_now("in the middle of an upload")
        })
        .server_streaming("BeforeTheStream", BytesCodec, |request: Request<Bytes>| async move {
            let _ = panic_now("before there is a stream")?;
            Ok(Response::new(tokio_stream::once(Ok(request.into_inner()))))
        })
        .server_streaming("InTheStream", BytesCodec, |request: Request<Bytes>| async move {
            let word = request.into_inner();
            let mut sent = 0;
            let messages = core::iter::repeat_with(move || {
                sent += 1;
                assert!(sent < 3, "in the middle of a response");
                Ok(word.clone())
            });
            Ok(Response::new(tokio_stream::iter(messages)))
        });
    Server::builder().add_service(service)
}

type Answer = Result<Response<Bytes>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "reads better at the places that panic")]
fn panic_now(place: &'static str) -> Answer {
    panic!("{place}")
}

fn assert_contained(status: &Status, method: &str) {
    assert_eq!((status.code(), status.message()), (Code::Unknown, "the handler panicked"), "{method}");
}

async fn each_panics_alone(client: &Client) {
    let echo =
        || async { client.unary("Echo", text("m")).await.expect("the connection goes on").into_inner() };
    for method in ["BeforeTheFuture", "Inline", "Spawned"] {
        let (panicked, neighbour) = tokio::join!(client.unary(method, text("m")), echo());
        assert_contained(&panicked.unwrap_err(), method);
        assert_eq!(neighbour, "m");
    }
    let upload = Request::new(tokio_stream::iter([Bytes::new(), Bytes::new()]));
    assert_contained(&client.upload("Upload", upload).await.unwrap_err(), "Upload");
    let status = client.download("BeforeTheStream", text("m")).await.unwrap_err();
    assert_contained(&status, "BeforeTheStream");
    assert_eq!(echo().await, "m");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_ends_its_own_call() {
    each_panics_alone(&Client::of(router())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_on_another_thread_ends_its_own_call() {
    each_panics_alone(&Client::at(socket_endpoint(router()).await)).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_stream_that_panics_fails_after_what_it_sent() {
    let client = Client::of(router());
    let mut stream = client.download("InTheStream", text("m")).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(message)) => assert_eq!(message, "m"),
            Ok(None) => panic!("it looks complete"),
            Err(status) => break status,
        }
    };
    assert_contained(&status, "InTheStream");
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}

#[tokio::test(start_paused = true)]
async fn a_request_stream_that_panics_fails_its_call() {
    let client = Client::of(router());
    let messages = core::iter::repeat_with(|| -> Bytes { panic!("in the middle of a request") });
    let status = client.upload("Upload", Request::new(tokio_stream::iter(messages))).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}
