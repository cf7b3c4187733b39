//! CVE-2016-6581: small blocks that decode to a lot.

use clearway_http2::Config;
use clearway_testkit::{Event, Peer, headers};

/// One 4 KiB entry and thousands of references cost their stream; the next request is served.
#[test]
fn a_bomb_costs_its_stream_only() {
    let mut peer = Peer::of_server(Config::default());
    let mut block =
        peer.encode_block(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), ("x", "y")]);
    let entries = block.len();
    block.extend_from_slice(&[0x40, 1, b'b', 0x7f, 0xe1, 0x1c]);
    block.resize(block.len() + 0x7f + 0xe1 - 0x80 + (0x1c << 7), b'v');
    block.resize(entries + 16_000, 0xbe);
    peer.send(headers(1).block(&block).end_stream());
    assert!(
        matches!(peer.app.events[..], [Event::OversizeRequest { id: 1, octets: 40_000_000.. }]),
        "{:?}, {:?}",
        peer.app.events,
        peer.failure()
    );
    peer.expect(headers(1).field(":status", "431").end_stream());
    peer.send(headers(3).block(&[0x83, 0x86, 0x84]).end_stream());
    assert_eq!(peer.app.requests(), 1);
}
