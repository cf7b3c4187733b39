//! Every octet in every place of a message, in both directions and in trailers: what RFC 9113 §8.2.1 and §8.3.1 forbid ends the
//! stream, and the connection goes on. CR, LF and NUL split requests behind a downgrade.

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{FrameSpec, Peer, headers, rst_stream};

/// A literal field that is not indexed, of any octets.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

fn request(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

fn legal_in_name(octet: u8) -> bool {
    matches!(octet, 0x21..=0x39 | 0x3b..=0x40 | 0x5b..=0x7e)
}

fn legal_in_value(octet: u8) -> bool {
    !matches!(octet, 0 | b'\r' | b'\n')
}

/// Each block on a stream of its own; `make` says what it is and whether it is legal.
fn requests(make: impl Fn(u8) -> (Vec<u8>, bool)) {
    let mut peer = Peer::of_server(Config::default());
    for octet in 0..=255u8 {
        let id = 2 * u32::from(octet) + 1;
        let (block, legal) = make(octet);
        peer.app.events.clear();
        peer.send(headers(id).block(&block).end_stream());
        assert_eq!(peer.app.requests() == 1, legal, "octet {octet:#04x}");
        if !legal {
            peer.expect(rst_stream(id, ErrorCode::PROTOCOL_ERROR));
        }
    }
    peer.expect_alive();
}

const METHOD: (&[u8], &[u8]) = (b":method", b"POST");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const PATH: (&[u8], &[u8]) = (b":path", b"/");

#[test]
fn in_the_fields_of_a_request() {
    requests(|octet| (request(&[METHOD, SCHEME, PATH, (&[b'x', octet, b'y'], b"v")]), legal_in_name(octet)));
    requests(|octet| (request(&[METHOD, SCHEME, PATH, (b"x", &[b'a', octet, b'b'])]), legal_in_value(octet)));
    let outer = |octet| legal_in_value(octet) && !matches!(octet, b' ' | b'\t');
    requests(|octet| (request(&[METHOD, SCHEME, PATH, (b"x", &[octet, b'b'])]), outer(octet)));
    requests(|octet| (request(&[METHOD, SCHEME, PATH, (b"x", &[b'a', octet])]), outer(octet)));
}

#[test]
fn in_path_method_and_authority() {
    let visible = |octet: u8| !matches!(octet, 0..=0x20 | 0x7f);
    requests(|octet| (request(&[METHOD, SCHEME, (b":path", &[b'/', octet, b'x'])]), visible(octet)));
    requests(|octet| {
        let authority: (&[u8], &[u8]) = (b":authority", &[b'a', octet, b'b']);
        (request(&[METHOD, SCHEME, PATH, authority]), visible(octet) && octet != b'@')
    });
    requests(|octet| {
        let token = octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        (request(&[(b":method", &[b'P', octet]), SCHEME, PATH]), token)
    });
}

/// Each section on a stream of its own.
fn sections(peer: &mut Peer, mut frame: impl FnMut(&mut Peer, u32, &[u8]) -> FrameSpec) {
    let blocks = (0..=255u8).flat_map(|octet| {
        [
            (literal(&[b'x', octet, b'y'], b"v"), legal_in_name(octet)),
            (literal(b"x", &[b'a', octet, b'b']), legal_in_value(octet)),
        ]
    });
    for (n, (block, legal)) in blocks.enumerate() {
        let id = 2 * n as u32 + 1;
        let frame = frame(peer, id, &block);
        peer.send(frame);
        assert_eq!(peer.app.reset(id).is_none(), legal, "section {n}: {block:02x?}");
        peer.app.events.clear();
        peer.drain();
    }
    peer.expect_alive();
}

#[test]
fn in_the_trailers_of_a_request() {
    let mut peer = Peer::of_server(Config::default());
    sections(&mut peer, |peer, id, block| {
        peer.send(headers(id).request());
        headers(id).block(block).end_stream()
    });
}

#[test]
fn in_a_response_and_its_trailers() {
    let mut peer = Peer::of_client(Config::default());
    sections(&mut peer, |peer, id, block| {
        peer.open(true);
        headers(id).block(&[&[0x88], block].concat()).end_stream()
    });
    let mut peer = Peer::of_client(Config::default());
    sections(&mut peer, |peer, id, block| {
        peer.open(true);
        peer.send(headers(id).response());
        headers(id).block(block).end_stream()
    });
}
