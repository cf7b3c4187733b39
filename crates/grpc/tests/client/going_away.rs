//! The end of a connection: calls that never left go elsewhere, the others learn why.

use std::time::Duration;

use clearway::Code;
use clearway::transport::{CloseReason, Processed, TransportEvent};
use clearway_http2::ErrorCode;

use crate::peer::{Frame, OK_HEAD, call, chat, endpoint, feed, framed};

const MAX_CONCURRENT_STREAMS: u16 = 3;
const ALL: u32 = 0x7fff_ffff;

#[tokio::test(start_paused = true)]
async fn calls_under_way_finish_and_new_ones_go_to_another_connection() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let first = call(&grpc, b"first");
    let mut old = arrivals.accept(&[]).await;
    let (id, ..) = old.request().await;
    old.goaway(ALL, ErrorCode::NO_ERROR, "max_age").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(arrivals.is_quiet(), "nobody needs another connection yet");
    let second = call(&grpc, b"second");
    let mut new = arrivals.accept(&[]).await;
    let (on_new, _, body) = new.request().await;
    assert_eq!(&body[5..], b"second");
    new.answer(on_new, b"").await;
    assert!(second.await.unwrap().is_ok());
    old.answer(id, b"").await;
    assert!(first.await.unwrap().is_ok());
    assert_eq!(old.next().await, Frame::Closed, "the old connection is closed after its last call");
}

#[tokio::test(start_paused = true)]
async fn calls_in_the_queue_go_to_another_connection_in_order() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let first = call(&grpc, b"0");
    let mut old = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let (id, ..) = old.request().await;
    let (feed, messages) = feed();
    let queued = [call(&grpc, b"1"), call(&grpc, b"2"), call(&grpc, b"3")];
    old.expect_silence().await;
    let stream = chat(&grpc, messages);
    feed.send("4".into()).unwrap();
    old.expect_silence().await;
    old.goaway(ALL, ErrorCode::NO_ERROR, "").await;
    let mut new = arrivals.accept(&[]).await;
    for (message, call) in [b"1", b"2", b"3"].into_iter().zip(queued) {
        let (id, _, body) = new.request().await;
        assert_eq!(&body[5..], message);
        new.answer(id, b"").await;
        assert!(call.await.unwrap().is_ok());
    }
    let (on_new, _) = new.head().await;
    assert_eq!(new.next().await, Frame::Data { id: on_new, octets: framed(b"4"), end: false });
    new.headers(on_new, &OK_HEAD, false).await;
    assert!(stream.await.unwrap().is_ok());
    old.answer(id, b"").await;
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_the_server_did_not_look_at_is_sent_again_once() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let answer = call(&grpc, b"again");
    let mut old = arrivals.accept(&[]).await;
    let _ = old.request().await;
    old.goaway(0, ErrorCode::NO_ERROR, "").await;
    let mut new = arrivals.accept(&[]).await;
    let (id, _, body) = new.request().await;
    assert_eq!(&body[5..], b"again");
    new.answer(id, b"done").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "done");
}

/// Wherever the message was kept meanwhile: in the call, beside it to be copied, or beside it to be shared with the output.
#[tokio::test(start_paused = true)]
async fn a_refused_call_goes_again_with_the_same_message_whatever_its_size() {
    let octets: Vec<u8> = (0..251).cycle().take(5000).collect();
    let all: &'static [u8] = octets.leak();
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let mut calls = vec![];
    let mut peer = None;
    for length in [0, 1, 57, 58, 59, 60, 2043, 2044, 5000] {
        let message = &all[..length];
        calls.push(call(&grpc, message));
        let peer = match &mut peer {
            Some(peer) => peer,
            none => none.insert(arrivals.accept(&[]).await),
        };
        let (id, ..) = peer.request().await;
        peer.reset(id, ErrorCode::REFUSED_STREAM).await;
        let (id, _, body) = peer.request().await;
        assert_eq!(&body[5..], message, "{length} octets");
        peer.answer(id, b"done").await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().into_inner(), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_stands_and_says_that_nothing_was_processed() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    for _ in 0..2 {
        let (id, ..) = peer.request().await;
        peer.reset(id, ErrorCode::REFUSED_STREAM).await;
    }
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.transport().unwrap().processed, Processed::No);
    assert!(status.message().contains("REFUSED_STREAM"), "{status}");
    peer.expect_silence().await;
}

/// All that was sent by then, and then what follows.
#[tokio::test(start_paused = true)]
async fn a_refused_request_stream_is_sent_again_from_its_beginning() {
    for sent_before in [0, 1, 3] {
        let (endpoint, mut arrivals) = endpoint();
        let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
        let (feed, messages) = feed();
        let opened = chat(&grpc, messages);
        let mut old = arrivals.accept(&[]).await;
        let _ = old.head().await;
        let mut expected = Vec::new();
        for message in ["a", "bb", "ccc"].into_iter().take(sent_before) {
            feed.send(message.into()).unwrap();
            expected.extend(framed(message.as_bytes()));
            assert!(matches!(old.next().await, Frame::Data { end: false, .. }));
        }
        old.goaway(0, ErrorCode::NO_ERROR, "bye").await;
        let mut new = arrivals.accept(&[]).await;
        let (id, _) = new.head().await;
        feed.send("last".into()).unwrap();
        drop(feed);
        expected.extend(framed(b"last"));
        let (mut body, mut ended) = (Vec::new(), false);
        while !ended {
            let Frame::Data { octets, end, .. } = new.next().await else { panic!("want the request again") };
            body.extend(octets);
            ended = end;
        }
        assert_eq!(body, expected, "{sent_before} messages had been sent");
        new.headers(id, &OK_HEAD, false).await;
        assert!(opened.await.unwrap().is_ok());
    }
}

