//! gRFC A8, as dialogues with a scripted peer: client-side keepalive, server-side keepalive, and the server's enforcement; and the
//! probe before a silent connection is used again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::time::Duration;

use clearway_http2::frame::{Flags, Kind};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{
    Config, ErrorCode, Handler, Keepalive, PingPolicy, RequestHead, StreamKey, Tx, Violation,
};
use clearway_testkit::{
    Answer, Event, FrameSpec, Link, Pair, Peer, Random, data, headers, ping, seed_from_env,
};

const ALIVE: [u8; 8] = *b"alive?\0\0";

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Asks after `interval` seconds, waits 20, without streams if told so.
fn keepalive(interval: u64, without_streams: bool) -> Config {
    let keepalive = Keepalive { interval: secs(interval), timeout: secs(20), without_streams };
    Config { keepalive: Some(keepalive), ..Config::default() }
}

fn pong() -> FrameSpec {
    ping(ALIVE).flags(Flags::ACK)
}

// "Client-side Keepalive".

/// "If there is no activity for KEEPALIVE_TIME ... a PING is sent", counted from the last read of anything.
#[test]
fn a_ping_goes_out_when_nothing_was_read_for_the_interval() {
    let mut peer = Peer::of_client(keepalive(60, false));
    let call = peer.open(false);
    peer.drain();
    peer.advance(secs(50));
    peer.send(headers(1).response());
    peer.advance(secs(59));
    peer.expect_silence();
    let written = peer.tx().send_data(call, bytes::Bytes::from_static(b"x"), false);
    written.unwrap();
    peer.drain();
    peer.advance(secs(1));
    peer.expect(ping(ALIVE));
    assert_eq!(peer.engine.next_timer(), Some(peer.now() + secs(20)), "what was written does not count");
}

/// "KEEPALIVE_TIMEOUT: if no ack comes, the connection is closed".
#[test]
fn without_an_answer_the_connection_ends_after_interval_and_timeout() {
    let mut peer = Peer::of_client(keepalive(60, false));
    peer.open(true);
    peer.drain();
    peer.advance(secs(60));
    peer.expect(ping(ALIVE));
    peer.advance(Duration::from_millis(19_999));
    assert_eq!(peer.failure(), None);
    peer.advance(Duration::from_millis(1));
    peer.expect_goaway(ErrorCode::NO_ERROR, "PING not answered");
    assert_eq!(peer.failure().unwrap().violation, Violation::KeepaliveExpired);
    assert_eq!(peer.engine.silence(peer.now()), secs(80));
}

#[test]
fn an_answer_starts_the_interval_again() {
    let mut peer = Peer::of_client(keepalive(60, false));
    peer.open(true);
    peer.drain();
    for _ in 0..10 {
        peer.advance(secs(60));
        peer.expect(ping(ALIVE));
        peer.advance(secs(3));
        peer.send(pong());
        assert_eq!(peer.engine.next_timer(), Some(peer.now() + secs(60)));
    }
    assert_eq!(peer.app.events, [], "the program hears nothing of it");
}

/// The acknowledgement may be stuck behind a long answer: whoever sends octets lives.
#[test]
fn any_octet_is_a_sign_of_life() {
    let mut peer = Peer::of_client(keepalive(60, false));
    peer.open(true);
    peer.drain();
    peer.advance(secs(60));
    peer.expect(ping(ALIVE));
    peer.advance(secs(19));
    peer.send(headers(1).response());
    peer.advance(secs(59));
    assert_eq!(peer.failure(), None);
    peer.send_octets(&[0]);
    peer.advance(secs(5));
    assert_eq!(peer.failure(), None, "a part of a frame is a sign of life as well");
}

/// "GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS: false": no streams, no PING and no timer.
#[test]
fn without_streams_there_is_no_ping_unless_asked_for() {
    let mut peer = Peer::of_client(keepalive(60, false));
    assert_eq!(peer.engine.next_timer(), None);
    peer.advance(secs(3600));
    peer.expect_silence();
    let mut peer = Peer::of_client(keepalive(60, true));
    peer.advance(secs(60));
    peer.expect(ping(ALIVE));
    peer.advance(secs(20));
    peer.expect_goaway(ErrorCode::NO_ERROR, "PING not answered");
}

/// A stream that opens after the interval has passed without a read is preceded by nothing and followed by a PING at once.
#[test]
fn a_stream_that_opens_after_a_long_silence_asks_at_once() {
    let mut peer = Peer::of_client(keepalive(60, false));
    peer.advance(secs(61));
    peer.expect_silence();
    peer.open(true);
    assert_eq!(peer.drain().len(), 1);
    peer.advance(secs(0));
    peer.expect(ping(ALIVE));
}

