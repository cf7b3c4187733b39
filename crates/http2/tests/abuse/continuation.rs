//! CVE-2024-27316 and its family: a field block that never ends.

use clearway_http2::Config;
use clearway_testkit::{Peer, continuation, headers};

/// The block's octets are bounded before anything is decoded.
#[test]
fn large_continuations_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).block(&[0x82]).unfinished());
    let sent = crate::flood(&mut peer, 10_000, "field_block_octets", |_| continuation(1, &[0x82; 16_384]));
    assert_eq!(sent, 4);
}

/// Their number is, too: empty ones cost nothing else.
#[test]
fn many_continuations_end_the_connection() {
    for fragment in [&b""[..], &[0x82]] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).block(&[0x82]).unfinished());
        let sent = crate::flood(&mut peer, 10_000, "limit: continuations", |_| continuation(1, fragment));
        assert_eq!(sent, 9);
    }
}

/// Eight of them are fine.
#[test]
fn a_long_block_within_the_limits_is_read() {
    let mut peer = Peer::of_server(Config::default());
    let value = "v".repeat(10_000);
    let block = peer.encode_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("x", &value),
    ]);
    let pieces: Vec<&[u8]> = block.chunks(block.len().div_ceil(9)).collect();
    peer.send(headers(1).block(pieces[0]).unfinished().end_stream());
    for piece in &pieces[1..8] {
        peer.send(continuation(1, piece));
    }
    peer.send(continuation(1, pieces[8]).end_headers());
    assert_eq!(peer.app.requests(), 1, "{:?}", peer.failure());
}
