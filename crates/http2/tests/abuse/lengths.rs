//! Lengths that lie, and frames where none may be. Nothing is set aside by a length before the octets are there.

use clearway_http2::frame::Kind;
use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, continuation, data, headers, ping, unknown};

/// The head of a frame of 2^24 - 1 octets, of every type.
#[test]
fn a_frame_longer_than_announced_ends_the_connection_at_its_head() {
    for kind in (0..=9).chain([0xbe]) {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.send_octets(&[0xff, 0xff, 0xff, kind, 0, 0, 0, 0, 1]);
        peer.expect_goaway(ErrorCode::FRAME_SIZE_ERROR, "SETTINGS_MAX_FRAME_SIZE");
    }
}

#[test]
fn lengths_of_fixed_frames_are_fixed() {
    for (kind, wrong, stream) in [
        (Kind::SETTINGS, 5, 0),
        (Kind::PING, 7, 0),
        (Kind::PING, 9, 0),
        (Kind::RST_STREAM, 3, 1),
        (Kind::WINDOW_UPDATE, 5, 1),
        (Kind::GOAWAY, 7, 0),
    ] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        let mut octets = vec![0, 0, wrong, kind.0, 0, 0, 0, 0, stream];
        octets.resize(9 + usize::from(wrong), 0);
        peer.send_octets(&octets);
        peer.expect_goaway(ErrorCode::FRAME_SIZE_ERROR, "length");
    }
}

#[test]
fn padding_fits_its_frame() {
    for kind in [0, 1] {
        for padding in [1, 2, 255] {
            let mut peer = Peer::of_server(Config::default());
            peer.send(headers(1).request());
            peer.send_octets(&[0, 0, 1, kind, 0x8 | 0x4, 0, 0, 0, 1, padding]);
            peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "padding");
        }
    }
}

#[test]
fn a_field_block_is_not_interrupted() {
    for frame in
        [data(1, b"x"), headers(3).request(), ping([0; 8]), continuation(3, b""), unknown(0xbe, 0, b"")]
    {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).block(&[0x83]).unfinished());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "expected CONTINUATION");
    }
}