/// A refusal comes before the server looked at anything; more than about a window is not kept for it.
#[tokio::test(start_paused = true)]
async fn a_request_stream_that_was_not_kept_is_not_sent_again() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[(4, 1 << 20)]).await;
    let (id, _) = peer.head().await;
    peer.credit(0, 1 << 20).await;
    let mut seen = 0;
    for _ in 0..9 {
        feed.send(vec![7; 8192].into()).unwrap();
    }
    while seen < 9 * 8197 {
        let Frame::Data { octets, .. } = peer.next().await else { panic!("want the request") };
        seen += octets.len();
    }
    peer.reset(id, ErrorCode::REFUSED_STREAM).await;
    let status = opened.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.transport().unwrap().processed), (Code::Unavailable, Processed::No));
    feed.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_stream_refused_twice_fails_and_its_writer_ends() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut old = arrivals.accept(&[]).await;
    let _ = old.head().await;
    old.goaway(0, ErrorCode::NO_ERROR, "bye").await;
    let mut new = arrivals.accept(&[]).await;
    let _ = new.head().await;
    new.goaway(0, ErrorCode::NO_ERROR, "bye, too").await;
    let status = opened.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let cause = status.transport().unwrap();
    assert_eq!(cause.processed, Processed::No);
    let TransportEvent::GoAway { debug, last_stream_id: 0, .. } = &cause.event else { panic!("{cause:?}") };
    assert_eq!(debug, "bye, too");
    feed.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_the_response_began_is_not_retried() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.reset(id, ErrorCode::REFUSED_STREAM).await;
    assert_eq!(answer.await.unwrap().unwrap_err().code(), Code::Unavailable);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_unavailable_for_every_call_and_says_how() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let calls = [call(&grpc, b""), call(&grpc, b"")];
    let mut peer = arrivals.accept(&[]).await;
    for _ in 0..2 {
        peer.request().await;
    }
    drop(peer);
    for call in calls {
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let cause = status.transport().unwrap();
        assert_eq!(cause.event, TransportEvent::ConnectionClosed(CloseReason::PeerClosed));
        assert_eq!(cause.processed, Processed::Maybe);
        assert!(cause.connection.is_some());
    }
    let again = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(again.await.unwrap().is_ok(), "the channel connects again when it is needed");
}

#[tokio::test(start_paused = true)]
async fn a_goaway_with_an_error_explains_the_loss() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    peer.goaway(ALL, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings").await;
    drop(peer);
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for text in ["ENHANCE_YOUR_CALM", "too_many_pings"] {
        assert!(status.message().contains(text), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_is_lost_when_goaway_races_with_starts() {
    let (grpc, peer, mut arrivals) = {
        let (endpoint, mut arrivals) = endpoint();
        let grpc = clearway::client::Grpc::new(endpoint.connect_lazy());
        let nudge = call(&grpc, b"");
        let mut peer = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 10)]).await;
        let (id, ..) = peer.request().await;
        peer.answer(id, b"").await;
        nudge.await.unwrap().unwrap();
        (grpc, peer, arrivals)
    };
    // Each connection answers a few calls, says goodbye while more arrive, and is replaced.
    let server = tokio::spawn(async move {
        let mut peer = peer;
        for round in 0u64.. {
            let mut last = 0;
            for _ in 0..3 + round % 4 {
                let Ok((id, ..)) = tokio::time::timeout(Duration::from_secs(1), peer.request()).await else {
                    return round;
                };
                last = id;
                peer.answer(id, b"").await;
            }
            peer.goaway(last, ErrorCode::NO_ERROR, "").await;
            peer = arrivals.accept(&[(MAX_CONCURRENT_STREAMS, 10)]).await;
        }
        0
    });
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200u64 {
        let call = call(&grpc, b"");
        calls.spawn(async move { (n, call.await.unwrap()) });
        tokio::task::yield_now().await;
    }
    let (mut answered, mut refused_twice) = (0, 0);
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            (_, Ok(_)) => answered += 1,
            // Only a call that two connections in a row left out may fail, and it is safe to send again.
            (n, Err(status)) => {
                assert_eq!(status.transport().unwrap().processed, Processed::No, "{n}: {status}");
                refused_twice += 1;
            }
        }
    }
    assert_eq!(answered + refused_twice, 200);
    assert!(answered > 100, "{answered} answered");
    assert!(server.await.unwrap() > 10, "many connections were used");
}
