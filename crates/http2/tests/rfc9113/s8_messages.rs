//! RFC 9113 §8: what a request, a response and trailers must be. Malformed ones are stream errors of type PROTOCOL_ERROR
//! (§8.1.1).

use clearway_http2::frame::Flags;
use clearway_http2::{Config, ErrorCode, Violation};
use clearway_testkit::{Answer, Event, Peer, data, headers, rst_stream};

const REQUEST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "test")];

#[track_caller]
fn refused(fields: &[(&str, &str)]) {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).fields(fields).end_stream());
    assert_eq!(peer.app.requests(), 0, "{fields:?}");
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    peer.expect_alive();
}

fn with(extra: &[(&str, &str)]) -> Vec<(&'static str, &'static str)> {
    // Leaked: a handful of short strings, in tests.
    let owned = extra.iter().map(|(name, value)| {
        let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        (keep(name), keep(value))
    });
    REQUEST.into_iter().chain(owned).collect()
}

/// §8.3: "All pseudo-header fields MUST appear in a field block before all regular field lines"; "The same pseudo-header
/// field name MUST NOT appear more than once"; unknown and misplaced ones are malformed.
#[test]
fn pseudo_header_fields_have_their_place() {
    refused(&[(":method", "GET"), (":scheme", "http"), ("x", "y"), (":path", "/")]);
    for (name, value) in REQUEST {
        refused(&with(&[(name, value)]));
    }
    refused(&with(&[(":status", "200")]));
    refused(&with(&[(":unknown", "1")]));
    refused(&with(&[(":protocol", "websocket")]));
}

/// §8.3.1: ":method", ":scheme", ":path": "All HTTP/2 requests MUST include exactly one valid value".
#[test]
fn the_three_pseudo_header_fields_of_a_request_are_required() {
    for missing in [":method", ":scheme", ":path"] {
        let fields: Vec<_> = REQUEST.into_iter().filter(|(name, _)| *name != missing).collect();
        refused(&fields);
    }
    for (name, value) in [
        (":path", ""),
        (":path", "relative"),
        (":path", "*"),
        (":path", "/a b"),
        (":path", "/a\u{7f}"),
        (":path", "/ HTTP/1.1"),
        (":authority", "user@test"),
        (":authority", "user:word@test:80"),
        (":authority", "te st"),
        (":method", ""),
        (":method", "P T"),
        (":scheme", ""),
    ] {
        let fields: Vec<_> =
            REQUEST.into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect();
        refused(&fields);
    }
}

/// §8.2.1: names in lower case, without control characters, spaces or colons; values without NUL, CR, LF and without
/// space at either end.
#[test]
fn names_and_values_have_legal_characters() {
    for octet in 0..=255u8 {
        let mut peer = Peer::of_server(Config::default());
        let name = [b'x', octet, b'y'];
        let legal = octet == b'!' || matches!(octet, 0x21..=0x39 | 0x3b..=0x40 | 0x5b..=0x7e);
        let mut block = peer.encode_block(&REQUEST);
        block.extend([&[0x00, 3][..], &name, &[1, b'v']].concat());
        peer.send(headers(1).block(&block).end_stream());
        assert_eq!(peer.app.requests(), usize::from(legal), "octet {octet:#x} in a name");
        let legal = !matches!(octet, 0 | b'\r' | b'\n');
        let mut block = peer.encode_block(&REQUEST);
        block.extend([0x00, 1, b'x', 3, b'a', octet, b'b']);
        let before = peer.app.requests();
        peer.send(headers(3).block(&block).end_stream());
        assert_eq!(peer.app.requests() - before, usize::from(legal), "octet {octet:#x} in a value");
    }
    for value in [" x", "x ", "\tx", "x\t", " "] {
        refused(&with(&[("x", value)]));
    }
    refused(&with(&[("", "x")]));
    refused(&with(&[("", "")]));
    refused(&with(&[("Upper", "x")]));
}

