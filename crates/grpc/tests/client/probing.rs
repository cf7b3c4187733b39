//! The first call after a silence: it waits for a sign of life of the server, and goes elsewhere without one.

use std::time::Duration;

use clearway::client::Grpc;
use clearway::transport::{CallPhase, TransportEvent};
use clearway::{Code, Request};
use clearway_http2::ErrorCode;
use tokio::time::Instant;

use crate::keepalive::secs;
use crate::peer::{Arrivals, Frame, Peer, call, call_with, endpoint, listen};

/// A channel with defaults, and the connection that its first call made.
async fn used() -> (Grpc, Peer, Arrivals) {
    used_with(|endpoint| endpoint, &[]).await
}

async fn used_with(
    tune: impl FnOnce(clearway::transport::Endpoint) -> clearway::transport::Endpoint,
    settings: &[(u16, u32)],
) -> (Grpc, Peer, Arrivals) {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(tune(endpoint).connect_lazy());
    let first = call(&grpc, b"first");
    let mut peer = arrivals.accept(settings).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(first.await.unwrap().is_ok());
    (grpc, peer, arrivals)
}

/// The default, once: 30 s. The server answers, and the call goes out on the connection it has.
#[tokio::test(start_paused = true)]
async fn after_half_a_minute_a_call_waits_for_the_answer_to_a_ping() {
    let (grpc, mut peer, mut arrivals) = used().await;
    tokio::time::sleep(secs(30)).await;
    let answer = call(&grpc, b"second");
    let (id, _, body) = peer.request().await;
    assert_eq!((peer.pings.len(), id, &body[5..]), (1, 3, &b"second"[..]));
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
    assert!(arrivals.is_quiet());
}

/// The NAT forgot us, or the peer's machine is gone: after a second the call goes to a new connection, and its caller notices
/// nothing but the second. The old connection is closed, and the reason is in its last words.
#[tokio::test(start_paused = true)]
async fn without_an_answer_the_call_goes_to_a_new_connection() {
    let (grpc, mut forgotten, mut arrivals) = used().await;
    tokio::time::sleep(secs(30)).await;
    let began = Instant::now();
    let answer = call(&grpc, b"second");
    let mut new = arrivals.accept(&[]).await;
    assert_eq!(began.elapsed().as_millis(), 1000);
    let (id, _, body) = new.request().await;
    assert_eq!((new.pings.len(), id, &body[5..]), (0, 1, &b"second"[..]));
    new.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
    // What the old connection was sent meanwhile: the PING, and the end. Nothing of the call.
    assert_eq!(forgotten.next().await, Frame::GoAway);
    assert_eq!((forgotten.next().await, forgotten.pings.len()), (Frame::Closed, 1));
}

