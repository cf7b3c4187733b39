//! Stream ids that jump, come again, or run out. Nothing is kept by the size of an id.

use clearway_http2::{Config, ErrorCode, OpenError};
use clearway_testkit::{Answer, Peer, headers};

#[test]
fn the_last_id_is_served_and_no_other_follows() {
    for next in [1, 0x7fff_fffd, 0x7fff_ffff] {
        let mut peer = Peer::of_server(Config::default());
        peer.app.answer = Answer::Ok;
        peer.send(headers(0x7fff_ffff).request().end_stream());
        assert_eq!(peer.app.requests(), 1);
        peer.send(headers(next).request().end_stream());
        assert_eq!(peer.app.requests(), 1);
        let (code, text) = if next == 0x7fff_ffff {
            (ErrorCode::STREAM_CLOSED, "closed stream")
        } else {
            (ErrorCode::PROTOCOL_ERROR, "not increasing")
        };
        peer.expect_last_goaway(code, text);
    }
}

#[test]
fn ids_that_jump_cost_what_a_stream_costs() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    for n in 0..10_000 {
        peer.send(headers(200_000 * n + 1).request().end_stream());
        peer.drain();
    }
    assert_eq!(peer.app.requests(), 10_000);
    assert_eq!(peer.tx().stream_count(), 0);
    peer.expect_alive();
}

/// Only a peer that says so can use up ours; then calls go elsewhere, and are told.
#[test]
fn a_client_told_to_go_opens_nothing_more() {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.send(clearway_testkit::goaway(0, ErrorCode::NO_ERROR));
    let fields: [clearway_http2::hpack::HeaderField<'_>; 0] = [];
    assert_eq!(peer.tx().open(fields, true), Err(OpenError::GoingAway));
}
