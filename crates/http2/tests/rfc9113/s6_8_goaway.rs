//! RFC 9113 §6.8: GOAWAY, sent and received.

use std::time::Duration;

use clearway_http2::frame::{Flags, Kind, SettingId};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{By, Config, ErrorCode, OpenError, Reset};
use clearway_testkit::{
    Answer, Event, FrameSpec, Peer, data, goaway, headers, ping, rst_stream, window_update,
};

const GET: [HeaderField<'static>; 1] =
    [HeaderField { name: b":method", value: b"GET", indexing: Indexing::Insert }];
const MAX: u32 = 0x7fff_ffff;

/// A GOAWAY without error.
pub(crate) fn farewell(last: u32, debug: &str) -> FrameSpec {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend_from_slice(&ErrorCode::NO_ERROR.0.to_be_bytes());
    payload.extend_from_slice(debug.as_bytes());
    goaway(last, ErrorCode::NO_ERROR).block(&payload)
}

/// "A server that is attempting to gracefully shut down a connection SHOULD send an initial GOAWAY frame with the last
/// stream identifier set to 2^31-1 and a NO_ERROR code", and the real one a round trip later.
#[test]
fn a_server_goes_away_in_two_steps() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.tx().shutdown();
    peer.tx().shutdown();
    let first = peer.expect_kind(Kind::GOAWAY);
    assert_eq!(first.octets()[..8], goaway(MAX, ErrorCode::NO_ERROR).octets()[..8]);
    let challenge = peer.expect_kind(Kind::PING);
    // A stream that was in flight gets in.
    peer.send(headers(3).request().end_stream());
    assert_eq!(peer.app.requests(), 2);
    peer.send(challenge.flags(Flags::ACK));
    peer.expect(farewell(3, "graceful shutdown"));
    assert!(!peer.app.events.iter().any(|event| matches!(event, Event::Pong(_))), "the program did not ask");
    // Later ones are ignored, whatever comes on them; their field blocks count.
    peer.send_all([
        headers(5).request().field("x", "y"),
        data(5, b"body"),
        window_update(5, 1),
        data(5, b"").end_stream(),
        rst_stream(5, ErrorCode::CANCEL),
    ]);
    peer.expect_silence();
    assert_eq!(peer.app.requests(), 2);
    // What was admitted goes on to its end.
    peer.send(data(1, b"more").end_stream());
    peer.respond(3, true);
    assert!(!peer.engine.is_finished());
    peer.respond(1, true);
    peer.expect(headers(3).response().end_stream());
    peer.expect(headers(1).response().end_stream());
    assert!(peer.engine.is_finished());
}

/// The second step does not wait for ever: a second for a peer that is near, as one that acknowledged our SETTINGS at once.
#[test]
fn the_second_step_comes_without_an_answer_too() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.tx().shutdown();
    peer.drain();
    peer.advance(Duration::from_millis(999));
    peer.expect_silence();
    peer.advance(Duration::from_millis(1));
    peer.expect(farewell(1, "graceful shutdown"));
    assert_eq!(peer.engine.next_timer(), None);
    // The answer that comes after all is not the program's business (found by simulation, seed 1009).
    peer.send(ping(*b"clearway").flags(Flags::ACK));
    assert!(!peer.app.events.iter().any(|event| matches!(event, Event::Pong(_))), "the program did not ask");
}

/// "Endpoints MUST NOT increase the value they send in the last stream identifier": not even by a later error.
#[test]
fn a_failure_after_the_final_goaway_does_not_raise_its_id() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.tx().shutdown();
    peer.expect_kind(Kind::GOAWAY);
    let challenge = peer.expect_kind(Kind::PING);
    peer.send(challenge.flags(Flags::ACK));
    peer.expect(farewell(1, "graceful shutdown"));
    peer.send(headers(9).request());
    peer.send(ping([0; 8]).on(1));
    let last = peer.expect_kind(Kind::GOAWAY);
    assert_eq!(last.octets()[..4], 1u32.to_be_bytes());
}

/// A connection error names the last stream that was taken.
#[test]
fn an_error_names_the_last_stream() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(7).request());
    peer.send(ping([0; 8]).on(1));
    let last = peer.expect_kind(Kind::GOAWAY);
    assert_eq!(last.octets()[..8], goaway(7, ErrorCode::PROTOCOL_ERROR).octets()[..8]);
    assert!(peer.engine.is_finished());
}

/// "Receivers of a GOAWAY frame MUST NOT open additional streams on the connection"; streams above the last id "will not
/// be processed" and are reported as such.
#[test]
fn a_client_opens_nothing_more_and_learns_what_was_not_processed() {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.open(true);
    peer.open(true);
    peer.drain();
    peer.send(goaway(3, ErrorCode::NO_ERROR).block(b"\0\0\0\x03\0\0\0\0max_age"));
    let unprocessed = Reset { code: ErrorCode::REFUSED_STREAM, by: By::Peer, violation: None };
    assert_eq!(
        peer.app.events,
        [
            Event::GoAway { last_stream_id: 3, code: ErrorCode::NO_ERROR, debug: "max_age".into() },
            Event::Reset { id: 5, reset: unprocessed }
        ]
    );
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::GoingAway));
    assert_eq!(peer.engine.peer_goaway().unwrap().debug, b"max_age");
    peer.expect_silence();
    // The others go on.
    peer.send(headers(1).response().end_stream());
    assert!(!peer.engine.is_finished());
    // A second GOAWAY may lower the id ...
    peer.send(goaway(1, ErrorCode::NO_ERROR));
    assert_eq!(peer.app.reset(3), Some(unprocessed));
    assert!(peer.engine.is_finished());
    // ... and must not raise it.
    peer.send(goaway(3, ErrorCode::NO_ERROR));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "raised");
}

/// A client ends gracefully, too: it opens nothing more and what runs goes on.
#[test]
fn a_client_goes_away_when_its_streams_are_done() {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.tx().shutdown();
    peer.expect(headers(1).request().end_stream());
    peer.expect(farewell(0, "graceful shutdown"));
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::GoingAway));
    assert!(!peer.engine.is_finished());
    peer.send(headers(1).response().end_stream());
    assert!(peer.engine.is_finished());
}

/// A client's GOAWAY says that it refuses pushes; its requests go on.
#[test]
fn a_server_goes_on_after_a_clients_goaway() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    peer.send(goaway(0, ErrorCode::NO_ERROR));
    peer.send(headers(1).request().end_stream());
    peer.expect(headers(1).response().end_stream());
    assert!(!peer.engine.is_finished());
}

/// §5.4.1: after the GOAWAY of a connection error the connection is closed; what waited on streams does not follow it. Found
/// by the fuzz targets `connection_server` and `connection_client`.
#[test]
fn nothing_follows_the_goaway_of_a_failed_connection() {
    let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::INITIAL_WINDOW_SIZE, 0)]);
    peer.send(headers(1).request());
    peer.respond(1, false);
    peer.write(1, &[7; 100], false);
    peer.expect(headers(1).response());
    peer.send_all([window_update(1, 100), ping([0; 8]).on(1)]);
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "frame must be on stream 0");
    assert_eq!(peer.drain(), []);
    // Nor does what is submitted now.
    peer.write(1, &[7; 20_000], false);
    assert_eq!(peer.drain(), []);
}
