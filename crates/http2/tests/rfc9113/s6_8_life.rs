//! RFC 9113 §6.8 and gRFC A9: a connection that goes away by itself because it is idle or old, and what is left at the end. And
//! §5.1.1: the end of the stream ids.

use std::time::Duration;

use clearway_http2::frame::{Flags, Kind};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{Config, ErrorCode, Farewell, LifeLimits, OpenError};
use clearway_testkit::{Event, Peer, data, headers, ping};

use crate::s6_8_goaway::farewell;

const SECOND: Duration = Duration::from_secs(1);
const MAX: u32 = 0x7fff_ffff;
const IDLE: LifeLimits =
    LifeLimits { max_idle: SECOND, max_age: Duration::MAX, max_age_grace: Duration::MAX };
const OLD: LifeLimits = LifeLimits { max_idle: Duration::MAX, max_age: SECOND, max_age_grace: SECOND };

fn server_with(limits: LifeLimits) -> Peer {
    let mut peer = Peer::of_server(Config::default());
    let now = peer.now();
    peer.engine.limit_life(limits, now);
    peer
}

/// Goes through the two steps of a graceful end.
fn answer_farewell(peer: &mut Peer, last: u32, why: Farewell) {
    peer.expect(farewell(MAX, why.text()));
    let challenge = peer.expect_kind(Kind::PING);
    peer.send(challenge.flags(Flags::ACK));
    peer.expect(farewell(last, why.text()));
}

/// "The duration of idleness is defined since the most recent time the number of outstanding RPCs became zero or the
/// connection establishment".
#[test]
fn a_connection_without_streams_goes_away() {
    let mut peer = server_with(IDLE);
    peer.advance(SECOND - Duration::from_millis(1));
    peer.expect_silence();
    peer.advance(Duration::from_millis(1));
    answer_farewell(&mut peer, 0, Farewell::MaxIdle);
    assert_eq!(peer.engine.farewell(), Some(Farewell::MaxIdle));
    assert!(peer.engine.is_finished() && !peer.engine.is_cut_off());
    assert_eq!(peer.app.events, [Event::GoingAway(Farewell::MaxIdle)]);
}

#[test]
fn idleness_begins_with_the_end_of_the_last_stream_however_long_it_was() {
    let mut peer = server_with(IDLE);
    peer.advance(SECOND / 2);
    peer.send(headers(1).request().end_stream());
    peer.send(headers(3).request());
    peer.advance(SECOND * 60);
    peer.respond(1, true);
    peer.expect(headers(1).response().end_stream());
    peer.advance(SECOND * 60);
    peer.expect_silence();
    peer.send(data(3, b"").end_stream());
    peer.respond(3, true);
    peer.expect(headers(3).response().end_stream());
    peer.advance(SECOND - Duration::from_millis(1));
    peer.expect_silence();
    // PINGs are no streams.
    peer.send(ping([1; 8]));
    peer.expect(ping([1; 8]).flags(Flags::ACK));
    peer.advance(Duration::from_millis(1));
    answer_farewell(&mut peer, 3, Farewell::MaxIdle);
}

/// A stream whose handler runs on is not idleness, and a stream that was on its way when we went away is let in.
#[test]
fn a_stream_held_by_its_handler_is_not_idle_and_one_in_flight_gets_in() {
    let mut peer = server_with(IDLE);
    peer.app.keeps_slots = true;
    peer.send(headers(1).request());
    let key = peer.app.key(1);
    peer.tx().reset_and_hold(key, ErrorCode::CANCEL);
    peer.drain();
    peer.advance(SECOND * 10);
    peer.expect_silence();
    peer.tx().free(key);
    peer.advance(SECOND);
    peer.expect(farewell(MAX, "max_idle"));
    let challenge = peer.expect_kind(Kind::PING);
    peer.send(headers(3).request().end_stream());
    peer.send(challenge.flags(Flags::ACK));
    peer.expect(farewell(3, "max_idle"));
    peer.respond(3, true);
    peer.expect(headers(3).response().end_stream());
    assert!(peer.engine.is_finished());
}

#[test]
fn an_old_connection_goes_away_and_its_streams_go_on_until_they_end() {
    let mut peer = server_with(OLD);
    peer.send(headers(1).request().end_stream());
    peer.advance(SECOND);
    answer_farewell(&mut peer, 1, Farewell::MaxAge);
    assert!(!peer.engine.is_finished());
    peer.advance(SECOND / 2);
    peer.respond(1, true);
    peer.expect(headers(1).response().end_stream());
    assert!(peer.engine.is_finished() && !peer.engine.is_cut_off());
}