/// All that come meanwhile wait as well, and keep their order; those that are given up are not sent at all.
#[tokio::test(start_paused = true)]
async fn calls_that_come_meanwhile_wait_in_order() {
    for alive in [true, false] {
        let (grpc, peer, mut arrivals) = used().await;
        tokio::time::sleep(secs(31)).await;
        let mut calls = Vec::new();
        for message in [b"a", b"b", b"c", b"d"] {
            calls.push(call(&grpc, message));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        calls.remove(1).abort();
        let mut peer = if alive { peer } else { arrivals.accept(&[]).await };
        for (message, call) in [b"a", b"c", b"d"].into_iter().zip(calls) {
            let (id, _, body) = peer.request().await;
            assert_eq!(&body[5..], message, "alive: {alive}");
            peer.answer(id, b"").await;
            assert!(call.await.unwrap().is_ok());
        }
    }
}

/// A busy connection is never asked.
#[tokio::test(start_paused = true)]
async fn calls_every_29_seconds_bring_no_ping() {
    let (grpc, mut peer, _arrivals) = used().await;
    for _ in 0..100 {
        tokio::time::sleep(secs(29)).await;
        let answer = call(&grpc, b"again");
        let (id, ..) = peer.request().await;
        peer.answer(id, b"").await;
        assert!(answer.await.unwrap().is_ok());
    }
    assert_eq!(peer.pings, []);
}

/// With the knob off a call is sent at once, whatever the silence.
#[tokio::test(start_paused = true)]
async fn the_knob_turns_it_off_and_moves_it() {
    let (grpc, mut peer, _arrivals) = used_with(|endpoint| endpoint.probe_after_silence(None), &[]).await;
    tokio::time::sleep(secs(1000)).await;
    let _answer = call(&grpc, b"second");
    let _ = peer.request().await;
    assert_eq!(peer.pings, [], "keepalive's own PING follows the call");
    let tune = |endpoint: clearway::transport::Endpoint| endpoint.probe_after_silence(Some(secs(2)));
    let (grpc, mut peer, _arrivals) = used_with(tune, &[]).await;
    tokio::time::sleep(secs(2)).await;
    let _answer = call(&grpc, b"second");
    let _ = peer.request().await;
    assert_eq!(peer.pings.len(), 1);
}

/// The deadline is the call's own, also while it waits here; what it says is where it was.
#[tokio::test(start_paused = true)]
async fn a_deadline_may_pass_meanwhile() {
    let (grpc, mut peer, _arrivals) = used().await;
    tokio::time::sleep(secs(30)).await;
    let mut request = Request::new("short".into());
    request.set_timeout(Duration::from_millis(300));
    let status = call_with(&grpc, request).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let event = &status.transport().unwrap().event;
    assert!(matches!(event, TransportEvent::DeadlineExceeded { phase: CallPhase::Probing, .. }), "{event:?}");
    assert!(status.message().contains("sign of life"), "{}", status.message());
    let answer = call(&grpc, b"next");
    let (id, _, body) = peer.request().await;
    assert_eq!(&body[5..], b"next", "the one that was late is not sent");
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

/// A call that was open before the silence: it has keepalive's 20 s, and a server that was only slow can still answer it.
#[tokio::test(start_paused = true)]
async fn an_open_call_is_not_lost_to_a_slow_answer() {
    let (grpc, mut peer, mut arrivals) = used().await;
    let open = call(&grpc, b"open");
    let (id, ..) = peer.request().await;
    tokio::time::sleep(secs(40)).await;
    let next = call(&grpc, b"next");
    let mut new = arrivals.accept(&[]).await;
    let (on_new, ..) = new.request().await;
    new.answer(on_new, b"").await;
    assert!(next.await.unwrap().is_ok());
    tokio::time::sleep(secs(15)).await;
    peer.answer(id, b"").await;
    assert!(open.await.unwrap().is_ok());
    assert_eq!(peer.next().await, Frame::GoAway);
    assert_eq!(peer.next().await, Frame::Closed);
}

/// One that is really gone takes it along after 20 s.
#[tokio::test(start_paused = true)]
async fn an_open_call_of_a_dead_peer_ends_with_keepalives_timeout() {
    let (grpc, _peer, mut arrivals) = used().await;
    let mut open = listen(&grpc);
    tokio::time::sleep(secs(40)).await;
    let began = Instant::now();
    let next = call(&grpc, b"next");
    let mut new = arrivals.accept(&[]).await;
    let (on_new, ..) = new.request().await;
    new.answer(on_new, b"").await;
    assert!(next.await.unwrap().is_ok());
    let status = (&mut open).await.unwrap().unwrap_err();
    assert_eq!((status.code(), began.elapsed().as_secs()), (Code::Unavailable, 20));
    assert!(status.message().contains("keepalive expired"), "{}", status.message());
}

/// A server that never answers a call is asked twice and no more: a third PING for nothing could be one too many.
#[tokio::test(start_paused = true)]
async fn a_server_that_answers_no_call_is_asked_twice() {
    let (grpc, mut peer, mut arrivals) = used().await;
    for (call_no, pings) in [1, 2, 2, 2].into_iter().enumerate() {
        tokio::time::sleep(secs(60)).await;
        let given_up = call(&grpc, b"given up");
        let (id, ..) = peer.request().await;
        assert_eq!(peer.pings.len(), pings, "call {call_no}");
        given_up.abort();
        assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    }
    assert!(arrivals.is_quiet());
}

/// One request on each of two connections, before either is answered.
async fn both(peers: &mut [Peer; 2]) {
    let [one, other] = peers;
    let ((first, ..), (second, ..)) = (one.request().await, other.request().await);
    one.answer(first, b"").await;
    other.answer(second, b"").await;
}

/// Several connections to one address, whose streams are reserved by those who pick them: each is asked, and the reserved streams of
/// calls that were given up meanwhile are free again.
#[tokio::test(start_paused = true)]
async fn one_of_several_connections_is_asked_as_well() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.connect_lazy());
    let limit = [(MAX_CONCURRENT_STREAMS, 1)];
    let calls = [call(&grpc, b"a"), call(&grpc, b"b")];
    let mut peers = [arrivals.accept(&limit).await, arrivals.accept(&limit).await];
    both(&mut peers).await;
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    tokio::time::sleep(secs(60)).await;
    let given_up = [call(&grpc, b"x"), call(&grpc, b"y")];
    tokio::time::sleep(Duration::from_millis(100)).await;
    given_up.iter().for_each(tokio::task::JoinHandle::abort);
    for peer in &mut peers {
        peer.next_ping().await;
    }
    let calls = [call(&grpc, b"c"), call(&grpc, b"d")];
    both(&mut peers).await;
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    // Both are forgotten by a NAT: what waits for them goes to new ones.
    tokio::time::sleep(secs(60)).await;
    let calls = [call(&grpc, b"e"), call(&grpc, b"f")];
    let mut new = arrivals.accept(&[]).await;
    for _ in 0..2 {
        let (id, ..) = new.request().await;
        new.answer(id, b"").await;
    }
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}
