//! RFC 9113 §5.1: stream states, identifiers, concurrency.

use clearway_http2::frame::{Kind, SettingId};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{By, Config, ErrorCode, OpenError, Reset, SendError, Violation};
use clearway_testkit::{
    Answer, Event, FrameSpec, Peer, data, headers, priority, push_promise, rst_stream, settings,
    settings_ack, window_update,
};

const GET: [HeaderField<'static>; 1] =
    [HeaderField { name: b":method", value: b"GET", indexing: Indexing::Insert }];

/// idle: "Receiving any frame other than HEADERS or PRIORITY on a stream in this state MUST be treated as a connection
/// error of type PROTOCOL_ERROR."
#[test]
fn frames_on_an_idle_stream_end_the_connection() {
    for frame in [
        data(1, b"x"),
        data(1, b"").end_stream(),
        rst_stream(1, ErrorCode::CANCEL),
        window_update(1, 1),
        data(2, b"x"),
        window_update(2, 1),
    ] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "idle stream");
    }
    for frame in [data(1, b"x"), rst_stream(1, ErrorCode::CANCEL), headers(1).response()] {
        let mut peer = Peer::of_client(Config::default());
        peer.send(frame);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "idle stream");
    }
}

/// idle: PRIORITY may come for any stream.
#[test]
fn priority_may_come_on_an_idle_stream() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(priority(9, 0));
    peer.expect_silence();
    peer.send(headers(1).request().end_stream());
    assert_eq!(peer.app.requests(), 1, "PRIORITY opens nothing and closes nothing");
}

/// half-closed (remote): "If an endpoint receives additional frames, other than WINDOW_UPDATE, PRIORITY, or RST_STREAM,
/// for a stream that is in this state, it MUST respond with a stream error of type STREAM_CLOSED."
#[test]
fn data_and_headers_after_end_stream_end_the_stream() {
    for frame in [data(1, b"x"), data(1, b"").end_stream(), headers(1).field("x", "y").end_stream()] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request().end_stream());
        peer.send(frame);
        peer.expect(rst_stream(1, ErrorCode::STREAM_CLOSED));
        let violation = Some(Violation::FrameAfterEndStream);
        assert_eq!(peer.app.reset(1), Some(Reset { code: ErrorCode::STREAM_CLOSED, by: By::Us, violation }));
        peer.expect_alive();
    }
}

/// half-closed (remote): the other three are fine.
#[test]
fn credit_priority_and_reset_may_come_after_end_stream() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request().end_stream());
    peer.send(window_update(1, 5));
    peer.send(priority(1, 0));
    peer.expect_silence();
    peer.send(rst_stream(1, ErrorCode::CANCEL));
    assert_eq!(peer.app.reset(1), Some(Reset { code: ErrorCode::CANCEL, by: By::Peer, violation: None }));
    // "an endpoint MUST NOT send RST_STREAM in response to RST_STREAM" (§5.4.2).
    peer.expect_silence();
}

/// closed: frames after both sides sent END_STREAM are "a connection error of type STREAM_CLOSED", except those that
/// may have been in flight.
#[test]
fn frames_on_a_stream_both_sides_ended() {
    let ended = || {
        let mut peer = Peer::of_server(Config::default());
        peer.app.answer = Answer::Ok;
        peer.send(headers(1).request().end_stream());
        peer.expect(headers(1).response().end_stream());
        peer
    };
    for frame in [data(1, b"x"), headers(1).field("x", "y").end_stream()] {
        let mut peer = ended();
        peer.send(frame);
        peer.expect_goaway(ErrorCode::STREAM_CLOSED, "closed stream");
    }
    let mut peer = ended();
    peer.send(window_update(1, 1));
    peer.send(priority(1, 0));
    peer.send(rst_stream(1, ErrorCode::CANCEL));
    peer.expect_silence();
}

/// closed: "An endpoint that sends RST_STREAM [...] MUST ignore frames that it receives on closed streams after it has
/// sent a RST_STREAM frame" while they may be in flight; their connection credit comes back (§6.9).
#[test]
fn frames_in_flight_after_our_reset_are_ignored_and_credited() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    let key = peer.app.key(1);
    peer.tx().reset(key, ErrorCode::CANCEL);
    peer.expect(rst_stream(1, ErrorCode::CANCEL));
    peer.credit(0);
    for _ in 0..40 {
        peer.send(data(1, &[0; 16_000]).padded(10));
    }
    peer.send(headers(1).field("grpc-status", "0").end_stream());
    peer.send(window_update(1, 1));
    peer.send(rst_stream(1, ErrorCode::CANCEL));
    let credit = peer.credit(0);
    assert!(credit >= 512 * 1024, "{credit} octets came back");
    peer.expect_silence();
    assert_eq!(peer.app.reset(1), None, "the program asked for it and is not told");
}