/// The last stream is over while the answer is awaited: the question stands.
#[test]
fn a_question_stands_when_the_last_stream_is_over() {
    let mut peer = Peer::of_client(keepalive(60, false));
    let call = peer.open(true);
    peer.advance(secs(60));
    peer.tx().reset(call, ErrorCode::CANCEL);
    peer.advance(secs(20));
    peer.expect_last_goaway(ErrorCode::NO_ERROR, "PING not answered");
}

// "Server-side Connection Management".

#[test]
fn a_server_asks_a_silent_client() {
    let mut peer = Peer::of_server(keepalive(7200, true));
    peer.advance(secs(7199));
    peer.expect_silence();
    peer.advance(secs(1));
    peer.expect(ping(ALIVE));
    peer.send(pong());
    peer.advance(secs(7200));
    peer.expect(ping(ALIVE));
    peer.advance(secs(20));
    peer.expect_goaway(ErrorCode::NO_ERROR, "PING not answered");
}

// "Server Enforcement".

fn policed(min_interval: u64, without_streams: bool) -> Peer {
    let ping_policy = Some(PingPolicy { min_interval: secs(min_interval), without_streams });
    let mut peer = Peer::of_server(Config { ping_policy, ..Config::default() });
    peer.app.answer = Answer::Nothing;
    peer
}

/// Sends PINGs so far apart; says which one ended the connection, if one did.
fn pings(peer: &mut Peer, apart: Duration, most: usize) -> Option<usize> {
    for n in 1..=most {
        peer.send(ping([1; 8]));
        if peer.failure().is_some() {
            return Some(n);
        }
        peer.expect(ping([1; 8]).flags(Flags::ACK));
        peer.advance(apart);
    }
    None
}

/// "more than 2 ping strikes": the first PING is free, three that come too early end it; each was answered before.
#[test]
fn more_than_two_strikes_end_the_connection() {
    let mut peer = policed(300, false);
    peer.send(headers(1).request());
    assert_eq!(pings(&mut peer, secs(299), 100), Some(4));
    peer.expect(ping([1; 8]).flags(Flags::ACK));
    peer.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
}

/// The debug text is compared by clients: it is this and nothing else.
#[test]
fn the_debug_text_is_exactly_the_one_clients_know() {
    let mut peer = policed(300, false);
    pings(&mut peer, secs(1), 4);
    let last = peer.drain().pop();
    let last = last.unwrap();
    assert_eq!((last.kind(), &last.octets()[8..]), (Kind::GOAWAY, &b"too_many_pings"[..]));
}

#[test]
fn pings_as_far_apart_as_agreed_are_free() {
    let mut peer = policed(300, false);
    peer.send(headers(1).request());
    assert_eq!(pings(&mut peer, secs(300), 1000), None);
}

/// Without streams, unless permitted: one in two hours.
#[test]
fn without_streams_two_hours_lie_between_pings_unless_permitted() {
    assert_eq!(pings(&mut policed(300, false), secs(300), 100), Some(4));
    assert_eq!(pings(&mut policed(300, false), secs(7200), 100), None);
    assert_eq!(pings(&mut policed(300, true), secs(300), 100), None);
    assert_eq!(pings(&mut policed(300, true), secs(299), 100), Some(4));
    assert_eq!(pings(&mut policed(10_000, false), secs(7200), 100), Some(4), "whichever is longer");
}

/// "ping strikes are cleared whenever the server sends DATA or HEADERS": each time, not once.
#[test]
fn what_the_server_sends_clears_the_strikes_each_time() {
    let mut peer = policed(300, false);
    for round in 0..50u32 {
        let id = 2 * round + 1;
        peer.send(headers(id).request());
        assert_eq!(pings(&mut peer, secs(1), 2), None);
        peer.respond(id, false);
        peer.drain();
        assert_eq!(pings(&mut peer, secs(1), 2), None);
        peer.write(id, b"x", false);
        peer.drain();
        assert_eq!(pings(&mut peer, secs(1), 2), None);
        peer.trail(id);
        peer.drain();
    }
    assert_eq!(pings(&mut peer, secs(1), 100), Some(4), "and then no more");
}

