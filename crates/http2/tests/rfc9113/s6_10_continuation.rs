//! RFC 9113 §6.10: CONTINUATION.

use std::time::Duration;

use clearway_http2::{Config, ErrorCode, Violation};
use clearway_testkit::{Peer, continuation, data, headers, ping, priority, unknown};

const REQUEST: [(&str, &str); 5] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a"),
    (":authority", "test"),
    ("x-long", "0123456789"),
];

/// A block may be cut anywhere, into fragments that may be empty.
#[test]
fn a_block_is_put_together_from_its_fragments() {
    let mut peer = Peer::of_server(Config::default());
    let block = peer.encode_block(&REQUEST);
    for (n, cut) in (0..=block.len()).enumerate() {
        let id = 2 * n as u32 + 1;
        // The first block inserts; sent again from there on it would insert again, so later ones come by index.
        let block = if n == 0 { block.clone() } else { peer.encode_block(&REQUEST) };
        let cut = cut.min(block.len());
        peer.send(headers(id).block(&block[..cut]).unfinished().end_stream());
        peer.send(continuation(id, b""));
        peer.send(continuation(id, &block[cut..]).end_headers());
    }
    assert_eq!(peer.app.requests(), block.len() + 1, "{:?}", peer.failure());
    peer.expect_silence();
}

/// "A receiver MUST treat the receipt of any other type of frame or a frame on a different stream as a connection error
/// of type PROTOCOL_ERROR."
#[test]
fn nothing_may_come_inside_a_block() {
    for frame in [
        data(1, b"x"),
        headers(3).block(&[0x82]),
        headers(1).block(&[0x82]),
        priority(1, 0),
        ping([0; 8]),
        unknown(0xbe, 1, b""),
        continuation(3, b"").end_headers(),
    ] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).block(&[0x82]).unfinished());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "CONTINUATION");
    }
}

/// "If the END_HEADERS flag is set, [...] a receiver MUST treat" a CONTINUATION as PROTOCOL_ERROR.
#[test]
fn continuation_needs_an_open_block() {
    for before in [headers(1).request(), ping([0; 8])] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(before);
        peer.drain();
        peer.send(continuation(1, b"").end_headers());
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "CONTINUATION");
    }
}

/// A block has ten seconds, however its octets drip.
#[test]
fn a_block_that_drips_is_cut_off() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).block(&[0x82]).unfinished());
    for _ in 0..4 {
        peer.advance(Duration::from_secs(2));
        peer.send(continuation(1, &[0x86]));
    }
    assert_eq!(peer.failure(), None);
    peer.advance(Duration::from_secs(2));
    assert_eq!(peer.failure().unwrap().violation, Violation::FieldBlockTimeout);
    peer.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "field block");
}
