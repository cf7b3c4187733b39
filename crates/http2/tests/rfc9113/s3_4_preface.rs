//! RFC 9113 §3.4: the connection preface.

use std::io::IoSlice;
use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, Kind};
use clearway_http2::{Config, Connection, ErrorCode, Handler, Instant, OpenError, Violation};
use clearway_testkit::{Event, Peer, goaway, headers, ping, settings, settings_ack};

/// "The server connection preface consists of a potentially empty SETTINGS frame that MUST be the first frame".
#[test]
fn the_first_frame_of_a_server_is_settings() {
    let mut peer = Peer::of_silent_server(Config::default());
    // A driver may look for output before anything has come.
    peer.flush();
    assert_eq!(peer.engine.pending_output(), 0);
    peer.send_octets(PREFACE);
    assert_eq!(peer.next_frame().unwrap().kind(), Kind::SETTINGS);
    peer.send(settings(&[]));
    peer.expect(settings_ack());
}

/// The same when the server goes away before the client has spoken.
#[test]
fn a_server_that_goes_away_at_once_sends_settings_first() {
    let mut peer = Peer::of_silent_server(Config::default());
    peer.tx().shutdown();
    assert_eq!(peer.next_frame().unwrap().kind(), Kind::SETTINGS);
    let first = peer.expect_kind(Kind::GOAWAY);
    assert_eq!(first.octets()[..8], goaway(0x7fff_ffff, ErrorCode::NO_ERROR).octets()[..8]);
    let challenge = peer.expect_kind(Kind::PING);
    // What the client sends before it has read that is let in.
    peer.send_octets(PREFACE);
    peer.send_all([settings(&[]), headers(1).request().end_stream(), settings_ack()]);
    peer.expect(settings_ack());
    peer.send(challenge.flags(Flags::ACK));
    let last = peer.expect_kind(Kind::GOAWAY);
    assert_eq!(last.octets()[..8], goaway(1, ErrorCode::NO_ERROR).octets()[..8]);
    assert_eq!(peer.app.requests(), 1);
}

/// "the client connection preface starts with a sequence of 24 octets [...] followed by a SETTINGS frame".
/// Found by the fuzz target `engines`.
#[test]
fn a_server_that_pings_at_once_sends_settings_first() {
    let mut peer = Peer::of_silent_server(Config::default());
    peer.tx().ping([7; 8]);
    peer.expect_kind(Kind::SETTINGS);
    peer.expect(ping([7; 8]));
}

#[test]
fn a_client_speaks_first_and_need_not_wait_for_the_answer() {
    let mut peer = Peer::of_silent_client(Config::default());
    assert_eq!(peer.next_frame().unwrap().kind(), Kind::SETTINGS);
    peer.open(true);
    peer.expect(headers(1).request().end_stream());
}

#[test]
fn the_preface_may_come_octet_by_octet() {
    let mut peer = Peer::of_silent_server(Config::default());
    for octet in PREFACE {
        assert!(peer.next_frame().is_none());
        peer.send_octets(&[*octet]);
    }
    assert_eq!(peer.next_frame().unwrap().kind(), Kind::SETTINGS);
}

/// "Clients and servers MUST treat an invalid connection preface as a connection error of type PROTOCOL_ERROR."
#[test]
fn an_invalid_preface_ends_the_connection() {
    for at in 0..PREFACE.len() {
        let mut wrong = *PREFACE;
        wrong[at] ^= 0x20;
        let mut peer = Peer::of_silent_server(Config::default());
        peer.send_octets(&wrong);
        assert_eq!(
            peer.next_frame().unwrap().kind(),
            Kind::SETTINGS,
            "the server's preface comes first all the same"
        );
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "preface");
    }
}

/// Whoever speaks HTTP/1.x here reads why it does not work, however its bytes are cut.
#[test]
fn an_http1_request_gets_an_http1_answer() {
    struct Nobody;
    impl Handler for Nobody {}
    let request = b"POST /pkg.Svc/Method HTTP/1.1\r\n\r\n";
    for step in [1, 3, request.len()] {
        let mut engine = Connection::server(Config::default(), Instant::ZERO);
        let mut verdict = Ok(0);
        for piece in request.chunks(step) {
            verdict = engine.recv(Instant::ZERO, piece, &mut Nobody);
            if verdict.is_err() {
                break;
            }
        }
        assert_eq!(verdict.unwrap_err().violation, Violation::Http1Request, "in pieces of {step}");
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = engine.output(&mut slices);
        let octets = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
        let answer = String::from_utf8(octets).unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 "));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert_eq!(length, body.len().to_string(), "{answer}");
    }
}

/// The SETTINGS frame is part of the preface: any other first frame is an error, in both roles.
#[test]
fn the_first_frame_must_be_settings() {
    for first in
        [ping([0; 8]), settings_ack(), headers(1).block(&[0x82]), clearway_testkit::unknown(0xbe, 0, b"")]
    {
        let mut peer = Peer::of_silent_server(Config::default());
        peer.send_octets(PREFACE);
        peer.drain();
        peer.send(first.clone());
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "first frame");
        let mut peer = Peer::of_silent_client(Config::default());
        peer.drain();
        peer.send(first);
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "first frame");
    }
}

#[test]
fn a_client_that_says_nothing_is_dropped_after_ten_seconds() {
    let mut peer = Peer::of_silent_server(Config::default());
    peer.send_octets(&PREFACE[..20]);
    peer.advance(Duration::from_millis(9_999));
    assert_eq!(peer.failure(), None);
    peer.advance(Duration::from_millis(1));
    assert_eq!(peer.failure().unwrap().violation, Violation::PrefaceTimeout);
}

#[test]
fn the_program_hears_when_the_connection_is_ready() {
    let mut peer = Peer::of_silent_client(Config::default());
    peer.drain();
    assert_eq!(peer.app.events, []);
    peer.send(settings(&[]));
    assert_eq!(peer.app.events, [Event::Ready]);
    peer.send(settings(&[]));
    assert_eq!(peer.app.events.len(), 1, "once");
    assert_eq!(peer.drain().iter().filter(|frame| frame.has(Flags::ACK)).count(), 2);
}

#[test]
fn nothing_is_opened_on_a_failed_connection() {
    let mut peer = Peer::of_client(Config::default());
    peer.send(ping([0; 8]).on(1));
    assert!(peer.failure().is_some());
    let fields = [clearway_http2::hpack::HeaderField {
        name: b":method",
        value: b"GET",
        indexing: clearway_http2::hpack::Indexing::Insert,
    }];
    assert_eq!(peer.tx().open(fields, true), Err(OpenError::Closed));
}