/// Credit, acknowledgements and resets are no reason to PING.
#[test]
fn other_frames_of_the_server_clear_nothing() {
    let mut peer = policed(300, false);
    peer.send(headers(1).request());
    for n in 1..=3 {
        peer.send(ping([n; 8]));
        peer.send(data(1, &[0; 40_000][..16_000]));
        peer.release(1, 16_000);
    }
    peer.drain();
    assert_eq!(peer.failure(), None);
    let key = peer.app.key(1);
    peer.tx().reset(key, ErrorCode::CANCEL);
    peer.drain();
    assert_eq!(pings(&mut peer, secs(1), 1), Some(1));
}

/// PINGs that measure the bandwidth of a download come once per round trip, and only after DATA: an honest peer's are never counted,
/// however long it takes.
#[test]
fn pings_after_data_are_never_counted() {
    let mut peer = policed(300, false);
    peer.send(headers(1).request());
    peer.respond(1, false);
    for _ in 0..10_000 {
        peer.write(1, b"x", false);
        peer.drain();
        peer.send(ping(*b"bdp-ping"));
        peer.send(clearway_testkit::window_update(1, 1));
        peer.send(clearway_testkit::window_update(0, 1));
        peer.expect(ping(*b"bdp-ping").flags(Flags::ACK));
        peer.advance(Duration::from_millis(1));
    }
    peer.expect_alive();
}

/// RFC 9113 has no rule for PINGs, and an engine without a policy none either; nor has one whose interval is zero.
#[test]
fn without_a_policy_nothing_is_counted() {
    assert_eq!(pings(&mut Peer::of_server(Config::default()), secs(0), 1000), None);
    assert_eq!(pings(&mut policed(0, false), secs(0), 1000), None);
}

/// A client does not police its server.
#[test]
fn a_client_answers_every_ping() {
    let ping_policy = Some(PingPolicy::default());
    let mut peer = Peer::of_client(Config { ping_policy, ..Config::default() });
    assert_eq!(pings(&mut peer, secs(0), 1000), None);
}

// The probe before a silent connection is used again.

#[test]
fn a_probe_is_a_ping_and_any_octet_answers_it() {
    let mut peer = Peer::of_client(Config::default());
    peer.advance(secs(30));
    assert_eq!(peer.tx().silence(), secs(30));
    assert!(peer.tx().probe());
    assert!(peer.tx().probe(), "twice is once");
    peer.expect(ping(ALIVE));
    peer.expect_silence();
    peer.send(pong());
    assert_eq!(peer.app.events, [Event::Probe { alive: true }]);
    assert_eq!((peer.tx().silence(), peer.tx().is_probing()), (secs(0), false));
    assert_eq!(peer.engine.next_timer(), None);
}

/// Nothing is open: the connection ends, and says why.
#[test]
fn an_unanswered_probe_ends_a_connection_without_streams_after_a_second() {
    let mut peer = Peer::of_client(Config::default());
    peer.advance(secs(30));
    peer.tx().probe();
    peer.expect(ping(ALIVE));
    peer.advance(Duration::from_millis(999));
    assert!(peer.tx().is_probing());
    peer.advance(Duration::from_millis(1));
    assert_eq!(peer.app.events, [Event::Probe { alive: false }]);
    peer.expect_goaway(ErrorCode::NO_ERROR, "silent connection");
    assert_eq!(peer.failure().unwrap().violation, Violation::ProbeUnanswered);
}

/// On a slow path four round trips are longer than a second.
#[test]
fn a_probe_waits_four_round_trips_where_that_is_longer() {
    let mut peer = Peer::of_silent_client(Config::default());
    peer.drain();
    peer.advance(Duration::from_millis(600));
    peer.send(clearway_testkit::settings(&[]));
    peer.send(clearway_testkit::settings_ack());
    peer.drain();
    peer.advance(secs(30));
    peer.tx().probe();
    assert_eq!(peer.engine.next_timer(), Some(peer.now() + Duration::from_millis(2400)));
}

/// What is open may still get its answer: it has the time of keepalive, but no new stream gets in.
#[test]
fn streams_that_are_open_have_the_time_of_keepalive() {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.drain();
    peer.advance(secs(30));
    peer.tx().probe();
    peer.expect(ping(ALIVE));
    peer.advance(secs(1));
    assert_eq!(peer.app.events, [Event::Probe { alive: false }]);
    assert!(peer.failure().is_none() && peer.engine.is_going_away());
    peer.advance(Duration::from_millis(18_999));
    peer.expect_kind(Kind::GOAWAY);
    peer.expect_silence();
    peer.advance(Duration::from_millis(1));
    peer.expect_goaway(ErrorCode::NO_ERROR, "PING not answered");
}

