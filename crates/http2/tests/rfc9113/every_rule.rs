//! Every rule of RFC 9113 that a peer can break, and every limit of ours (§10.5), broken once: the damage goes as far as the
//! verdict says, with its code, and the debug text is the rule's.
//!
//! The match has no wildcard: a [`Violation`] that nobody can provoke does not compile here. Each rule's finer points are in the
//! file of its section.

use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, Kind, SettingId};
use clearway_http2::{Config, ErrorCode, Keepalive, PingPolicy, Scope, Violation};
use clearway_testkit::{
    Answer, FrameSpec, Peer, continuation, data, goaway, headers, ping, priority, push_promise, rst_stream,
    settings, settings_ack, unknown, window_update,
};

fn server() -> Peer {
    Peer::of_server(Config::default())
}

/// A server with a request whose body is still to come.
fn serving() -> Peer {
    let mut peer = server();
    peer.send(headers(1).request());
    peer
}

/// A client that has sent a whole request.
fn asking() -> Peer {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.drain();
    peer
}

fn sent(mut peer: Peer, frames: impl IntoIterator<Item = FrameSpec>) -> Peer {
    frames.into_iter().for_each(|frame| peer.send(frame));
    peer
}

fn octets(mut peer: Peer, octets: &[u8]) -> Peer {
    peer.send_octets(octets);
    peer
}

/// A request with this field more.
fn with_field(name: &str, value: &str) -> Peer {
    sent(server(), [headers(1).request().field(name, value).end_stream()])
}

/// The same frame until the connection ends.
fn flood(mut peer: Peer, mut frame: impl FnMut(u32) -> FrameSpec) -> Peer {
    for n in 0..200_000 {
        if peer.failure().is_some() {
            return peer;
        }
        let frame = frame(n);
        peer.send(frame);
    }
    panic!("no reaction");
}

/// After so long.
fn later(mut peer: Peer, seconds: u64) -> Peer {
    peer.advance(Duration::from_secs(seconds));
    peer
}

