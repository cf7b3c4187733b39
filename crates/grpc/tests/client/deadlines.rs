//! Deadlines: sent, kept, and explained.

use std::time::Duration;

use bytes::Bytes;
use clearway::transport::{CallPhase, Processed, TransportEvent};
use clearway::{Code, Request, Status};
use clearway_http2::{BlockedOn, ErrorCode};
use tokio::time::{Instant, advance};

use crate::peer::{Frame, OK_HEAD, call, call_with, connected, connected_with, endpoint, framed, listen};

fn with_timeout(timeout: Duration) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    request.set_timeout(timeout);
    request
}

fn timeout_field(fields: &[(String, String)]) -> &str {
    &fields.iter().find(|field| field.0 == "grpc-timeout").expect("a grpc-timeout").1
}

/// Phase and what the stream waited for.
fn phase(status: &Status) -> (CallPhase, Option<BlockedOn>) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    match &status.transport().unwrap().event {
        TransportEvent::DeadlineExceeded { phase, blocked_on, .. } => {
            (*phase, blocked_on.map(|blocked| blocked.on))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_call_ends_here_and_cancels_there() {
    let (grpc, mut peer) = connected().await;
    let began = Instant::now();
    let answer = call_with(&grpc, with_timeout(Duration::from_secs(2)));
    let (id, fields, _) = peer.request().await;
    assert_eq!(timeout_field(&fields), "2000000u");
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(phase(&status), (CallPhase::AwaitingHeaders, Some(BlockedOn::Peer)));
    assert_eq!(status.transport().unwrap().processed, Processed::Maybe);
    assert!((2000..2010).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    peer.answer(id, b"too late").await;
    let next = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.answer(id, b"in time").await;
    assert!(next.await.unwrap().is_ok(), "the connection goes on");
}

#[tokio::test(start_paused = true)]
async fn a_stream_expires_in_the_middle() {
    let (endpoint, mut arrivals) = endpoint();
    let channel = endpoint.timeout(Duration::from_secs(1)).connect_lazy();
    let grpc = clearway::client::Grpc::new(channel);
    let call = listen(&grpc);
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"a"), false).await;
    let mut stream = call.await.unwrap().unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap(), "a");
    assert_eq!(phase(&stream.message().await.unwrap_err()).0, CallPhase::Streaming);
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
}

#[tokio::test(start_paused = true)]
async fn the_smaller_of_the_two_timeouts_counts() {
    for (own, channels, expected) in [(3, 2, "2000000u"), (2, 3, "2000000u")] {
        let tune = |endpoint: clearway::transport::Endpoint| endpoint.timeout(Duration::from_secs(channels));
        let (grpc, mut peer) = connected_with(tune, &[]).await;
        let _answer = call_with(&grpc, with_timeout(Duration::from_secs(own)));
        let (_, fields, _) = peer.request().await;
        assert_eq!(timeout_field(&fields), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_deadline_sends_nothing() {
    let (grpc, mut peer) = connected().await;
    let status = call_with(&grpc, with_timeout(Duration::ZERO)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.transport().unwrap().processed, Processed::No);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_spent_in_the_queue_is_not_sent() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let first = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    let second = call_with(&grpc, with_timeout(Duration::from_secs(10)));
    peer.expect_silence().await;
    advance(Duration::from_millis(5950)).await;
    peer.answer(id, b"").await;
    let (id, fields, _) = peer.request().await;
    assert_eq!(timeout_field(&fields), "4000000u", "10 s less the 6 s in the queue");
    peer.answer(id, b"").await;
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_expires_in_the_queue_was_never_sent() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let _first = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    let second = call_with(&grpc, with_timeout(Duration::from_secs(1)));
    let status = second.await.unwrap().unwrap_err();
    assert_eq!(phase(&status).0, CallPhase::Queued);
    assert_eq!(status.transport().unwrap().processed, Processed::No);
    peer.answer(id, b"").await;
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_connection_counts() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let answer = call_with(&grpc, with_timeout(Duration::from_secs(1)));
    let _silent = arrivals.raw().await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(phase(&status).0, CallPhase::Connecting);
    assert_eq!(status.transport().unwrap().processed, Processed::No);
}

#[tokio::test(start_paused = true)]
async fn a_peers_cancel_past_the_deadline_is_the_deadline() {
    let (grpc, mut peer) = connected().await;
    let answer = call_with(&grpc, with_timeout(Duration::from_secs(1)));
    let (id, ..) = peer.request().await;
    // The peer's reset is in the pipe when the client looks at its clock again.
    peer.reset(id, ErrorCode::CANCEL).await;
    advance(Duration::from_secs(2)).await;
    assert_eq!(phase(&answer.await.unwrap().unwrap_err()).0, CallPhase::AwaitingHeaders);
    let answer = call_with(&grpc, with_timeout(Duration::from_secs(1)));
    let (id, ..) = peer.request().await;
    peer.reset(id, ErrorCode::CANCEL).await;
    assert_eq!(answer.await.unwrap().unwrap_err().code(), Code::Cancelled, "before it, it is not");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_upload_says_what_it_waited_for() {
    let (grpc, mut peer) = connected().await;
    let mut request = Request::new(Bytes::from(vec![0; 200_000]));
    request.set_timeout(Duration::from_secs(1));
    let answer = call_with(&grpc, request);
    let _head = peer.head().await;
    let status = answer.await.unwrap().unwrap_err();
    // 65,535 octets are the window of the stream and of the connection.
    let (_, blocked_on) = phase(&status);
    assert!(
        matches!(blocked_on, Some(BlockedOn::StreamWindow | BlockedOn::ConnectionWindow)),
        "{blocked_on:?}"
    );
    assert!(status.message().contains("credit"), "{status}");
}
