//! More after the trailers, or trailers that are none.

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, data, headers, rst_stream};

#[test]
fn trailers_end_their_stream_and_nothing_follows() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(headers(1).field("x", "1"));
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    for (id, late) in [(3, data(3, b"late")), (5, headers(5).field("x", "2").end_stream())] {
        peer.send(headers(id).request());
        peer.send(headers(id).field("x", "1").end_stream());
        peer.send(late);
        peer.expect(rst_stream(id, ErrorCode::STREAM_CLOSED));
    }
    peer.expect_alive();
}

/// As a flood each of them costs a reset, which has a budget.
#[test]
fn frames_after_the_end_draw_on_the_reset_budget() {
    let mut peer = Peer::of_server(Config::default());
    let mut rounds = 0;
    while peer.failure().is_none() {
        let id = 2 * rounds + 1;
        peer.send(headers(id).request().end_stream());
        peer.send(data(id, b"late"));
        rounds += 1;
        assert!(rounds < 50_000);
    }
    peer.expect_last_goaway(ErrorCode::ENHANCE_YOUR_CALM, "limit: resets");
    assert_eq!(rounds, 1_001);
}
