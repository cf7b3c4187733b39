//! HPACK input that is made to hurt: integers without end (CVE-2023-33953), literals in fragments of an octet
//! (CVE-2022-41723), size updates, Huffman codes, and a table that is evicted by every field.

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Answer, Peer, continuation, headers};

#[track_caller]
fn undecodable(block: &[u8]) {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).block(block).end_stream());
    peer.expect_goaway(ErrorCode::COMPRESSION_ERROR, "cannot be decoded");
    assert_eq!(peer.app.requests(), 0);
}

#[test]
fn integers_have_an_end() {
    for block in [
        &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
        &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        &[0x80],
        &[0xff, 0x81, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x00, 0x01, b'a', 0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f],
        &[0x7f],
    ] {
        undecodable(block);
    }
}

#[test]
fn a_literal_in_fragments_of_an_octet_ends_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).block(&[0x00, 0x01, b'a', 0x7f, 0x81, 0xff, 0x3f]).unfinished());
    let sent = crate::flood(&mut peer, 1 << 20, "limit: continuations", |_| continuation(1, b"v"));
    assert_eq!(sent, 9);
}

#[test]
fn size_updates_have_their_place_and_number() {
    let request = [0x83, 0x86, 0x84];
    undecodable(&[&[0x3f, 0xe2, 0x1f], &request[..]].concat());
    undecodable(&[&request[..], &[0x20]].concat());
    undecodable(&[&[0x20, 0x21, 0x22], &request[..]].concat());
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).block(&[&[0x20, 0x3f, 0xe1, 0x1f], &request[..]].concat()).end_stream());
    assert_eq!(peer.app.requests(), 1, "two are fine, up to what was announced");
}

#[test]
fn huffman_codes_end_as_they_must() {
    for value in [&[0x1f, 0xff, 0xff, 0xff, 0xff][..], &[0x1f, 0xff], &[0x18], &[0xff, 0xff, 0xff, 0xff]] {
        undecodable(&[&[0x00, 0x01, b'a', 0x80 | value.len() as u8], value].concat());
    }
}

/// Every field evicts the whole table: that is the peer's loss. What it costs us is what the field itself does.
#[test]
fn eviction_storms_are_served() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    let request = peer.encode_block(&[(":method", "POST"), (":scheme", "http"), (":path", "/")]);
    for n in 0..5_000u32 {
        let value = format!("{n:04057}");
        let mut block = request.clone();
        block.extend([0x40, 1, b'e', 0x7f, 0xda, 0x1e]);
        block.extend(value.as_bytes());
        peer.send(headers(2 * n + 1).block(&block).end_stream());
        assert_eq!(peer.failure(), None, "{n}");
        peer.drain();
    }
    assert_eq!(peer.app.requests(), 5_000);
    peer.expect_alive();
}