/// It was only slow: its streams end well, and then the connection does.
#[test]
fn a_late_answer_lets_open_streams_end_well() {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.advance(secs(30));
    peer.tx().probe();
    peer.advance(secs(5));
    peer.send(pong());
    peer.send(headers(1).response().end_stream());
    assert_eq!(peer.failure(), None);
    assert!(peer.engine.is_finished());
    assert!(!peer.tx().probe(), "nothing is asked on a connection that goes away");
}

/// A server counts PINGs for which it sent nothing: two may go out for nothing, a third could end the connection.
#[test]
fn probes_without_an_answer_to_a_call_are_not_repeated() {
    let mut peer = Peer::of_client(Config::default());
    for allowed in [true, true, false, false] {
        peer.advance(secs(40));
        assert_eq!(peer.tx().probe(), allowed);
        peer.flush();
        peer.send(pong());
    }
    peer.open(true);
    peer.send(headers(1).response().end_stream());
    peer.advance(secs(40));
    assert!(peer.tx().probe(), "HEADERS came");
}

/// Keepalive's question is under way already when a new call wants to know.
#[test]
fn a_probe_joins_the_question_of_keepalive() {
    let mut peer = Peer::of_client(keepalive(60, false));
    peer.open(true);
    peer.drain();
    peer.advance(secs(60));
    peer.expect(ping(ALIVE));
    peer.advance(secs(5));
    assert!(peer.tx().probe());
    peer.expect_silence();
    peer.advance(secs(1));
    assert_eq!(peer.app.events, [Event::Probe { alive: false }]);
    peer.advance(secs(14));
    peer.expect_kind(Kind::GOAWAY);
    peer.expect_goaway(ErrorCode::NO_ERROR, "PING not answered");
    assert_eq!(peer.engine.silence(peer.now()), secs(80));
}

/// The client of a random run: counts what its probes came to.
#[derive(Default)]
struct Prober {
    alive: u32,
    dead: u32,
}

impl Handler for Prober {
    fn on_probe(&mut self, _: &mut Tx, alive: bool) {
        if alive {
            self.alive += 1;
        } else {
            self.dead += 1;
        }
    }
}

/// A server that answers one call in two, and is silent about the others.
struct Moody(Random);

impl Handler for Moody {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, _: bool) {
        if self.0.one_in(2) {
            let status = HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert };
            tx.send_headers(stream, [status], self.0.one_in(2)).unwrap();
        }
    }
}

/// A client with gRPC's defaults of ours and a server that counts its PINGs, on a link that cuts anywhere: whatever the calls do and
/// however long the silences are, no PING is ever one too many, and every probe finds the server alive.
fn never_too_many(seed: u64) {
    println!("seed {seed} (CLEARWAY_SEED={seed} replays it)");
    let mut random = Random::new(seed);
    let client = keepalive(330, false);
    let server = Config { ping_policy: Some(PingPolicy::default()), ..keepalive(7200, true) };
    let moody = Moody(Random::new(random.bits()));
    let mut pair = Pair::new((client, Prober::default()), (server, moody), Link::new(random.bits()));
    pair.run(10_000);
    let (mut open, mut asked) = (Vec::new(), 0);
    for _ in 0..300 {
        match random.below(8) {
            // As a client of gRPC does before it opens a stream.
            0..=3 => {
                let (tx, _) = pair.client();
                if tx.silence() >= secs(30) && tx.probe() {
                    asked += 1;
                    pair.run(10_000);
                }
                let field = |name, value| HeaderField { name, value, indexing: Indexing::Insert };
                let head =
                    [field(&b":method"[..], &b"POST"[..]), field(b":scheme", b"http"), field(b":path", b"/")];
                open.push(pair.client().0.open(head, true).unwrap());
            }
            4 => {
                for key in open.drain(..) {
                    pair.client().0.reset(key, ErrorCode::CANCEL);
                }
            }
            _ => {
                let silence = [1, 29, 31, 120, 301, 331, 7201][random.below(7)];
                pair.advance(secs(silence));
            }
        }
        pair.run(10_000);
    }
    let (tx, prober) = pair.client();
    assert!(!tx.is_going_away());
    assert_eq!((prober.alive, prober.dead), (asked, 0));
    assert!(asked > 0, "nothing was tried");
}

#[test]
fn no_order_of_calls_and_silences_brings_too_many_pings() {
    match seed_from_env() {
        Some(seed) => never_too_many(seed),
        None => (0..50).for_each(never_too_many),
    }
}
