//! CVE-2019-9516: fields of nothing, which cost an entry each.

use clearway_http2::{Config, ErrorCode, Violation};
use clearway_testkit::{Event, Peer, headers, rst_stream};

/// 32 octets count for each, so four thousand are over the limit: the stream's affair.
#[test]
fn thousands_of_empty_fields_cost_their_stream() {
    let mut peer = Peer::of_server(Config::default());
    let mut block = peer.encode_block(&[(":method", "POST"), (":scheme", "http"), (":path", "/")]);
    block.extend([0, 0, 0].repeat(4_000));
    peer.send(headers(1).block(&block).end_stream());
    assert!(matches!(peer.app.events[..], [Event::OversizeRequest { id: 1, octets: 128_000.. }]));
    peer.expect(headers(1).field(":status", "431").end_stream());
    peer.expect_alive();
}

/// A single one is malformed: an empty name is no name.
#[test]
fn an_empty_name_is_malformed() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request().field("", "").end_stream());
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    assert_eq!(peer.app.requests(), 0);
    peer.send(headers(3).request());
    peer.send(headers(3).field("", "x").end_stream());
    peer.expect(rst_stream(3, ErrorCode::PROTOCOL_ERROR));
    assert_eq!(peer.app.reset(3).and_then(|reset| reset.violation), Some(Violation::BadFieldName));
    peer.expect_alive();
}