#[test]
fn what_is_left_after_the_grace_is_cut_off_with_the_limits_name() {
    let mut peer = server_with(OLD);
    peer.send(headers(1).request());
    peer.send(headers(3).request());
    peer.respond(1, false);
    peer.expect(headers(1).response());
    peer.advance(SECOND);
    answer_farewell(&mut peer, 3, Farewell::MaxAge);
    peer.advance(SECOND);
    let text = "calls were left after max_age (limit: max_connection_age_grace)";
    peer.expect(farewell(3, text));
    assert!(peer.engine.is_cut_off() && peer.engine.is_finished());
    assert_eq!(peer.engine.stream_count(), 2, "the driver tells who was left");
    // That was the last word, and the last that is heard.
    peer.send_all([data(1, b"more"), headers(5).request(), ping([0; 8])]);
    peer.write(1, &[7; 20_000], false);
    assert_eq!(peer.drain(), []);
    assert_eq!(peer.engine.next_timer(), None);
    assert_eq!(peer.failure(), None);
}

/// The grace is over before the PING is answered: the id in the last GOAWAY is the real one.
#[test]
fn a_peer_that_answers_nothing_is_cut_off_all_the_same() {
    let mut peer = server_with(LifeLimits { max_age_grace: SECOND / 2, ..OLD });
    peer.send(headers(1).request());
    peer.advance(SECOND);
    peer.expect(farewell(MAX, "max_age"));
    peer.expect_kind(Kind::PING);
    peer.send(headers(3).request());
    peer.advance(SECOND / 2);
    peer.expect(farewell(3, Farewell::MaxAge.cut_text()));
    assert!(peer.engine.is_finished());
}

#[test]
fn a_connection_that_went_away_as_idle_is_cut_off_when_it_is_old() {
    let mut peer = server_with(LifeLimits { max_idle: SECOND / 2, ..OLD });
    peer.advance(SECOND / 2);
    peer.send(headers(1).request());
    answer_farewell(&mut peer, 1, Farewell::MaxIdle);
    peer.advance(SECOND / 2);
    peer.expect_silence();
    peer.advance(SECOND);
    peer.expect(farewell(1, Farewell::MaxAge.cut_text()));
}

#[test]
fn the_program_can_cut_off_what_is_left_of_a_shutdown() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.tx().shutdown();
    answer_farewell(&mut peer, 1, Farewell::Shutdown);
    peer.tx().cut_off(Farewell::Shutdown);
    peer.expect(farewell(1, Farewell::Shutdown.cut_text()));
    peer.tx().cut_off(Farewell::Shutdown);
    assert!(peer.engine.is_cut_off());
    peer.expect_silence();
}

/// A client that was idle says so and leaves; a server goes on listening meanwhile.
#[test]
fn an_idle_client_goes_away() {
    let mut peer = Peer::of_client(Config::default());
    let now = peer.now();
    peer.engine.limit_life(IDLE, now);
    peer.open(true);
    peer.expect(headers(1).request().end_stream());
    peer.advance(SECOND * 10);
    peer.expect_silence();
    peer.send(headers(1).response().end_stream());
    peer.advance(SECOND);
    peer.expect(farewell(0, "max_idle"));
    assert!(peer.engine.is_finished());
}

/// "Stream identifiers cannot be reused. Long-lived connections can result in an endpoint exhausting the available range".
#[test]
fn ids_run_out_and_the_program_sees_it_coming() {
    const GET: [HeaderField<'static>; 1] =
        [HeaderField { name: b":method", value: b"GET", indexing: Indexing::Insert }];
    let mut peer = Peer::of_client(Config { first_stream_id: MAX - 2, ..Config::default() });
    assert_eq!(peer.tx().ids_left(), 2);
    peer.open(true);
    peer.expect(headers(MAX - 2).request().end_stream());
    assert_eq!(peer.tx().ids_left(), 1);
    peer.open(true);
    peer.expect(headers(MAX).request().end_stream());
    assert_eq!(peer.tx().ids_left(), 0);
    assert_eq!(peer.tx().open(GET, true), Err(OpenError::IdsExhausted));
    peer.send(headers(MAX).response().end_stream());
    peer.send(headers(MAX - 2).response().end_stream());
    assert_eq!(peer.tx().local_streams(), 0);
    assert_eq!(Peer::of_client(Config::default()).tx().ids_left(), 1 << 30);
    assert_eq!(
        Peer::of_client(Config { first_stream_id: 6, ..Config::default() }).tx().ids_left(),
        (1 << 30) - 3
    );
}
