//! A call that is given up, at each of its stages, leaves nothing behind.

use std::time::Duration;

use bytes::Bytes;
use clearway::Code;
use clearway::Request;
use clearway::codec::BytesCodec;
use clearway_http2::ErrorCode;

use crate::peer::{
    Frame, OK_HEAD, PATH, Peer, call, chat, connected, connected_with, endpoint, feed, framed, listen,
};

async fn expect_usable(grpc: &clearway::client::Grpc, peer: &mut Peer) {
    let answer = call(grpc, b"");
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn before_there_is_a_connection() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let given_up = call(&grpc, b"");
    let (feed, messages) = feed();
    let stream = chat(&grpc, messages);
    let raw = arrivals.raw().await;
    given_up.abort();
    stream.abort();
    let _ = (given_up.await, stream.await);
    feed.closed().await;
    let mut peer = Peer::shake_hands(raw, &[]).await;
    peer.expect_silence().await;
    expect_usable(&grpc, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn before_it_left() {
    let (grpc, mut peer) = connected().await;
    let (feed, messages) = feed();
    // Pushed to the connection and dropped before the connection's task ran.
    let mut unary = Box::pin(grpc.unary(Request::new(Bytes::new()), PATH, BytesCodec));
    let mut stream = Box::pin(grpc.bidi_streaming(Request::new(messages), PATH, BytesCodec));
    std::future::poll_fn(|cx| {
        assert!(unary.as_mut().poll(cx).is_pending() && stream.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop((unary, stream));
    feed.closed().await;
    peer.expect_silence().await;
    expect_usable(&grpc, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_queue() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let running = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    let waiting = call(&grpc, b"");
    let (feed, messages) = feed();
    let stream = chat(&grpc, messages);
    peer.expect_silence().await;
    waiting.abort();
    stream.abort();
    let _ = (waiting.await, stream.await);
    feed.closed().await;
    peer.answer(id, b"").await;
    assert!(running.await.unwrap().is_ok());
    peer.expect_silence().await;
    expect_usable(&grpc, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn while_it_waits_for_its_answer() {
    let (grpc, mut peer) = connected().await;
    let unary = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    unary.abort();
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    let (feed, messages) = feed();
    let stream = chat(&grpc, messages);
    let (id, _) = peer.head().await;
    stream.abort();
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    feed.closed().await;
    peer.answer(id, b"in flight").await;
    expect_usable(&grpc, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_its_answer() {
    let (grpc, mut peer) = connected().await;
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let (id, _) = peer.head().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(&[7; 10_000]), false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().len(), 10_000);
    drop(stream);
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    feed.closed().await;
    expect_usable(&grpc, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn after_its_end_nothing_is_sent() {
    let (grpc, mut peer) = connected().await;
    let opened = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"unread"), false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    let stream = opened.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(stream);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_decoded_cancels_the_rest() {
    struct Picky;
    impl clearway::codec::Codec for Picky {
        type Encode = Bytes;
        type Decode = Bytes;
        type Encoder = clearway::codec::BytesEncoder;
        type Decoder = Refuse;
        fn encoder(&mut self) -> clearway::codec::BytesEncoder {
            clearway::codec::BytesEncoder
        }
        fn decoder(&mut self) -> Refuse {
            Refuse
        }
    }
    struct Refuse;
    impl clearway::codec::Decoder for Refuse {
        type Item = Bytes;
        type Error = clearway::Status;
        fn decode(
            &mut self,
            _: &mut clearway::codec::DecodeBuf<'_>,
        ) -> Result<Option<Bytes>, clearway::Status> {
            Err(clearway::Status::internal("unreadable"))
        }
    }
    let (grpc, mut peer) = connected().await;
    let reading = grpc.clone();
    let opened =
        tokio::spawn(async move { reading.server_streaming(Request::new(Bytes::new()), PATH, Picky).await });
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"a"), false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Internal);
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
}
