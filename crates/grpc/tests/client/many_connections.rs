//! Several connections to one address, when the server's stream limit is in the way; the end of the stream ids; and idle
//! connections.

use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::transport::{CallPhase, Channel, Endpoint, TransportEvent};
use clearway::{Code, Request};
use clearway_http2::{BlockedOn, Config, ErrorCode};
use tokio::task::JoinSet;

use crate::peer::{Arrivals, Frame, PATH, Peer, call, call_with, endpoint};

const MAX_CONCURRENT_STREAMS: u16 = 3;

/// A channel of at most `most` connections, and so many calls of it that wait for an answer.
fn crowd(endpoint: Endpoint, most: usize, calls: usize) -> (Channel, JoinSet<()>) {
    let channel = endpoint.max_connections_per_address(most).connect_lazy();
    let grpc = Grpc::new(channel.clone());
    let mut answers = JoinSet::new();
    for n in 0..calls {
        let grpc = grpc.clone();
        answers.spawn(async move {
            let message = Bytes::from(n.to_string());
            let answer = grpc.unary(Request::new(message.clone()), PATH, BytesCodec).await.unwrap();
            assert_eq!(answer.into_inner(), message);
        });
    }
    (channel, answers)
}

/// Takes requests of one connection, as long as it is not more than `limit` of them at once; answers each after `pause`.
async fn serve_slowly(mut peer: Peer, limit: usize, pause: Duration) -> usize {
    let mut served = 0;
    loop {
        let mut open = Vec::new();
        while let Ok((id, _, body)) = tokio::time::timeout(pause, peer.request()).await {
            open.push((id, body));
            assert!(open.len() <= limit, "{} streams at once on one connection", open.len());
        }
        if open.is_empty() {
            return served;
        }
        for (id, body) in open {
            peer.answer(id, &body[5..]).await;
            served += 1;
        }
    }
}