/// §8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields"; TE only with
/// "trailers".
#[test]
fn connection_specific_fields_are_refused() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        refused(&with(&[(name, "x")]));
    }
    refused(&with(&[("te", "gzip")]));
    refused(&with(&[("te", "trailers"), ("te", "gzip")]));
    refused(&with(&[("te", "gzip"), ("te", "trailers")]));
    refused(&with(&[("te", "trailers, gzip")]));
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).fields(&with(&[("te", "trailers")])).end_stream());
    assert_eq!(peer.app.requests(), 1);
}

/// §8.1.1: content-length must equal the sum of DATA, be a number, and say one thing.
#[test]
fn content_length_must_be_true() {
    refused(&with(&[("content-length", "5")]));
    for value in ["+5", "-1", "0x5", "", "5, 5", "18446744073709551616"] {
        refused(&with(&[("content-length", value)]));
    }
    refused(&with(&[("content-length", "0"), ("content-length", "1")]));
    let upload = |length: &str| {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).fields(&with(&[("content-length", length), ("content-length", length)])));
        peer
    };
    let mut peer = upload("5");
    peer.send(data(1, b"hel").padded(3));
    peer.send(data(1, b"lo").end_stream());
    assert_eq!(peer.app.body(1), b"hello");
    peer.expect_silence();
    let mut peer = upload("5");
    peer.send(data(1, b"hello!"));
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    assert_eq!(peer.app.body(1), b"", "what does not fit is not delivered");
    assert_eq!(peer.app.reset(1).unwrap().violation, Some(Violation::ContentLengthMismatch));
    let mut peer = upload("5");
    peer.send(data(1, b"hell").end_stream());
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    let mut peer = upload("5");
    peer.send(data(1, b"hell"));
    peer.send(headers(1).field("x", "y").end_stream());
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
}

