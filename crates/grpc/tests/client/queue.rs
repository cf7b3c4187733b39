//! Calls beyond the server's stream limit.

use std::time::Duration;

use clearway::transport::{Processed, TransportEvent};
use clearway::{Code, Request};
use clearway_http2::ErrorCode;
use tokio::task::JoinSet;

use crate::peer::{Frame, PATH, call, chat, connected_with, endpoint, feed};

const MAX_CONCURRENT_STREAMS: u16 = 3;

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_finish_over_a_hundred_streams() {
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 100)]).await;
    let mut calls = JoinSet::new();
    for n in 0..10_000u32 {
        let grpc = grpc.clone();
        calls.spawn(async move {
            let message = bytes::Bytes::copy_from_slice(&n.to_be_bytes());
            let codec = clearway::codec::BytesCodec;
            let response = grpc.unary(Request::new(message.clone()), PATH, codec).await.unwrap();
            assert_eq!(response.into_inner(), message);
        });
    }
    let server = async {
        let (mut open, mut peak) = (Vec::new(), 0);
        for _ in 0..10_000 {
            // Answers only when the client can open no more: then exactly the limit is open.
            while let Ok((id, _, body)) = tokio::time::timeout(Duration::from_millis(1), peer.request()).await
            {
                open.push((id, body));
                peak = peak.max(open.len());
                if open.len() == 100 {
                    break;
                }
            }
            for (id, body) in open.drain(..) {
                peer.credit(0, u32::try_from(body.len()).unwrap()).await;
                peer.answer(id, &body[5..]).await;
            }
            if calls.is_empty() {
                break;
            }
            while calls.try_join_next().is_some_and(|done| done.is_ok()) {}
        }
        peak
    };
    assert_eq!(server.await, 100);
    assert!(calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn calls_leave_the_queue_in_the_order_they_came() {
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let calls: Vec<_> = [b"1", b"2", b"3", b"4"].into_iter().map(|message| call(&grpc, message)).collect();
    for message in [b"1", b"2", b"3", b"4"] {
        let (id, _, body) = peer.request().await;
        assert_eq!(&body[5..], message);
        peer.answer(id, message).await;
    }
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_the_queue_when_a_stream_is_given_up() {
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let unary = |message: &'static [u8]| {
        let message = Request::new(bytes::Bytes::from_static(message));
        Box::pin(grpc.unary(message, PATH, clearway::codec::BytesCodec))
    };
    let (mut running, mut late) = (unary(b"running"), unary(b"late"));
    poll_once(running.as_mut()).await;
    let (id, ..) = peer.request().await;
    let early = call(&grpc, b"early");
    peer.expect_silence().await;
    // Both reach the connection in one batch.
    drop(running);
    poll_once(late.as_mut()).await;
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    let (id, _, body) = peer.request().await;
    assert_eq!(&body[5..], b"early");
    peer.answer(id, b"").await;
    assert!(early.await.unwrap().is_ok());
}

async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) {
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_waiting_calls_go() {
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 0)]).await;
    let answer = call(&grpc, b"");
    peer.expect_silence().await;
    peer.limit_streams(1).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_call_too_many_is_refused_by_the_limits_name() {
    let tune = |endpoint: clearway::transport::Endpoint| endpoint.max_queued_calls(3);
    let (grpc, mut peer) = connected_with(tune, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let _running = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    let waiting: Vec<_> = (0..3).map(|_| call(&grpc, b"")).collect();
    peer.expect_silence().await;
    let status = call(&grpc, b"").await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("max_queued_calls"), "{status}");
    let cause = status.transport().unwrap();
    assert_eq!(cause.event, TransportEvent::QueueFull { limit: 3 });
    assert_eq!(cause.processed, Processed::No);
    // A call that is given up makes room at once.
    waiting[0].abort();
    peer.expect_silence().await;
    let another = call(&grpc, b"");
    peer.expect_silence().await;
    assert!(!another.is_finished());
    peer.answer(id, b"").await;
    for _ in 0..3 {
        let (id, ..) = peer.request().await;
        peer.answer(id, b"").await;
    }
    assert!(another.await.unwrap().is_ok());
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_while_connecting_too() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.max_queued_calls(2).connect_lazy());
    let waiting: Vec<_> = (0..2).map(|_| call(&grpc, b"")).collect();
    let raw = arrivals.raw().await;
    let status = call(&grpc, b"").await.unwrap().unwrap_err();
    assert_eq!(status.transport().unwrap().event, TransportEvent::QueueFull { limit: 2 });
    let mut peer = crate::peer::Peer::shake_hands(raw, &[]).await;
    for _ in 0..2 {
        let (id, ..) = peer.request().await;
        peer.answer(id, b"").await;
    }
    for call in waiting {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_calls_given_up_in_the_queue_leave_nothing() {
    let tune = |endpoint: clearway::transport::Endpoint| endpoint.max_queued_calls(100);
    let (grpc, mut peer) = connected_with(tune, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let running = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    for _ in 0..1000 {
        let waiting: Vec<_> = (0..100).map(|_| call(&grpc, b"")).collect();
        tokio::task::yield_now().await;
        waiting.iter().for_each(|call| call.abort());
        for call in waiting {
            // None of them was refused for want of a place.
            assert!(call.await.unwrap_err().is_cancelled());
        }
    }
    peer.answer(id, b"").await;
    assert!(running.await.unwrap().is_ok());
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_in_the_queue_sends_its_messages_when_it_opens() {
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let first = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    let (feed, messages) = feed();
    let second = chat(&grpc, messages);
    feed.send("one".into()).unwrap();
    peer.expect_silence().await;
    peer.reset(id, ErrorCode::CANCEL).await;
    assert_eq!(first.await.unwrap().unwrap_err().code(), Code::Cancelled);
    let (id, _) = peer.head().await;
    let Frame::Data { octets, end: false, .. } = peer.next().await else { panic!("a message") };
    assert_eq!(&octets[5..], b"one");
    peer.trailers(id, &[(":status", "200"), ("grpc-status", "0")]).await;
    assert!(second.await.unwrap().is_ok());
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::NO_ERROR });
}