/// The limit counts for each connection: with one stream allowed and fifteen calls there are never two on one.
#[tokio::test(start_paused = true)]
async fn connections_are_added_up_to_the_cap_and_each_keeps_to_the_servers_limit() {
    for (limit, most) in [(1, 4), (2, 3), (3, 16)] {
        let (endpoint, mut arrivals) = endpoint();
        let (channel, mut calls) = crowd(endpoint, most, 15);
        let mut peers = Vec::new();
        while let Ok(raw) = tokio::time::timeout(Duration::from_millis(5), arrivals.raw()).await {
            peers.push(Peer::shake_hands(raw, &[(MAX_CONCURRENT_STREAMS, limit)]).await);
        }
        let limit = limit as usize;
        let needed = most.min(15_usize.div_ceil(limit));
        assert_eq!(peers.len(), needed, "limit {limit}, at most {most}");
        let stats = channel.stats();
        assert_eq!((stats.connections, stats.calls_waiting), (needed, 15 - limit * needed), "{stats}");
        let pause = Duration::from_millis(10);
        let served = peers.into_iter().map(|peer| tokio::spawn(serve_slowly(peer, limit, pause)));
        let mut shares = Vec::new();
        for peer in served.collect::<Vec<_>>() {
            shares.push(peer.await.unwrap());
        }
        assert_eq!(shares.iter().sum::<usize>(), 15);
        assert!(shares.iter().all(|share| share.abs_diff(15 / needed) <= limit), "not spread: {shares:?}");
        while let Some(done) = calls.join_next().await {
            done.unwrap();
        }
        assert_eq!(channel.stats().calls_waiting, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_connection_allowed_calls_wait_for_its_streams() {
    let (endpoint, mut arrivals) = endpoint();
    let (channel, mut calls) = crowd(endpoint, 1, 5);
    let peer = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    assert_eq!(serve_slowly(peer, 2, Duration::from_millis(1)).await, 5);
    assert!(arrivals.is_quiet());
    assert_eq!(channel.stats().connections, 1);
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}

/// Two connections with one stream each, both taken.
async fn both_taken() -> (Grpc, Arrivals, [Peer; 2], [u32; 2]) {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.max_connections_per_address(2).connect_lazy());
    drop((call(&grpc, b"a"), call(&grpc, b"b")));
    let mut first = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let (on_first, ..) = first.request().await;
    let mut second = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let (on_second, ..) = second.request().await;
    (grpc, arrivals, [first, second], [on_first, on_second])
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue_names_both_limits() {
    let (grpc, _arrivals, _peers, _) = both_taken().await;
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(20));
    let status = call_with(&grpc, request).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let Some(TransportEvent::DeadlineExceeded {
        phase: CallPhase::Queued, blocked_on: Some(blocked), ..
    }) = status.transport().map(|cause| cause.event.clone())
    else {
        panic!("{status}")
    };
    assert_eq!((blocked.on, blocked.allowed), (BlockedOn::StreamLimit, Some(1)));
    for text in ["allows 1 at once", "2 connections", "max_connections_per_address"] {
        assert!(status.message().contains(text), "{status}");
    }
}

/// A call, given up after so many turns.
async fn give_up_after(turns: u32, grpc: Grpc) {
    let mut given_up = Box::pin(grpc.unary(Request::new(Bytes::new()), PATH, BytesCodec));
    let mut turn = 0;
    poll_fn(|cx| {
        assert!(given_up.as_mut().poll(cx).is_pending());
        turn += 1;
        cx.waker().wake_by_ref();
        if turn > turns { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The first call that finds no stream asks for another connection. It may be given up before it is heard; the next one asks again.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_gets_a_connection_although_the_one_before_it_was_given_up() {
    for turns in 0..5 {
        let (endpoint, mut arrivals) = endpoint();
        let grpc = Grpc::new(endpoint.max_connections_per_address(2).connect_lazy());
        let _long = call(&grpc, b"long");
        let mut first = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
        first.request().await;
        // As a task of its own it takes turns with the connection's and the channel's.
        tokio::spawn(give_up_after(turns, grpc.clone())).await.unwrap();
        first.expect_silence().await;
        let waits = call(&grpc, b"waits");
        let soon = Duration::from_secs(1);
        let second = tokio::time::timeout(soon, arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)])).await;
        let mut second = second.expect("another connection, and not when the first one ends");
        let (id, ..) = second.request().await;
        second.answer(id, b"").await;
        assert!(waits.await.unwrap().is_ok());
    }
}

/// A call that waits goes to whichever connection has a stream first, and nobody keeps a stream that is not used.
#[tokio::test(start_paused = true)]
async fn waiting_calls_go_where_a_stream_becomes_free() {
    let (grpc, _arrivals, [mut first, mut second], [on_first, on_second]) = both_taken().await;
    let given_up = call(&grpc, b"given up");
    let waiting = [call(&grpc, b"1"), call(&grpc, b"2"), call(&grpc, b"3")];
    first.expect_silence().await;
    given_up.abort();
    for (peer, id) in [(&mut second, on_second), (&mut first, on_first)] {
        peer.answer(id, b"").await;
    }
    let (id, _, body) = second.request().await;
    assert_eq!(&body[5..], b"1");
    let (_, _, body) = first.request().await;
    assert_eq!(&body[5..], b"2");
    second.reset(id, ErrorCode::CANCEL).await;
    let (id, _, body) = second.request().await;
    assert_eq!(&body[5..], b"3");
    second.answer(id, b"").await;
    let [one, _two, three] = waiting;
    assert_eq!(one.await.unwrap().unwrap_err().code(), Code::Cancelled);
    assert!(three.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_is_used_and_a_lowered_one_is_kept() {
    let (grpc, _arrivals, [mut first, mut second], [on_first, _]) = both_taken().await;
    let waiting = [call(&grpc, b"1"), call(&grpc, b"2")];
    first.expect_silence().await;
    first.limit_streams(3).await;
    let mut ids = vec![on_first];
    for message in [b"1", b"2"] {
        let (id, _, body) = first.request().await;
        assert_eq!(&body[5..], message);
        ids.push(id);
    }
    first.limit_streams(1).await;
    first.expect_silence().await;
    let late = call(&grpc, b"3");
    first.answer(ids[0], b"").await;
    first.answer(ids[1], b"").await;
    first.expect_silence().await;
    second.expect_silence().await;
    first.answer(ids[2], b"").await;
    let (id, ..) = first.request().await;
    first.answer(id, b"").await;
    assert!(late.await.unwrap().is_ok());
    for call in waiting {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_goes_away_leaves_its_calls_to_the_others() {
    let (grpc, mut arrivals, [mut first, mut second], [on_first, on_second]) = both_taken().await;
    let waiting = call(&grpc, b"waiting");
    first.expect_silence().await;
    first.goaway(0x7fff_ffff, ErrorCode::NO_ERROR, "max_age").await;
    // A third takes its place, and the call that waits.
    let mut third = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let (id, _, body) = third.request().await;
    assert_eq!(&body[5..], b"waiting");
    third.answer(id, b"").await;
    assert!(waiting.await.unwrap().is_ok());
    first.answer(on_first, b"").await;
    assert_eq!(first.next().await, Frame::Closed, "what ran on it has ended");
    // Both others go away, one of them with a call: the channel begins anew.
    second.goaway(on_second, ErrorCode::NO_ERROR, "max_age").await;
    third.goaway(id, ErrorCode::NO_ERROR, "max_age").await;
    second.expect_silence().await;
    let after = call(&grpc, b"after");
    let mut fourth = arrivals.accept(&[]).await;
    let (id, ..) = fourth.request().await;
    fourth.answer(id, b"").await;
    assert!(after.await.unwrap().is_ok());
}

/// Another connection that cannot be made disturbs nobody: it is tried again after the back-off, while anybody waits.
#[tokio::test(start_paused = true)]
async fn another_connection_that_cannot_be_made_is_tried_again_later() {
    let (endpoint, mut arrivals) = endpoint();
    let (channel, mut calls) = crowd(endpoint.connect_timeout(Duration::from_secs(2)), 4, 3);
    let mut peer = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let (id, _, body) = peer.request().await;
    let silent = arrivals.raw().await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    drop((silent, arrivals.raw().await));
    peer.answer(id, &body[5..]).await;
    let (id, _, body) = peer.request().await;
    peer.answer(id, &body[5..]).await;
    let (id, _, body) = peer.request().await;
    peer.answer(id, &body[5..]).await;
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(channel.stats().connections, 1);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(arrivals.is_quiet(), "nobody waits any more");
}

/// RFC 9113 §5.1.1: the ids run out at 2^31 - 1. Long before that another connection takes the calls, and nobody notices.
#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_its_ids_run_out() {
    const RESERVE: u32 = 1 << 22;
    let first_stream_id = 0x7fff_ffff - 2 * (RESERVE + 3);
    let (endpoint, mut arrivals) = endpoint();
    let endpoint = endpoint.http2_config(Config { first_stream_id, ..Config::default() });
    let channel = endpoint.max_connections_per_address(1).connect_lazy();
    let grpc = Grpc::new(channel.clone());
    let mut calls: Vec<_> = (0..4).map(|_| call(&grpc, b"")).collect();
    let mut old = arrivals.accept(&[]).await;
    let mut held = Vec::new();
    for n in 0..4 {
        let (id, ..) = old.request().await;
        assert_eq!(id, first_stream_id + 2 * n);
        held.push(id);
    }
    // Until the other one is ready calls go on here.
    let raw = arrivals.raw().await;
    calls.push(call(&grpc, b"meanwhile"));
    let (id, ..) = old.request().await;
    held.push(id);
    let mut new = Peer::shake_hands(raw, &[]).await;
    new.expect_silence().await;
    let late = call(&grpc, b"late");
    let (id, ..) = new.request().await;
    new.answer(id, b"").await;
    assert!(late.await.unwrap().is_ok());
    assert_eq!(channel.stats().connections, 1);
    assert_eq!(old.next().await, Frame::GoAway);
    for id in held {
        old.answer(id, b"").await;
    }
    assert_eq!(old.next().await, Frame::Closed);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

/// And if they do run out, because no other connection could be made in time, the calls go to the next all the same.
#[tokio::test(start_paused = true)]
async fn no_call_fails_when_the_ids_have_run_out() {
    let (endpoint, mut arrivals) = endpoint();
    let first_stream_id = 0x7fff_ffff - 2;
    let grpc =
        Grpc::new(endpoint.http2_config(Config { first_stream_id, ..Config::default() }).connect_lazy());
    let mut calls: Vec<_> = (0..10).map(|_| call(&grpc, b"")).collect();
    for _ in 0..5 {
        let mut peer = arrivals.accept(&[]).await;
        for id in [first_stream_id, 0x7fff_ffff] {
            assert_eq!(peer.request().await.0, id);
            peer.answer(id, b"").await;
        }
    }
    for call in calls.drain(..) {
        assert!(call.await.unwrap().is_ok());
    }
}

/// gRPC's figure is 30 minutes; the next call finds its way.
#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_is_closed_after_the_idle_timeout() {
    let (endpoint, mut arrivals) = endpoint();
    let channel = endpoint.connect_lazy();
    let grpc = Grpc::new(channel.clone());
    let opened = crate::peer::listen(&grpc);
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.headers(id, &crate::peer::OK_HEAD, false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    // A call that runs is no idleness, however quiet it is.
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, peer.next()).await.is_err(), "nothing is said");
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert_eq!(stream.message().await.unwrap(), None);
    let began = tokio::time::Instant::now();
    assert_eq!(peer.next().await, Frame::GoAway);
    assert_eq!(began.elapsed().as_secs(), 1800);
    assert_eq!(peer.next().await, Frame::Closed);
    assert_eq!(channel.stats().connections, 0);
    assert!(arrivals.is_quiet());
    let after = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(after.await.unwrap().is_ok());
}

/// A call that comes in the very moment in which the connection says goodbye is not lost.
#[tokio::test(start_paused = true)]
async fn calls_that_race_with_the_idle_timeout_go_to_another_connection() {
    let (endpoint, mut arrivals) = endpoint();
    let timeout = Duration::from_secs(1);
    let grpc = Grpc::new(endpoint.idle_timeout(timeout).connect_lazy());
    tokio::spawn(async move {
        loop {
            let mut peer = arrivals.accept(&[]).await;
            tokio::spawn(async move {
                while let Frame::Headers { id, .. } = peer.next().await {
                    peer.next().await;
                    peer.answer(id, b"").await;
                }
            });
        }
    });
    for n in 0..200 {
        let answer = call(&grpc, b"").await.unwrap();
        assert!(answer.is_ok(), "{n}: {answer:?}");
        // Timers have a grain of a millisecond: before, at, and after it.
        tokio::time::sleep(timeout + Duration::from_millis(n % 5) - Duration::from_millis(2)).await;
    }
}
