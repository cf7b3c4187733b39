//! Frames on streams that are closed: most may have been in flight, and none is free.

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Answer, Peer, data, headers, rst_stream};

/// One RST_STREAM may cross the end of each stream; a backend that answers as its clients give up sees thousands.
#[test]
fn one_reset_may_cross_the_end_of_each_stream() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    for round in 0..400 {
        for n in 0..100 {
            peer.send(headers(2 * (100 * round + n) + 1).request().end_stream());
        }
        for n in 0..100 {
            peer.send(rst_stream(2 * (100 * round + n) + 1, ErrorCode::CANCEL));
        }
        peer.drain();
        peer.app.events.clear();
    }
    peer.expect_alive();
}

#[test]
fn resets_of_a_closed_stream_without_end_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    let sent = crate::flood(&mut peer, 1_000_000, "glitches", |_| rst_stream(1, ErrorCode::CANCEL));
    assert!((10_000..10_010).contains(&sent), "{sent}");
}

/// Answers that come before the upload has ended leave DATA in flight, as much as the window holds, on every call.
#[test]
fn uploads_that_are_answered_early_are_ordinary() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    for n in 0..5_000 {
        let id = 2 * n + 1;
        peer.send(headers(id).request());
        peer.expect(headers(id).response().end_stream());
        peer.expect(rst_stream(id, ErrorCode::NO_ERROR));
        for _ in 0..4 {
            peer.send(data(id, &[0; 16_384]));
        }
        peer.app.events.clear();
    }
    peer.expect_alive();
}

/// The same when a thousand are answered at once, more than are remembered one by one.
#[test]
fn a_thousand_uploads_answered_at_once_are_ordinary() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    for n in 0..1_000 {
        peer.send(headers(2 * n + 1).request());
    }
    for _ in 0..4 {
        for n in 0..1_000 {
            peer.send(data(2 * n + 1, &[0; 16_384]));
        }
    }
    peer.drain();
    peer.expect_alive();
}

/// What was in flight when we reset a stream is ignored, not for ever.
#[test]
fn data_on_a_stream_we_reset_ends_the_connection_at_last() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    let key = peer.app.key(1);
    peer.tx().reset(key, ErrorCode::CANCEL);
    peer.drain();
    let sent = crate::flood(&mut peer, 1_000_000, "glitches", |_| data(1, b"x"));
    // The window twice and some, in frames of ten octets, and then the glitches.
    assert_eq!(sent, (2 * 65_536 + 16_384) / 10 + 10_001);
}

/// After its own reset a peer has nothing to say on a stream: each frame costs a reset of ours.
#[test]
fn data_after_the_peers_own_reset_ends_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(rst_stream(1, ErrorCode::CANCEL));
    let sent = crate::flood(&mut peer, 1_000_000, "resets", |_| data(1, b""));
    assert!((1000..1010).contains(&sent), "{sent}");
}

/// A thousand requests are answered early at once, and their trailers are on the way: more than are remembered one by one.
#[test]
fn late_trailers_of_many_streams_we_reset_are_ordinary() {
    let mut peer = Peer::of_server(Config::default());
    for n in 0..1_000 {
        peer.send(headers(2 * n + 1).request());
    }
    for n in 0..1_000 {
        let key = peer.app.key(2 * n + 1);
        peer.tx().reset(key, ErrorCode::CANCEL);
    }
    peer.drain();
    for n in 0..1_000 {
        peer.send(headers(2 * n + 1).field("x-checksum", "1").end_stream());
    }
    peer.expect_alive();
}

/// That is no way to open streams with ids that were skipped: they are ignored, and not for ever.
#[test]
fn headers_on_forgotten_streams_end_the_connection_at_last() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    let key = peer.app.key(1);
    peer.tx().reset(key, ErrorCode::CANCEL);
    peer.send(headers(1_000_001).request());
    peer.app.events.clear();
    let mut sent = 0;
    while peer.failure().is_none() {
        peer.send(headers(2 * sent + 3).request());
        sent += 1;
        assert!(sent < 100_000);
    }
    peer.expect_last_goaway(ErrorCode::PROTOCOL_ERROR, "not increasing");
    assert_eq!(peer.app.requests(), 0);
    assert!(sent < 20_000, "{sent}");
}
