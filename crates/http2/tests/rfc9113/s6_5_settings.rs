//! RFC 9113 §6.5: SETTINGS.

use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::SettingId;
use clearway_http2::{Config, ErrorCode, Violation};
use clearway_testkit::{Answer, FrameSpec, Peer, data, headers, rst_stream, settings, settings_ack};

/// §6.5.3: "the recipient MUST immediately emit a SETTINGS frame with the ACK flag set", in order with other output.
#[test]
fn settings_are_acknowledged_one_by_one() {
    let mut peer = Peer::of_server(Config::default());
    peer.send_all([settings(&[]), settings(&[(SettingId::ENABLE_PUSH, 0)])]);
    peer.expect(settings_ack());
    peer.expect(settings_ack());
    peer.expect_silence();
}

/// §6.5.2: values outside their range.
#[test]
fn illegal_values_end_the_connection() {
    let cases = [
        (SettingId::ENABLE_PUSH, 2, ErrorCode::PROTOCOL_ERROR),
        (SettingId::INITIAL_WINDOW_SIZE, 0x8000_0000, ErrorCode::FLOW_CONTROL_ERROR),
        (SettingId::MAX_FRAME_SIZE, 16_383, ErrorCode::PROTOCOL_ERROR),
        (SettingId::MAX_FRAME_SIZE, 0x100_0000, ErrorCode::PROTOCOL_ERROR),
        (SettingId::ENABLE_CONNECT_PROTOCOL, 2, ErrorCode::PROTOCOL_ERROR),
    ];
    for (id, value, code) in cases {
        let mut peer = Peer::of_server(Config::default());
        peer.send(settings(&[(id, value)]));
        peer.expect_goaway(code, &format!("SETTINGS_{id}"));
    }
    // "A client MUST treat receipt of a SETTINGS frame with SETTINGS_ENABLE_PUSH set to 1 as a connection error".
    let mut peer = Peer::of_client(Config::default());
    peer.send(settings(&[(SettingId::ENABLE_PUSH, 1)]));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "ENABLE_PUSH");
}

/// RFC 8441 §3: "A sender MUST NOT send a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with the value of 0 after
/// previously sending a value of 1."
#[test]
fn the_connect_protocol_cannot_be_taken_back() {
    let mut peer = Peer::of_client(Config::default());
    let id = SettingId::ENABLE_CONNECT_PROTOCOL;
    peer.send(settings(&[(id, 0), (id, 1)]));
    peer.expect(settings_ack());
    peer.send(settings(&[(id, 0)]));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "CONNECT_PROTOCOL");
}

/// §6.5.2: "An endpoint that receives a SETTINGS frame with any unknown or unsupported identifier MUST ignore that
/// setting"; §6.5.3: values are processed in the order they appear.
#[test]
fn unknown_settings_are_ignored_and_the_last_value_counts() {
    let mut peer = Peer::of_client(Config::default());
    let streams = SettingId::MAX_CONCURRENT_STREAMS;
    peer.send(settings(&[(SettingId(0xbeef), u32::MAX), (streams, 1), (streams, 7)]));
    peer.expect(settings_ack());
    assert_eq!(peer.tx().peer_settings().max_concurrent_streams, 7);
}

/// §6.5.3: "If the sender of a SETTINGS frame does not receive an acknowledgment within a reasonable amount of time, it
/// MAY issue a connection error of type SETTINGS_TIMEOUT."
#[test]
fn settings_must_be_acknowledged_in_time() {
    let mut peer = Peer::of_silent_server(Config::default());
    peer.send_octets(PREFACE);
    peer.send(settings(&[]));
    peer.drain();
    peer.advance(Duration::from_millis(9_999));
    peer.expect_silence();
    peer.advance(Duration::from_millis(1));
    peer.expect_goaway(ErrorCode::SETTINGS_TIMEOUT, "SETTINGS");
    // An acknowledgement stops the clock.
    let mut peer = Peer::of_server(Config::default());
    assert_eq!(peer.engine.next_timer(), None);
    peer.advance(Duration::from_secs(3600));
    peer.expect_alive();
}

#[test]
fn an_acknowledgement_without_settings_is_an_error() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(settings_ack());
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "SETTINGS ACK");
}

/// RFC 7541 §4.2: our lowered table limit binds the peer's encoder once it acknowledged, and not before.
#[test]
fn our_table_limit_counts_from_the_acknowledgement() {
    let mut peer = Peer::of_silent_server(Config { header_table_octets: 0, ..Config::default() });
    peer.send_octets(PREFACE);
    peer.send(settings(&[]));
    // The old limit still holds: this inserts, and the second one uses it.
    peer.send(headers(1).request().field("x", "y").end_stream());
    peer.send(headers(3).request().field("x", "y").end_stream());
    assert_eq!(peer.app.requests(), 2);
    peer.send(settings_ack());
    let block = [&[0x20][..], &[0x82, 0x86, 0x84]].concat();
    peer.send(headers(5).block(&block).end_stream());
    assert_eq!(peer.app.requests(), 3, "a size update to 0 opens the block: {:?}", peer.failure());
    peer.send(headers(7).block(&[0x3f, 0xe1, 0x1f, 0x82, 0x86, 0x84]).end_stream());
    peer.drain();
    assert_eq!(peer.failure().unwrap().violation, Violation::Compression);
}

