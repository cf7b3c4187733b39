//! RFC 9113 §6.1 to §6.9: lengths, padding, and which stream a frame belongs on.

use clearway_http2::frame::Flags;
use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{
    Peer, data, goaway, headers, ping, priority, rst_stream, settings, unknown, window_update,
};

/// Each type's frame "MUST be associated with a stream", or must not: PROTOCOL_ERROR on the connection.
#[test]
fn frames_belong_on_a_stream_or_on_the_connection() {
    for frame in [data(0, b"x"), headers(0).block(&[0x82]), priority(0, 1), rst_stream(0, ErrorCode::CANCEL)]
    {
        let mut peer = Peer::of_server(Config::default());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "must not be on stream 0");
    }
    for frame in [settings(&[]).on(1), ping([0; 8]).on(1), goaway(0, ErrorCode::NO_ERROR).on(1)] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "must be on stream 0");
    }
}

/// Lengths a type does not allow are FRAME_SIZE_ERROR on the connection.
#[test]
fn wrong_lengths_end_the_connection() {
    for frame in [
        unknown(3, 1, &[0; 3]), // RST_STREAM
        unknown(3, 1, &[0; 5]), //
        unknown(4, 0, &[0; 5]), // SETTINGS
        settings(&[]).flags(Flags::ACK).block(&[0; 6]),
        unknown(6, 0, &[0; 7]), // PING
        unknown(6, 0, &[0; 9]), //
        unknown(7, 0, &[0; 7]), // GOAWAY
        unknown(8, 0, &[0; 3]), // WINDOW_UPDATE
        unknown(8, 1, &[0; 5]), //
        unknown(1, 3, &[]).flags(Flags::PADDED),
        unknown(1, 3, &[0; 4]).flags(Flags::PRIORITY),
        unknown(0, 1, &[]).flags(Flags::PADDED),
    ] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::FRAME_SIZE_ERROR, "frame length");
    }
}

/// §6.3: "A PRIORITY frame with a length other than 5 octets MUST be treated as a stream error of type
/// FRAME_SIZE_ERROR."
#[test]
fn a_priority_frame_of_another_length_ends_its_stream() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(unknown(2, 1, &[0; 4]));
    peer.expect(rst_stream(1, ErrorCode::FRAME_SIZE_ERROR));
    peer.expect_alive();
    // RFC 7540 §5.3.1: a stream cannot depend on itself.
    peer.send(headers(3).request());
    peer.send(priority(3, 3));
    peer.expect(rst_stream(3, ErrorCode::PROTOCOL_ERROR));
    peer.send(headers(5).request().depends_on(5));
    peer.expect(rst_stream(5, ErrorCode::PROTOCOL_ERROR));
    assert_eq!(peer.app.requests(), 2);
    peer.send(headers(7).request().depends_on(3));
    assert_eq!(peer.app.requests(), 3);
}

/// §6.1, §6.2: padding as long as what is there or longer is "a connection error of type PROTOCOL_ERROR".
#[test]
fn padding_must_fit() {
    for frame in [
        unknown(0, 1, &[4, 0, 0, 0]).flags(Flags::PADDED),
        unknown(0, 1, &[1]).flags(Flags::PADDED),
        unknown(1, 3, &[4, 0x82, 0, 0]).flags(Flags::PADDED | Flags::END_HEADERS),
        // The padding would begin inside the priority fields.
        unknown(1, 3, &[3, 0, 0, 0, 0, 15, 0x82]).flags(Flags::PADDED | Flags::PRIORITY | Flags::END_HEADERS),
    ] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "padding");
    }
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request().padded(255));
    peer.send(data(1, b"content").padded(255));
    peer.send(data(1, b"").padded(9).end_stream());
    assert_eq!(peer.app.body(1), b"content");
    peer.expect_silence();
}

/// §6.9: an increment of 0 is "a stream error of type PROTOCOL_ERROR; errors on the connection flow-control window MUST
/// be treated as a connection error". The reserved bit does not count.
#[test]
fn a_zero_increment_is_an_error_of_its_scope() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(window_update(1, 0));
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    peer.expect_alive();
    peer.send(window_update(0, 0x8000_0000));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "increment 0");
}