/// closed: what a peer sends on a stream it has reset itself is a stream error of type STREAM_CLOSED.
#[test]
fn frames_after_the_peers_own_reset() {
    for frame in [data(1, b"x"), headers(1).field("x", "y").end_stream()] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.send(rst_stream(1, ErrorCode::CANCEL));
        peer.expect_silence();
        peer.send(frame);
        peer.expect(rst_stream(1, ErrorCode::STREAM_CLOSED));
        peer.expect_alive();
    }
}

/// §5.1.1: "The identifier of a newly established stream MUST be numerically greater than all streams that the
/// initiating endpoint has opened or reserved"; ids of clients are odd.
#[test]
fn stream_ids_grow_and_are_odd() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(5).request());
    peer.send(headers(3).request());
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "not increasing");
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(2).request());
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "parity");
    let mut peer = Peer::of_client(Config::default());
    peer.send(headers(2).response());
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "parity");
}

/// §5.1.1: "The first use of a new stream identifier implicitly closes all streams in the idle state [...] with a lower
/// valued stream identifier": they are closed, not idle.
#[test]
fn skipped_ids_are_closed() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(0x7fff_ffff).request().end_stream());
    assert_eq!(peer.app.requests(), 1);
    peer.send(rst_stream(9, ErrorCode::CANCEL));
    peer.send(window_update(9, 1));
    peer.expect_silence();
    peer.send(data(9, b"x"));
    peer.expect(rst_stream(9, ErrorCode::STREAM_CLOSED));
    peer.expect_alive();
}

/// §5.1.1: a client whose ids are used up is told so.
#[test]
fn push_promise_is_a_connection_error() {
    // §8.4: we announce SETTINGS_ENABLE_PUSH = 0; and a client cannot push at all.
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.drain();
    peer.send(push_promise(1, 2));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "PUSH_PROMISE");
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(push_promise(1, 2));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "PUSH_PROMISE");
}

/// §5.1.2: "An endpoint that receives a HEADERS frame that causes its advertised concurrent stream limit to be exceeded
/// MUST treat this as a stream error of type PROTOCOL_ERROR or REFUSED_STREAM": ours is the one that is safe to retry.
#[test]
fn a_stream_over_the_limit_is_refused() {
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 2, ..Config::default() });
    for id in [1, 3, 5] {
        peer.send(headers(id).request().end_stream());
    }
    peer.expect(rst_stream(5, ErrorCode::REFUSED_STREAM));
    assert_eq!(peer.app.requests(), 2);
    peer.respond(1, true);
    peer.expect(headers(1).response().end_stream());
    peer.send(headers(7).request().end_stream());
    assert_eq!(peer.app.requests(), 3);
    // What was in flight on the refused stream is ignored.
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 0, ..Config::default() });
    peer.send_all([headers(1).request(), data(1, b"x"), data(1, b"").end_stream()]);
    peer.expect(rst_stream(1, ErrorCode::REFUSED_STREAM));
    peer.expect_silence();
}

/// CVE-2023-44487: a stream that was reset while its handler runs keeps its slot until the handler has ended.
#[test]
fn a_reset_stream_keeps_its_slot_until_its_handler_has_ended() {
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 1, ..Config::default() });
    peer.app.keeps_slots = true;
    peer.send(headers(1).request());
    peer.send(rst_stream(1, ErrorCode::CANCEL));
    assert_eq!(peer.tx().stream_count(), 1);
    peer.send(headers(3).request());
    peer.expect(rst_stream(3, ErrorCode::REFUSED_STREAM));
    let key = peer.app.key(1);
    assert_eq!(peer.tx().send_headers(key, GET, true), Err(SendError::StreamGone));
    peer.tx().free(key);
    peer.tx().free(key);
    assert_eq!(peer.tx().stream_count(), 0);
    peer.send(headers(5).request());
    peer.expect_silence();
    // The same when the program resets and still works.
    let key = peer.app.key(5);
    peer.tx().reset_and_hold(key, ErrorCode::CANCEL);
    peer.expect(rst_stream(5, ErrorCode::CANCEL));
    assert_eq!(peer.tx().stream_count(), 1);
    peer.tx().free(key);
    assert_eq!(peer.tx().stream_count(), 0);
}

/// What the program says about a stream while it is told of its reset goes nowhere.
#[test]
fn nothing_is_sent_on_a_stream_while_its_reset_is_reported() {
    use clearway_http2::{Handler, SlotFate, StreamKey, Tx};
    struct Eager(Vec<Result<(), SendError>>);
    impl Handler for Eager {
        fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, _: Reset) -> SlotFate {
            self.0.push(tx.send_headers(stream, [HeaderField { name: b":status", ..GET[0] }], true));
            tx.reset(stream, ErrorCode::CANCEL);
            SlotFate::Free
        }
    }
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    let reset = peer.encode(&rst_stream(1, ErrorCode::CANCEL));
    let mut eager = Eager(Vec::new());
    let now = peer.now();
    peer.engine.recv(now, &reset, &mut eager).unwrap();
    assert_eq!(eager.0, [Err(SendError::StreamGone)]);
    peer.expect_silence();
    assert_eq!(peer.tx().stream_count(), 0);
}

