//! Request streams: sent as fast as the server takes them, and no longer than it wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::{Code, Request};
use clearway_http2::ErrorCode;

use crate::peer::{Feed, Frame, OK_HEAD, PATH, chat, connected, feed, framed};

/// An endless stream of 1,000-octet messages that counts what was taken from it.
struct Endless(Arc<AtomicUsize>);

impl clearway::codegen::Stream for Endless {
    type Item = Bytes;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Bytes>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::Ready(Some(Bytes::from_static(&[7; 1000])))
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_stream_is_answered_once_it_ended() {
    let (grpc, mut peer) = connected().await;
    let (feed, messages) = feed();
    let sending = grpc.clone();
    let answer = tokio::spawn(async move {
        sending.client_streaming::<_, Feed>(Request::new(messages), PATH, BytesCodec).await
    });
    let (id, _) = peer.head().await;
    feed.send("a".into()).unwrap();
    assert_eq!(peer.next().await, Frame::Data { id, octets: framed(b"a"), end: false });
    feed.send("b".into()).unwrap();
    feed.send("c".into()).unwrap();
    let both = [framed(b"b"), framed(b"c")].concat();
    assert_eq!(peer.next().await, Frame::Data { id, octets: both, end: false });
    drop(feed);
    assert_eq!(peer.next().await, Frame::Data { id, octets: Vec::new(), end: true });
    peer.answer(id, b"three").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "three");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_the_first_message_gets_it() {
    let (grpc, mut peer) = connected().await;
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    feed.send("hello?".into()).unwrap();
    let (id, _) = peer.head().await;
    assert_eq!(peer.next().await, Frame::Data { id, octets: framed(b"hello?"), end: false });
    assert!(!opened.is_finished());
    peer.headers(id, &OK_HEAD, false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    for n in 0..10u8 {
        feed.send(Bytes::copy_from_slice(&[n])).unwrap();
        assert_eq!(peer.next().await, Frame::Data { id, octets: framed(&[n]), end: false });
        peer.data(id, &framed(&[n]), false).await;
        assert_eq!(stream.message().await.unwrap().unwrap(), &[n][..]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_stops_the_writer() {
    let (grpc, mut peer) = connected().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let endless = Endless(Arc::clone(&taken));
    let sending = grpc.clone();
    let call =
        tokio::spawn(async move { sending.bidi_streaming(Request::new(endless), PATH, BytesCodec).await });
    let (id, _) = peer.head().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = taken.load(Ordering::Relaxed);
    // The window of 64 KiB, the engine's mark and the gate's mark of as much each, and a batch or two.
    assert!(first < 300, "{first} messages were taken");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(taken.load(Ordering::Relaxed), first, "time changes nothing");
    peer.credit(0, 1_000_000).await;
    peer.credit(id, 1_000_000).await;
    let mut received = 0;
    while received < 1_000_000 {
        match peer.next().await {
            Frame::Data { octets, .. } => received += octets.len(),
            other => panic!("{other:?}"),
        }
    }
    assert!(taken.load(Ordering::Relaxed) > first + 900, "credit lets it go on");
    peer.reset(id, ErrorCode::CANCEL).await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Cancelled);
    let last = taken.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(taken.load(Ordering::Relaxed), last, "the writer ends with the call");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_early_stops_the_upload_and_its_status_stands() {
    let (grpc, mut peer) = connected().await;
    let (feed, messages) = feed();
    let sending = grpc.clone();
    let answer = tokio::spawn(async move {
        sending.client_streaming::<_, Feed>(Request::new(messages), PATH, BytesCodec).await
    });
    let (id, _) = peer.head().await;
    peer.headers(id, &[OK_HEAD[0], OK_HEAD[1], ("grpc-status", "8"), ("grpc-message", "enough")], true).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "enough"));
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::NO_ERROR });
    feed.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_above_the_limit_ends_the_call_with_its_name() {
    let (grpc, mut peer) = connected().await;
    let (feed, messages) = feed();
    let opened = chat(&grpc.clone().max_encoding_message_size(3), messages);
    let (id, _) = peer.head().await;
    feed.send("four".into()).unwrap();
    let status = opened.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("max_encoding_message_size"), "{status}");
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    feed.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_stream_that_panics_cancels_its_call_and_no_other() {
    struct Broken;
    impl clearway::codegen::Stream for Broken {
        type Item = Bytes;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Bytes>> {
            panic!("broken on purpose")
        }
    }
    let (grpc, mut peer) = connected().await;
    let sending = grpc.clone();
    let call =
        tokio::spawn(async move { sending.bidi_streaming(Request::new(Broken), PATH, BytesCodec).await });
    let (id, _) = peer.head().await;
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);
    assert!(status.message().contains("request stream"), "{status}");
    let other = crate::peer::call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(other.await.unwrap().is_ok());
}
