//! Slow headers: an octet now and then holds nothing for longer than `peer_timeout`.

use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, continuation, headers, settings};

#[test]
fn a_block_has_ten_seconds_in_all() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).block(&[0x83]).unfinished());
    peer.advance(Duration::from_secs(9));
    peer.send(continuation(1, &[0x86]));
    peer.expect_silence();
    peer.advance(Duration::from_secs(1));
    peer.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "limit: peer_timeout");
}

/// The octets of one frame, too, wherever it is cut.
#[test]
fn a_frame_has_ten_seconds_in_all() {
    for cut in [1, 9, 12] {
        let mut peer = Peer::of_server(Config::default());
        let frame = headers(1).request();
        let octets = peer.encode(&frame);
        peer.send_octets(&octets[..cut]);
        for octet in &octets[cut..cut + 3] {
            peer.advance(Duration::from_secs(3));
            peer.send_octets(&[*octet]);
        }
        assert_eq!(peer.failure(), None);
        peer.advance(Duration::from_secs(2));
        peer.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "limit: peer_timeout");
    }
}

#[test]
fn the_preface_and_settings_have_ten_seconds() {
    let mut peer = Peer::of_silent_server(Config::default());
    for octet in &PREFACE[..9] {
        peer.send_octets(&[*octet]);
        peer.advance(Duration::from_secs(1));
    }
    assert_eq!(peer.failure(), None);
    peer.advance(Duration::from_secs(1));
    peer.expect_last_goaway(ErrorCode::PROTOCOL_ERROR, "limit: peer_timeout");
    // A preface, and SETTINGS that do not come, or that are not acknowledged.
    for says_settings in [false, true] {
        let mut peer = Peer::of_silent_server(Config::default());
        peer.send_octets(PREFACE);
        if says_settings {
            peer.send(settings(&[]));
        }
        peer.advance(Duration::from_secs(10));
        peer.expect_last_goaway(ErrorCode::SETTINGS_TIMEOUT, "limit: peer_timeout");
    }
}