/// §5.1.2: a client stays within the server's limit, and is told when there is room again.
#[test]
fn a_client_waits_for_a_stream_slot() {
    let mut peer = Peer::of_client_with(Config::default(), &[(SettingId::MAX_CONCURRENT_STREAMS, 1)]);
    peer.open(true);
    peer.expect(headers(1).request().end_stream());
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::StreamLimit));
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::StreamLimit));
    peer.expect_silence();
    peer.send(headers(1).response().end_stream());
    let slots = |peer: &Peer| peer.app.events.iter().filter(|event| **event == Event::StreamSlot).count();
    assert_eq!(slots(&peer), 1);
    peer.open(false);
    // A lowered limit does not touch what runs; a raised one makes room.
    peer.send(settings(&[(SettingId::MAX_CONCURRENT_STREAMS, 0)]));
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::StreamLimit));
    assert_eq!(peer.tx().stream_count(), 1);
    assert_eq!(slots(&peer), 1);
    peer.send(settings(&[(SettingId::MAX_CONCURRENT_STREAMS, 2)]));
    assert_eq!(slots(&peer), 2);
    peer.open(true);
    let kinds: Vec<Kind> =
        peer.drain().iter().map(FrameSpec::kind).filter(|kind| *kind == Kind::HEADERS).collect();
    assert_eq!(kinds.len(), 2);
}

/// §5.1.2: before the server's SETTINGS no limit is known; we assume 100.
#[test]
fn before_settings_a_client_opens_a_hundred_streams() {
    let mut peer = Peer::of_silent_client(Config::default());
    for _ in 0..100 {
        peer.open(false);
    }
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::StreamLimit));
    peer.send(settings(&[]));
    assert!(peer.app.events.contains(&Event::StreamSlot), "no word of a limit means none");
    peer.open(false);
}

/// §5.1: a server that has nothing more to say may end early: END_STREAM, then RST_STREAM(NO_ERROR) (§8.1).
#[test]
fn an_early_response_is_followed_by_a_reset_without_error() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    peer.send(headers(1).request());
    peer.expect(headers(1).response().end_stream());
    peer.expect(rst_stream(1, ErrorCode::NO_ERROR));
    peer.send(data(1, b"still uploading").end_stream());
    peer.expect_silence();
    assert_eq!(peer.tx().stream_count(), 0);
}

/// Calls in the wrong order are refused, and nothing goes out.
#[test]
fn the_program_cannot_send_out_of_order() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request().end_stream());
    let key = peer.app.key(1);
    assert_eq!(peer.tx().send_data(key, "x".into(), false), Err(SendError::OutOfOrder));
    assert_eq!(peer.tx().send_trailers(key, GET), Err(SendError::OutOfOrder));
    let informational = [HeaderField { name: b":status", value: b"103", ..GET[0] }];
    assert_eq!(peer.tx().send_headers(key, informational, true), Err(SendError::OutOfOrder));
    peer.expect_silence();
    peer.respond(1, false);
    let status = [HeaderField { name: b":status", value: b"200", ..GET[0] }];
    assert_eq!(peer.tx().send_headers(key, status, true), Err(SendError::OutOfOrder));
    peer.write(1, b"x", true);
    assert_eq!(peer.tx().send_data(key, "x".into(), false), Err(SendError::StreamGone));
    peer.expect(headers(1).response());
    peer.expect(data(1, b"x").end_stream());
    peer.expect_silence();
}

/// An acknowledgement of our SETTINGS changes no stream (see §6.5.3 for what it does).
#[test]
fn keys_of_streams_that_are_gone_do_nothing() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    peer.send(headers(1).request().end_stream());
    peer.drain();
    let stale = peer.app.key(1);
    peer.app.answer = Answer::Nothing;
    peer.send(headers(3).request());
    assert_eq!(peer.app.key(3).slot(), stale.slot(), "the slot is used again");
    peer.tx().reset(stale, ErrorCode::CANCEL);
    peer.tx().release(stale, 100);
    peer.tx().expect_message(stale, 1 << 20);
    peer.tx().message_complete(stale);
    peer.tx().free(stale);
    assert_eq!(peer.tx().finish(stale), Err(SendError::StreamGone));
    assert_eq!(peer.tx().stream_id(stale), None);
    peer.expect_silence();
    assert_eq!(peer.tx().stream_count(), 1);
    peer.send(settings_ack());
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "SETTINGS ACK");
}
