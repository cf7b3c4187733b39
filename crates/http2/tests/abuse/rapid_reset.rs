//! CVE-2023-44487: requests that are reset at once, so that they never count.

use std::time::Duration;

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Answer, Peer, headers, rst_stream};

/// HEADERS and RST_STREAM in one read, a thousand times, end the connection; no more handlers ever run than the limit
/// allows.
#[test]
fn requests_reset_in_the_same_read_end_the_connection() {
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 100, ..Config::default() });
    peer.app.keeps_slots = true;
    let mut pairs = 0;
    while peer.failure().is_none() {
        let id = 2 * pairs + 1;
        peer.send_all([headers(id).request().end_stream(), rst_stream(id, ErrorCode::CANCEL)]);
        assert!(peer.tx().stream_count() <= 100);
        pairs += 1;
        assert!(pairs < 50_000);
    }
    peer.expect_last_goaway(ErrorCode::ENHANCE_YOUR_CALM, "resets");
    assert!((1000..1100).contains(&pairs), "{pairs} pairs");
    assert_eq!(peer.app.requests(), 100, "then every slot was held");
}

/// Cancelling a call that is being worked on is ordinary, however often: it costs its slot until its handler has ended.
#[test]
fn cancelling_calls_that_do_work_is_free() {
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 100, ..Config::default() });
    peer.app.keeps_slots = true;
    for n in 0..5_000 {
        let id = 2 * n + 1;
        peer.send(headers(id).request().end_stream());
        peer.send(rst_stream(id, ErrorCode::CANCEL));
        let key = peer.app.key(id);
        peer.tx().free(key);
        peer.app.events.clear();
    }
    peer.expect_alive();
}

/// What a budget allows per second it allows for ever.
#[test]
fn a_few_resets_a_second_are_ordinary() {
    let mut peer = Peer::of_server(Config::default());
    for n in 0..10_000 {
        let id = 2 * n + 1;
        peer.send_all([headers(id).request().end_stream(), rst_stream(id, ErrorCode::CANCEL)]);
        peer.app.events.clear();
        peer.advance(Duration::from_millis(5));
    }
    peer.expect_alive();
}

/// Resets under a tenth of the streams that completed are free: a busy proxy has many.
#[test]
fn resets_beside_much_good_work_are_ordinary() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    for n in 0..40_000 {
        let id = 2 * n + 1;
        if n % 15 == 14 {
            peer.app.answer = Answer::Nothing;
            peer.send_all([headers(id).request().end_stream(), rst_stream(id, ErrorCode::CANCEL)]);
            peer.app.answer = Answer::Ok;
        } else {
            peer.send(headers(id).request().end_stream());
        }
        peer.app.events.clear();
        peer.drain();
    }
    peer.expect_alive();
}