/// §8.5: CONNECT has a method and an authority, and nothing else; §8.3.1: OPTIONS may ask for `*`.
#[test]
fn connect_and_options() {
    refused(&[(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "http")]);
    refused(&[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")]);
    refused(&[(":method", "CONNECT")]);
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).fields(&[(":method", "CONNECT"), (":authority", "a:1")]));
    peer.send(headers(3).fields(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")]).end_stream());
    assert_eq!(peer.app.requests(), 2);
}

/// §8.1: trailers end the stream: a second field section without END_STREAM is malformed, and it has no pseudo-headers.
#[test]
fn trailers_end_the_stream() {
    let upload = || {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.send(data(1, b"body"));
        peer
    };
    let mut peer = upload();
    peer.send(headers(1).field("checksum", "1").end_stream());
    assert_eq!(
        peer.app.events.last(),
        Some(&Event::Trailers { id: 1, fields: vec![("checksum".into(), "1".into())] })
    );
    peer.expect_silence();
    let mut peer = upload();
    peer.send(headers(1).field("checksum", "1"));
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    for field in [(":path", "/"), (":status", "200"), ("Upper", "x"), ("connection", "close"), ("x", "a\nb")]
    {
        let mut peer = upload();
        peer.send(headers(1).field(field.0, field.1).end_stream());
        peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    }
    // In one go with the request, and empty.
    let mut peer = Peer::of_server(Config::default());
    peer.send_all([headers(1).request(), headers(1).end_stream()]);
    assert_eq!(peer.app.events.last(), Some(&Event::Trailers { id: 1, fields: vec![] }));
}

fn asked() -> Peer {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.drain();
    peer
}

/// §8.3.2: a response has `:status`, three digits, and no other pseudo-header.
#[test]
fn a_response_has_a_status() {
    for fields in [
        &[("x", "y")][..],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "abc")],
        &[(":status", "099")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[("x", "y"), (":status", "200")],
    ] {
        let mut peer = asked();
        peer.send(headers(1).fields(fields).end_stream());
        peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
        assert!(matches!(peer.app.events[..], [Event::Reset { id: 1, .. }]), "{:?}", peer.app.events);
    }
}

/// §8.1: interim responses come before the final one, any few of them, and end nothing; 101 does not exist.
#[test]
fn interim_responses_come_first() {
    let mut peer = asked();
    peer.send(headers(1).field(":status", "100"));
    peer.send(headers(1).field(":status", "103").field("link", "x"));
    peer.send(headers(1).response());
    peer.send(data(1, b"body"));
    peer.send(headers(1).field("grpc-status", "0").end_stream());
    let Event::Trailers { fields, .. } = peer.app.events.pop().unwrap() else { panic!("no trailers") };
    assert_eq!(fields, [("grpc-status".to_owned(), "0".to_owned())]);
    assert_eq!(
        peer.app.events,
        [
            Event::Informational { id: 1, status: 100 },
            Event::Informational { id: 1, status: 103 },
            Event::Response { id: 1, status: 200, end_stream: false },
            Event::Data { id: 1, data: b"body".to_vec(), end_stream: false }
        ]
    );
    assert_eq!(peer.tx().stream_count(), 0);
    for frame in [headers(1).field(":status", "101"), headers(1).field(":status", "103").end_stream()] {
        let mut peer = asked();
        peer.send(frame);
        peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
        assert_eq!(peer.app.reset(1).unwrap().violation, Some(Violation::BadInformational));
    }
}

/// §8.1: DATA before the header section, or an interim response only, is malformed.
#[test]
fn a_response_begins_with_headers() {
    let mut peer = asked();
    peer.send(data(1, b"x"));
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    let mut peer = asked();
    peer.send(headers(1).field(":status", "100"));
    peer.send(data(1, b"x"));
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    assert_eq!(peer.app.reset(1).unwrap().violation, Some(Violation::DataBeforeHeaders));
}

/// §8.1.1: content-length of a response to HEAD, of 204 and of 304 says nothing about DATA.
#[test]
fn responses_without_content_may_have_a_content_length() {
    use clearway_http2::hpack::{HeaderField, Indexing};
    let mut peer = asked();
    peer.send(headers(1).field(":status", "304").field("content-length", "77").end_stream());
    assert_eq!(peer.app.reset(1), None);
    let mut peer = asked();
    peer.send(headers(1).response().field("content-length", "77").end_stream());
    peer.expect(rst_stream(1, ErrorCode::PROTOCOL_ERROR));
    let mut peer = Peer::of_client(Config::default());
    let fields = [(":method", "HEAD"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let fields = fields.map(|(name, value)| HeaderField {
        name: name.as_bytes(),
        value: value.as_bytes(),
        indexing: Indexing::Without,
    });
    peer.tx().open(fields, true).unwrap();
    peer.send(headers(1).response().field("content-length", "77").end_stream());
    assert_eq!(peer.app.events, [Event::Response { id: 1, status: 200, end_stream: true }]);
}

/// A section over our limit fails a response's stream, and only that.
#[test]
fn a_response_section_over_the_limit_fails_its_stream() {
    let mut peer = asked();
    let large = "v".repeat(17 * 1024);
    peer.send(headers(1).response().field("x", &large));
    peer.expect(rst_stream(1, ErrorCode::ENHANCE_YOUR_CALM));
    assert_eq!(peer.app.reset(1).unwrap().violation, Some(Violation::HeaderListTooLarge));
    peer.expect_alive();
}

/// What the program answers while a request is parsed is in the output before the next frame is looked at.
#[test]
fn requests_may_be_answered_in_place() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Echo;
    peer.send_all([
        headers(1).request(),
        headers(3).request(),
        data(3, b"three").end_stream(),
        data(1, b"one").end_stream(),
    ]);
    peer.expect(headers(1).response());
    peer.expect(headers(3).response());
    peer.expect(data(3, b"three").end_stream());
    peer.expect(data(1, b"one").end_stream());
    assert_eq!(peer.tx().stream_count(), 0);
    assert!(!peer.drain().iter().any(|frame| frame.has(Flags::END_STREAM)));
}
