//! RFC 9113 §4: frame format, frame size, and field section compression.

use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, Kind};
use clearway_http2::limits::Limits;
use clearway_http2::{Config, ErrorCode, Violation};
use clearway_testkit::{Answer, Peer, data, headers, ping, rst_stream, settings, unknown};

/// §4.1: "Implementations MUST ignore and discard frames of unknown types."
#[test]
fn unknown_frame_types_are_ignored() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(unknown(0xbe, 0, b"whatever"));
    peer.send(unknown(0xbe, 77, b""));
    peer.send(unknown(0x0a, 1, &[7; 16_384]));
    peer.expect_silence();
    peer.expect_alive();
}

/// §4.1: flags without a meaning for the type "MUST be ignored", and so must the reserved bit.
#[test]
fn unused_flags_and_the_reserved_bit_are_ignored() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(ping([1; 8]).flags(Flags(0xfe)));
    peer.expect(ping([1; 8]).flags(Flags::ACK));
    let mut octets = peer.encode(&ping([2; 8]));
    octets[5] |= 0x80;
    peer.send_octets(&octets);
    peer.expect(ping([2; 8]).flags(Flags::ACK));
}

/// §4.2: a frame larger than SETTINGS_MAX_FRAME_SIZE is a FRAME_SIZE_ERROR; one just as large is not.
#[test]
fn a_frame_may_be_as_long_as_we_announced_and_no_longer() {
    let config = || Config { max_frame_size: 20_000, ..Config::default() };
    let mut peer = Peer::of_server(config());
    peer.send(headers(1).request());
    peer.send(data(1, &[0; 20_000]));
    peer.expect_silence();
    peer.send(data(1, &[0; 20_001]));
    peer.expect_goaway(ErrorCode::FRAME_SIZE_ERROR, "SETTINGS_MAX_FRAME_SIZE");
    // The header alone is enough: nothing is kept for the rest.
    let mut peer = Peer::of_server(config());
    peer.send_octets(&[0xff, 0xff, 0xff, Kind::HEADERS.0, 0, 0, 0, 0, 1]);
    peer.expect_goaway(ErrorCode::FRAME_SIZE_ERROR, "SETTINGS_MAX_FRAME_SIZE");
}

/// §4.3: "A receiver MUST terminate the connection with a connection error of type COMPRESSION_ERROR if it does not
/// decompress a field block."
#[test]
fn a_block_that_cannot_be_decoded_ends_the_connection() {
    for block in
        [&[0x80][..], &[0xbe], &[0x40, 0x7f], &[0x82, 0x20], &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0]]
    {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).block(block).end_stream());
        peer.expect_goaway(ErrorCode::COMPRESSION_ERROR, "field block");
    }
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.drain();
    peer.send(headers(1).block(&[0x80]));
    peer.expect_goaway(ErrorCode::COMPRESSION_ERROR, "field block");
}

/// RFC 7541 §2.3: blocks of streams that are refused, malformed or reset still move the dynamic table. A block of each
/// kind inserts a field that the last request then names by its index.
#[test]
fn field_blocks_of_refused_and_reset_streams_are_decoded() {
    let config = Config { max_concurrent_streams: 1, ..Config::default() };
    let mut peer = Peer::of_server(config);
    peer.send(headers(1).request().field("x-first", "1"));
    // Refused: over the limit.
    peer.send(headers(3).request().field("x-refused", "2"));
    peer.expect(rst_stream(3, ErrorCode::REFUSED_STREAM));
    // Reset by us, its trailers in flight.
    let key = peer.app.key(1);
    peer.tx().reset(key, ErrorCode::CANCEL);
    peer.expect(rst_stream(1, ErrorCode::CANCEL));
    peer.send(headers(1).field("x-trailer", "3").end_stream());
    peer.expect_silence();
    // Malformed.
    peer.send(headers(5).request().field("X-Malformed", "4"));
    peer.expect(rst_stream(5, ErrorCode::PROTOCOL_ERROR));
    // All of them by index now.
    let fields = [("x-first", "1"), ("x-refused", "2"), ("x-trailer", "3")];
    let spec = headers(7).request().fields(&fields).end_stream();
    assert!(peer.encode(&spec).len() < 9 + 12, "the encoder uses its table");
    peer.send(spec.on(9));
    assert_eq!(peer.app.requests(), 2, "{:?}", peer.failure());
}

