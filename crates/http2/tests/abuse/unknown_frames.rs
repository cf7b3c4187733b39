//! Frames that must be ignored: unknown types, and GOAWAY again and again.

use std::time::Duration;

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, goaway, unknown};

#[test]
fn unknown_frames_without_end_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    let sent = crate::flood(&mut peer, 1_000_000, "glitches", |_| unknown(0xbe, 0, b""));
    assert_eq!(sent, 10_001);
}

#[test]
fn goaway_without_end_ends_the_connection() {
    let mut peer = Peer::of_client(Config::default());
    let sent = crate::flood(&mut peer, 1_000_000, "glitches", |_| goaway(0, ErrorCode::NO_ERROR));
    assert_eq!(sent, 10_001);
}

#[test]
fn a_few_hundred_a_second_are_ignored() {
    let mut peer = Peer::of_server(Config::default());
    for _ in 0..40_000 {
        peer.send(unknown(0x0c, 0, b"origin"));
        peer.advance(Duration::from_millis(4));
    }
    peer.expect_alive();
}
