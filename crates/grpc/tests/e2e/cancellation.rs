//! Calls given up by one side: the other side hears of it, and an upload that was cut short never looks complete.

use core::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Streaming};
use clearway_http2::ErrorCode;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::raw::{framed, grpc};
use crate::{Client, Keeping, Teller, Told, path, raw_connection, story, text};

/// Methods that never answer, or never stop to.
fn router(teller: &Teller) -> Router {
    let (unary, inline, upload, download, early) =
        (teller.clone(), teller.clone(), teller.clone(), teller.clone(), teller.clone());
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Never", BytesCodec, move |_: Request<Bytes>| {
            let teller = unary.clone();
            async move {
                let _dropped = teller.on_drop("handler dropped");
                teller.tell("started");
                core::future::pending().await
            }
        })
        .unary("Sleep", BytesCodec, move |request: Request<Bytes>| {
            let teller = inline.clone();
            async move {
                let _dropped = teller.on_drop("handler dropped");
                teller.tell("started");
                tokio::time::sleep(Duration::from_secs(60)).await;
                teller.tell("slept");
                Ok(Response::new(request.into_inner()))
            }
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = upload.clone();
            async move {
                let _dropped = teller.on_drop("handler dropped");
                // What a handler starts outlives it, and must be told the truth, too.
                tokio::spawn(read_all(request.into_inner(), teller.clone()));
                core::future::pending().await
            }
        })
        .bidi_streaming("Download", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = download.clone();
            async move {
                let one = tokio_stream::once(Ok(Bytes::from_static(b"one")));
                let messages = one.chain(tokio_stream::pending());
                tokio::spawn(read_all(request.into_inner(), teller.clone()));
                Ok(Response::new(Keeping(messages, teller.on_drop("stream dropped"))))
            }
        })
        .client_streaming("Early", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = early.clone();
            async move {
                let first = request.into_inner().message().await?;
                teller.tell("answered");
                Ok(Response::new(first.unwrap_or_default()))
            }
        });
    Server::builder().add_service(service)
}

async fn read_all(mut uploaded: Streaming<Bytes>, teller: Teller) {
    loop {
        match uploaded.message().await {
            Ok(Some(message)) => teller.tell(format!("read {}", message.len())),
            Ok(None) => return teller.tell("read to the end"),
            Err(status) => return teller.tell(format!("read failed with {:?}", status.code())),
        }
    }
}

/// The next two things told, in either order.
async fn both(told: &mut Told) -> [String; 2] {
    let mut both = [told.next().await, told.next().await];
    both.sort();
    both
}

const GIVEN_UP: [&str; 2] = ["handler dropped", "read failed with Cancelled"];

#[tokio::test(start_paused = true)]
async fn dropping_a_unary_call_drops_its_handler() {
    for method in ["Never", "Sleep"] {
        let (teller, mut told) = story();
        let client = Client::of(router(&teller));
        let call = tokio::spawn({
            let client = client.clone();
            async move { client.unary(method, text("m")).await }
        });
        assert_eq!(told.next().await, "started");
        call.abort();
        assert_eq!(told.next().await, "handler dropped", "{method}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(told.is_silent(), "{method} went on");
        assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_response_stream_drops_the_one_that_feeds_it() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let (keep, said) = mpsc::channel(1);
    let mut stream =
        client.duplex("Download", Request::new(ReceiverStream::new(said))).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().as_deref(), Some(&b"one"[..]));
    drop(stream);
    assert_eq!(both(&mut told).await, ["read failed with Cancelled", "stream dropped"]);
    keep.closed().await;
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}

#[tokio::test(start_paused = true)]
async fn an_upload_given_up_is_an_error_and_no_end() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let (say, said) = mpsc::channel(1);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.upload("Upload", Request::new(ReceiverStream::new(said))).await }
    });
    say.send(Bytes::from_static(b"12345")).await.unwrap();
    assert_eq!(told.next().await, "read 5");
    call.abort();
    assert_eq!(both(&mut told).await, GIVEN_UP);
    say.closed().await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_reset_is_an_error_and_no_end() {
    for code in [ErrorCode::CANCEL, ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR, ErrorCode(77)] {
        let (teller, mut told) = story();
        let connection = raw_connection(router(&teller));
        let call = connection.open(grpc("/t.S/Upload"), false).await;
        call.send(&framed(b"12345"), false);
        assert_eq!(told.next().await, "read 5");
        call.reset(code);
        assert_eq!(both(&mut told).await, GIVEN_UP, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_connection_is_lost_is_an_error_and_no_end() {
    let (teller, mut told) = story();
    let (ours, theirs) = clearway::transport::pair();
    tokio::spawn(router(&teller).serve_connection(theirs));
    let connection = crate::raw::RawConnection::over(ours);
    let call = connection.open(grpc("/t.S/Upload"), false).await;
    call.send(&framed(b"12345"), false);
    assert_eq!(told.next().await, "read 5");
    connection.abort();
    assert_eq!(both(&mut told).await, GIVEN_UP);
}

#[tokio::test(start_paused = true)]
async fn a_whole_upload_has_an_end() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let words = tokio_stream::iter(["a", "bc"].map(|word| Bytes::from_static(word.as_bytes())));
    let call = tokio::spawn(async move { client.upload("Upload", Request::new(words)).await });
    for what in ["read 1", "read 2", "read to the end"] {
        assert_eq!(told.next().await, what);
    }
    call.abort();
    assert_eq!(told.next().await, "handler dropped");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_early_ends_the_upload_with_its_answer() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let endless = core::iter::repeat_with(|| Bytes::from_static(&[7; 1000]));
    let endless = Keeping(tokio_stream::iter(endless), teller.on_drop("upload dropped"));
    let answer = client.upload("Early", Request::new(endless)).await.unwrap().into_inner();
    assert_eq!(answer.len(), 1000);
    assert_eq!(told.next().await, "answered");
    assert_eq!(told.next().await, "upload dropped");
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_whole_before_the_upload_is_turned_off() {
    let (teller, _told) = story();
    let connection = raw_connection(router(&teller));
    let call = connection.open(grpc("/t.S/Early"), false).await;
    call.send(&framed(b"first"), false);
    let answer = call.answer().await;
    assert_eq!((answer.code(), answer.body), (Code::Ok, framed(b"first")));
    // NO_ERROR, and never CANCEL, which would look like a failure (RFC 9113 §8.1).
    assert_eq!(answer.reset, Some(ErrorCode::NO_ERROR));
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_before_it_was_sent_never_reaches_the_server() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    {
        let mut call = core::pin::pin!(client.0.unary(text("m"), path("Never"), BytesCodec));
        let poll = core::future::poll_fn(|cx| core::task::Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(poll.is_pending());
    }
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
    assert!(told.is_silent(), "the handler was started");
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_lost_connection_are_told_what_happened() {
    let (teller, mut told) = story();
    let (ours, theirs) = clearway::transport::pair();
    let server = tokio::spawn(router(&teller).serve_connection(theirs));
    let client = Client::at(crate::over(ours));
    let call = tokio::spawn(async move { client.unary("Never", text("m")).await });
    assert_eq!(told.next().await, "started");
    server.abort();
    assert_eq!(told.next().await, "handler dropped");
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.transport().is_some(), "{status}");
}