/// RFC 7541 §4.2: the peer's lowered limit opens our next block with a size update; a smaller table is used.
#[test]
fn the_peers_table_limit_is_obeyed() {
    let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::HEADER_TABLE_SIZE, 0)]);
    peer.app.answer = Answer::Ok;
    // From here on its decoder demands a size update, and keeps no entry.
    peer.limit_our_table(0);
    for id in [1, 3, 5] {
        peer.send(headers(id).request().end_stream());
        peer.expect(headers(id).response().end_stream());
    }
}

/// §6.5.2: a frame of ours is never longer than the peer's SETTINGS_MAX_FRAME_SIZE.
#[test]
fn frames_are_cut_to_the_peers_size() {
    let mut peer = Peer::of_server_with(
        Config::default(),
        &[(SettingId::INITIAL_WINDOW_SIZE, 1 << 20), (SettingId::MAX_FRAME_SIZE, 16_384)],
    );
    peer.send(clearway_testkit::window_update(0, 1 << 20));
    peer.send(headers(1).request().end_stream());
    peer.respond(1, false);
    peer.write(1, &[7; 100_000], true);
    let frames = peer.drain();
    let sizes: Vec<usize> = frames.iter().skip(1).map(|frame| frame.octets().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 100_000);
    assert!(sizes.iter().all(|size| *size <= 16_384), "{sizes:?}");
    // Field blocks are cut into CONTINUATION frames.
    peer.send(headers(3).request().end_stream());
    let key = peer.app.key(3);
    let long = "v".repeat(50_000);
    let field = |name: &'static str, value| clearway_http2::hpack::HeaderField {
        name: name.as_bytes(),
        value,
        indexing: clearway_http2::hpack::Indexing::Without,
    };
    let fields = [field(":status", b"200"), field("x-long", long.as_bytes())];
    peer.tx().send_headers(key, fields, true).unwrap();
    peer.expect(headers(3).response().field("x-long", &long).end_stream());
}

/// §6.5.2, §10.5.1: a section larger than the peer wants is not sent; the program is told.
#[test]
fn the_peers_header_list_limit_is_obeyed() {
    let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::MAX_HEADER_LIST_SIZE, 100)]);
    peer.send(headers(1).request().end_stream());
    let key = peer.app.key(1);
    let field = |value| clearway_http2::hpack::HeaderField {
        name: b":status",
        value,
        indexing: clearway_http2::hpack::Indexing::Insert,
    };
    let verdict = peer.tx().send_headers(key, [field(&[b'2'; 62])], true);
    assert_eq!(verdict, Err(clearway_http2::SendError::HeaderListTooLarge { octets: 101, limit: 100 }));
    peer.expect_silence();
    peer.respond(1, true);
    peer.expect(headers(1).response().end_stream());
}

/// §6.5.3, §6.9.2: until the peer acknowledged a smaller initial window it may use the old one of 65,535 octets.
#[test]
fn a_smaller_window_of_ours_counts_from_the_acknowledgement() {
    let mut peer = Peer::of_silent_server(Config {
        stream_window_octets: 1000,
        max_frame_size: 30_000,
        ..Config::default()
    });
    peer.app.keeps_data = true;
    peer.send_octets(PREFACE);
    peer.send(settings(&[]));
    peer.send(headers(1).request());
    peer.send(data(1, &[0; 30_000]));
    peer.send(data(1, &[0; 30_000]));
    assert_eq!(peer.app.body(1).len(), 60_000, "{:?}", peer.app.reset(1));
    peer.send(settings_ack());
    peer.drain();
    // The stream's window is 1000 - 60,000 now, and with this credit it is 0.
    peer.release(1, 59_000);
    assert_eq!(peer.credit(1), 59_000);
    peer.send(data(1, b"x"));
    peer.expect(rst_stream(1, ErrorCode::FLOW_CONTROL_ERROR));
    // New streams have the new window.
    peer.send(headers(3).request());
    peer.send(data(3, &[0; 1001]));
    peer.expect(rst_stream(3, ErrorCode::FLOW_CONTROL_ERROR));
    peer.expect_alive();
}

/// What we announce is what the configuration says.
#[test]
fn the_announcement_is_the_configuration() {
    let config = Config {
        stream_window_octets: 100_000,
        max_frame_size: 20_000,
        header_table_octets: 1234,
        max_concurrent_streams: 77,
        ..Config::default()
    };
    let mut peer = Peer::of_silent_server(config.clone());
    peer.send_octets(PREFACE);
    let expected = [
        (SettingId::HEADER_TABLE_SIZE, 1234),
        (SettingId::MAX_CONCURRENT_STREAMS, 77),
        (SettingId::INITIAL_WINDOW_SIZE, 100_000),
        (SettingId::MAX_FRAME_SIZE, 20_000),
        (SettingId::MAX_HEADER_LIST_SIZE, 16 * 1024),
    ];
    peer.expect(settings(&expected));
    assert_eq!(
        peer.credit(0),
        1024 * 1024 - 65_535,
        "the connection's window can only be raised by WINDOW_UPDATE"
    );
    let mut peer = Peer::of_silent_client(config);
    let first: Option<FrameSpec> = peer.next_frame();
    let mut expected = expected;
    expected[1] = (SettingId::ENABLE_PUSH, 0);
    assert_eq!(first, Some(settings(&expected)));
}