/// Breaks the rule.
#[allow(clippy::too_many_lines, reason = "a list, in the order of the RFC")]
fn provoke(rule: Violation) -> Peer {
    match rule {
        // §3.4: "Clients and servers MUST treat an invalid connection preface as a connection error".
        Violation::BadPreface => {
            octets(Peer::of_silent_server(Config::default()), b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
        }
        Violation::TlsHandshake => octets(Peer::of_silent_server(Config::default()), &[22, 3, 1, 2, 0, 1]),
        Violation::Http1Request => {
            octets(Peer::of_silent_server(Config::default()), b"GET / HTTP/1.1\r\n\r\n")
        }
        // "This sequence MUST be followed by a SETTINGS frame".
        Violation::FirstFrameNotSettings => {
            sent(octets(Peer::of_silent_server(Config::default()), PREFACE), [ping([0; 8])])
        }
        // §4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds the size defined in
        // SETTINGS_MAX_FRAME_SIZE, exceeds any limit defined for the frame type, or is too small".
        Violation::FrameTooLarge => octets(serving(), &[0, 0x40, 1, 0, 0, 0, 0, 0, 1]),
        Violation::FrameSize => {
            octets(serving(), &[0, 0, 7, Kind::PING.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        // §6.3: "A PRIORITY frame with a length other than 5 octets MUST be treated as a stream error".
        Violation::PrioritySize => octets(serving(), &[0, 0, 4, Kind::PRIORITY.0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        // §4.3: "A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR".
        Violation::Compression => sent(server(), [headers(1).block(&[0x80]).end_stream()]),
        // §6.2, §6.10: "A receiver MUST treat the receipt of any other type of frame or a frame on a different stream as a
        // connection error".
        Violation::ExpectedContinuation => {
            sent(server(), [headers(1).block(&[0x83]).unfinished(), ping([0; 8])])
        }
        // §6.10: "A CONTINUATION frame MUST be preceded by a HEADERS, PUSH_PROMISE or CONTINUATION frame".
        Violation::UnexpectedContinuation => sent(serving(), [continuation(1, b"")]),
        // §6.1: "If the length of the padding is the length of the frame payload or greater".
        Violation::PaddingTooLong => {
            octets(serving(), &[0, 0, 1, Kind::DATA.0, Flags::PADDED.0, 0, 0, 0, 1, 1])
        }
        // §6.1, §6.2, §6.3, §6.4: "MUST be associated with a stream".
        Violation::FrameOnStreamZero => sent(server(), [data(0, b"x")]),
        // §6.5, §6.7, §6.8: "The stream identifier MUST be zero".
        Violation::FrameNotOnStreamZero => sent(serving(), [ping([0; 8]).on(1)]),
        // §5.1 idle: "Receiving any frame other than HEADERS or PRIORITY on a stream in this state MUST be treated as a
        // connection error".
        Violation::FrameOnIdleStream => sent(server(), [data(1, b"x")]),
        // §5.1 half-closed (remote): "it MUST respond with a stream error of type STREAM_CLOSED".
        Violation::FrameAfterEndStream => sent(server(), [headers(1).request().end_stream(), data(1, b"x")]),
        // §5.1 closed: "An endpoint that receives any frame other than PRIORITY after ... END_STREAM ... MUST treat that as a
        // connection error of type STREAM_CLOSED".
        Violation::FrameOnClosedStream => {
            let mut peer = server();
            peer.app.answer = Answer::Ok;
            sent(peer, [headers(1).request().end_stream(), data(1, b"x")])
        }
        // §5.1 closed: after RST_STREAM "MUST treat that as a stream error of type STREAM_CLOSED".
        Violation::FrameAfterReset => sent(serving(), [rst_stream(1, ErrorCode::CANCEL), data(1, b"x")]),
        // §5.1.1: "The identifier of a newly established stream MUST be numerically greater than all streams that the
        // initiating endpoint has opened or reserved".
        Violation::StreamIdNotIncreasing => sent(server(), [headers(5).request(), headers(3).request()]),
        // §5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers".
        Violation::StreamIdWrongParity => sent(server(), [headers(2).request()]),
        // §5.1.2: "An endpoint that receives a HEADERS frame that causes its advertised concurrent stream limit to be
        // exceeded MUST treat this as a stream error of type PROTOCOL_ERROR or REFUSED_STREAM".
        Violation::StreamLimitExceeded => {
            let config = Config { max_concurrent_streams: 1, ..Config::default() };
            sent(Peer::of_server(config), [headers(1).request(), headers(3).request()])
        }
        // RFC 7540 §5.3.1: "A stream cannot depend on itself. An endpoint MUST treat this as a stream error".
        Violation::SelfDependency => sent(serving(), [priority(1, 1)]),
        // §8.4: "a client ... that has set SETTINGS_ENABLE_PUSH to 0 ... MUST treat the receipt of a PUSH_PROMISE frame as a
        // connection error"; "A client cannot push".
        Violation::PushNotAllowed => sent(asking(), [push_promise(1, 2)]),
        // §6.5.2: "Any value other than 0 or 1 MUST be treated as a connection error", and the others of the section.
        Violation::SettingEnablePush => sent(server(), [settings(&[(SettingId::ENABLE_PUSH, 2)])]),
        Violation::SettingInitialWindow => {
            sent(server(), [settings(&[(SettingId::INITIAL_WINDOW_SIZE, 1 << 31)])])
        }
        Violation::SettingMaxFrameSize => sent(server(), [settings(&[(SettingId::MAX_FRAME_SIZE, 16_383)])]),
        Violation::SettingConnectProtocol => {
            sent(server(), [settings(&[(SettingId::ENABLE_CONNECT_PROTOCOL, 2)])])
        }
        // §6.5.3.
        Violation::UnexpectedSettingsAck => sent(server(), [settings_ack()]),
        Violation::SettingsTimeout => later(octets(Peer::of_silent_server(Config::default()), PREFACE), 10),
        // §6.8: "Endpoints MUST NOT increase the value they send in the last stream identifier".
        Violation::GoAwayIdRaised => {
            sent(asking(), [goaway(1, ErrorCode::NO_ERROR), goaway(3, ErrorCode::NO_ERROR)])
        }
        // §6.9: "A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a flow-control window increment of 0 as a
        // stream error"; on the connection it is one of that.
        Violation::ZeroIncrementOnStream => sent(serving(), [window_update(1, 0)]),
        Violation::ZeroIncrementOnConnection => sent(server(), [window_update(0, 0)]),
        // §6.9.1: "A sender MUST NOT allow a flow-control window to exceed 2^31-1 octets".
        Violation::StreamWindowOverflow => sent(serving(), [window_update(1, 0x7fff_ffff)]),
        Violation::ConnectionWindowOverflow => sent(server(), [window_update(0, 0x7fff_ffff)]),
        // §6.9.2.
        Violation::SettingsWindowOverflow => {
            let raised = settings(&[(SettingId::INITIAL_WINDOW_SIZE, 65_536)]);
            sent(serving(), [window_update(1, 0x7fff_ffff - 65_535), raised])
        }
        // §6.9: "A receiver MAY respond with a stream error or connection error of type FLOW_CONTROL_ERROR".
        Violation::StreamWindowExceeded => {
            let config = Config { stream_window_octets: 10, ..Config::default() };
            sent(Peer::of_server(config), [headers(1).request(), data(1, &[0; 11])])
        }
        Violation::ConnectionWindowExceeded => {
            // Credit goes back when frames arrive, so more than the window has to come at once.
            let config = Config {
                connection_window_octets: 65_535,
                stream_window_octets: 1 << 20,
                ..Config::default()
            };
            let mut peer = Peer::of_server(config);
            peer.send(headers(1).request());
            peer.send_all((0..5).map(|_| data(1, &[0; 16_384])));
            peer
        }
        // §8.1.
        Violation::DataBeforeHeaders => sent(asking(), [data(1, b"x")]),
        Violation::TrailersWithoutEndStream => sent(serving(), [headers(1).field("x", "1")]),
        Violation::BadInformational => sent(asking(), [headers(1).field(":status", "103").end_stream()]),
        // §8.1.1: "the sum of the DATA frame payload lengths".
        Violation::ContentLengthMismatch => with_field("content-length", "1"),
        // §8.2.1.
        Violation::BadFieldName => with_field("Upper", "x"),
        Violation::BadFieldValue => with_field("x", "a\nb"),
        // §8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields".
        Violation::ConnectionSpecificField => with_field("connection", "close"),
        Violation::BadTe => with_field("te", "gzip"),
        // §8.3.
        Violation::PseudoAfterRegular => with_field(":path", "/"),
        Violation::UnexpectedPseudo => {
            sent(server(), [headers(1).fields(&[(":method", "GET"), (":status", "200")]).end_stream()])
        }
        Violation::DuplicatePseudo => {
            sent(server(), [headers(1).fields(&[(":method", "GET"), (":method", "GET")]).end_stream()])
        }
        Violation::MissingPseudo => {
            sent(server(), [headers(1).fields(&[(":method", "GET"), (":scheme", "http")]).end_stream()])
        }
        // §10.5: limits of ours.
        Violation::FieldBlockTooLarge => {
            let peer = sent(server(), [headers(1).block(&[0x83]).unfinished()]);
            flood(peer, |_| continuation(1, &[0x86; 16_384]))
        }
        Violation::TooManyContinuations => {
            flood(sent(server(), [headers(1).block(&[0x83]).unfinished()]), |_| continuation(1, b""))
        }
        Violation::TooManyResets => flood(server(), |n| headers(2 * n + 1).request().field("Upper", "x")),
        Violation::TooManySettings => sent(server(), [settings(&[(SettingId(0x99), 0); 33])]),
        Violation::TooManyEmptyFrames => flood(serving(), |_| data(1, b"")),
        Violation::TooManyPriorities => flood(server(), |n| priority(1, 2 * n + 3)),
        Violation::TooManyWindowUpdates => flood(server(), |_| window_update(0, 1)),
        Violation::TooManyGlitches => flood(server(), |_| unknown(0xbe, 0, b"")),
        // gRFC A8.
        Violation::TooManyPings => {
            let ping_policy = Some(PingPolicy::default());
            flood(Peer::of_server(Config { ping_policy, ..Config::default() }), |_| ping([0; 8]))
        }
        Violation::KeepaliveExpired => {
            let (interval, timeout) = (Duration::from_secs(60), Duration::from_secs(20));
            let keepalive = Some(Keepalive { interval, timeout, without_streams: true });
            later(later(Peer::of_client(Config { keepalive, ..Config::default() }), 60), 20)
        }
        Violation::ProbeUnanswered => {
            let mut peer = Peer::of_client(Config::default());
            assert!(peer.tx().probe());
            later(peer, 1)
        }
        Violation::PrefaceTimeout => {
            later(octets(Peer::of_silent_server(Config::default()), &PREFACE[..5]), 10)
        }
        Violation::FieldBlockTimeout => later(sent(server(), [headers(1).block(&[0x83]).unfinished()]), 10),
        Violation::HeaderListTooLarge => {
            sent(asking(), [headers(1).response().field("x", &"v".repeat(16_384))])
        }
        Violation::ReceiveBudget => {
            let config = Config { receive_budget_octets: 100_000, ..Config::default() };
            let mut peer = Peer::of_server(config);
            peer.app.keeps_data = true;
            let uploads = (0..3).map(|n| 2 * n + 1);
            let frames = uploads.flat_map(|id| {
                [headers(id).request()].into_iter().chain((0..4).map(move |_| data(id, &[0; 16_384])))
            });
            sent(peer, frames)
        }
        Violation::AssemblyStalled => {
            let config = Config { receive_budget_octets: 100_000, ..Config::default() };
            let mut peer = Peer::of_server(config);
            peer.app.keeps_data = true;
            let mut peer = sent(peer, [headers(1).request(), headers(3).request()]);
            for id in [1, 3] {
                let key = peer.app.key(id);
                peer.tx().expect_message(key, 1 << 20);
                peer.flush();
            }
            later(peer, 10)
        }
        Violation::SendStalled => {
            let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::INITIAL_WINDOW_SIZE, 0)]);
            peer.send(headers(1).request().end_stream());
            peer.respond(1, false);
            peer.write(1, b"x", true);
            later(peer, 30)
        }
    }
}

#[test]
fn every_rule_is_enforced_with_its_verdict() {
    for rule in Violation::ALL {
        let mut peer = provoke(*rule);
        let (scope, code) = rule.verdict();
        match (scope, rule) {
            (Scope::Connection, Violation::Http1Request) => {
                // Whoever speaks HTTP/1 is answered in HTTP/1.
                assert_eq!(peer.failure().map(|failure| failure.violation), Some(*rule));
            }
            (Scope::Connection, _) => {
                assert_eq!(peer.failure().map(|failure| failure.violation), Some(*rule));
                peer.expect_last_goaway(code, rule.text());
            }
            (Scope::Stream, _) => {
                let frames = peer.drain();
                let reset = |frame: &FrameSpec| {
                    frame.kind() == Kind::RST_STREAM && frame.octets() == code.0.to_be_bytes()
                };
                assert!(frames.iter().any(reset), "{rule:?}: {frames:?}, {:?}", peer.failure());
                assert_eq!(peer.failure(), None, "{rule:?} costs one stream");
                let told = peer
                    .app
                    .keys()
                    .filter_map(|(id, _)| peer.app.reset(id))
                    .find_map(|reset| reset.violation);
                assert!(told.is_none_or(|told| told == *rule), "{rule:?}: the program heard of {told:?}");
            }
        }
    }
}