/// §4.3, §10.5.1: a section over the limit fails its stream, and is decoded to its end.
#[test]
fn a_section_over_the_limit_costs_one_stream_and_keeps_the_table() {
    let limits = Limits { header_list_octets: 400, ..Limits::default() };
    let mut peer = Peer::of_server(Config { limits, ..Config::default() });
    let large = "v".repeat(300);
    peer.send(headers(1).request().field("x-large", &large).field("x-after", "1").end_stream());
    peer.expect(headers(1).field(":status", "431").end_stream());
    assert!(matches!(peer.app.events[0], clearway_testkit::Event::OversizeRequest { id: 1, octets: 400.. }));
    peer.send(headers(3).request().field("x-after", "1").end_stream());
    assert_eq!(peer.app.requests(), 1);
    peer.expect_silence();
}

/// A frame begun must be finished within the peer's time.
#[test]
fn a_frame_that_never_ends_is_cut_off() {
    let mut peer = Peer::of_server(Config::default());
    let octets = peer.encode(&headers(1).request());
    peer.send_octets(&octets[..12]);
    for _ in 0..9 {
        peer.advance(Duration::from_secs(1));
        peer.send_octets(&octets[12..12]);
    }
    assert_eq!(peer.failure(), None);
    peer.advance(Duration::from_secs(1));
    assert_eq!(peer.failure().unwrap().violation, Violation::FieldBlockTimeout);
}

/// A busy connection whose reads never end with a frame is not a slow one.
#[test]
fn reads_that_end_inside_frames_are_no_reason_to_end_a_busy_connection() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    let mut octets = Vec::new();
    for n in 0..200 {
        octets.extend(peer.encode(&headers(2 * n + 1).request().end_stream()));
    }
    // Cut so that each read ends inside a frame header or a block, one read every 200 ms.
    let size = octets.len() / 200;
    let mut at = 5;
    peer.send_octets(&octets[..at]);
    while at < octets.len() {
        peer.advance(Duration::from_millis(200));
        let next = (at + size).min(octets.len());
        peer.send_octets(&octets[at..next]);
        at = next;
    }
    assert_eq!(peer.failure(), None);
    assert_eq!(peer.app.requests(), 200);
}

/// Every way to cut a dialogue in two gives the same result.
#[test]
fn frames_may_be_cut_anywhere() {
    let script = |peer: &mut Peer| {
        let mut octets = PREFACE.to_vec();
        for spec in [
            settings(&[]),
            headers(1).request(),
            data(1, b"hello").padded(3),
            data(1, b"").padded(0),
            data(1, b"").padded(4),
            data(1, b"world").end_stream(),
            ping([3; 8]),
            unknown(0x77, 1, b"abc"),
            headers(3).request().padded(7).depends_on(1).end_stream(),
            rst_stream(3, ErrorCode::CANCEL),
        ] {
            octets.extend(peer.encode(&spec));
        }
        octets
    };
    let mut reference = Peer::of_silent_server(Config::default());
    let octets = script(&mut reference);
    reference.send_octets(&octets);
    let answers = reference.drain();
    for cut in 0..octets.len() {
        let mut peer = Peer::of_silent_server(Config::default());
        peer.send_octets(&octets[..cut]);
        peer.send_octets(&octets[cut..]);
        assert_eq!(peer.drain(), answers, "cut at {cut}");
        assert_eq!(peer.app.body(1), b"helloworld", "cut at {cut}");
        assert_eq!(peer.failure(), None);
    }
}

/// A field block of one frame obeys the same limit as one of many.
#[test]
fn a_large_frame_does_not_get_around_the_block_limit() {
    let mut peer = Peer::of_server(Config { max_frame_size: 1 << 20, ..Config::default() });
    peer.send(headers(1).block(&vec![0x82; 64 * 1024 + 1]).end_stream());
    peer.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "field_block_octets");
}
