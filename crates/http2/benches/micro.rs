//! m1 to m4, m6 and m7: what single steps of the engine cost. m5, the whole of it, is in a file of its own.
//!
//! `cargo bench -p clearway-http2 --bench micro` prints the time of one step each. Instructions are counted by valgrind, as
//! the difference of two runs, so that start-up does not count; `cargo xtask ci instructions` does that:
//!
//! ```text
//! valgrind --tool=callgrind target/release/deps/micro-... --only m1 --iterations 1000     # and 11000
//! ```
//!
//! | | one step |
//! |---|---|
//! | m1 | a steady request's field block decoded, without the memo of sections |
//! | m2-path, m2-token | a Huffman-coded literal decoded: a path of 28 octets, a token of 95 |
//! | m3-request, m3-response | a steady request encoded; a response's head and trailers |
//! | m4 | a request parsed (found in the memo), its stream opened, answered with a head alone, and closed |
//! | m6 | a DATA frame parsed and released on a stream that 10,000 later ones have overtaken |
//! | m7 | one DATA frame of one of 1,000 streams that wait for credit, in turn |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, and stops at the first surprise"
)]

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Instant as Wall;

use bytes::Bytes;
use clearway_http2::hpack::{Decoder, Encoder, FieldSection, HeaderField, Indexing, Part, SectionLimits};
use clearway_http2::{Chunk, Config, Connection, Handler, Instant, RequestHead, StreamKey, Tx};

const LIMITS: SectionLimits = SectionLimits { list_octets: 16 * 1024, fields: 128 };

const fn field(name: &'static [u8], value: &'static [u8]) -> HeaderField<'static> {
    HeaderField { name, value, indexing: Indexing::Insert }
}

static REQUEST: [HeaderField<'static>; 8] = [
    field(b":method", b"POST"),
    field(b":scheme", b"http"),
    field(b":path", b"/bench.Echo/Unary"),
    field(b":authority", b"localhost:50051"),
    field(b"grpc-timeout", b"10S"),
    field(b"content-type", b"application/grpc"),
    field(b"te", b"trailers"),
    field(b"user-agent", b"grpc-rust-clearway/0.1.0"),
];
static HEAD: [HeaderField<'static>; 2] =
    [field(b":status", b"200"), field(b"content-type", b"application/grpc")];
static TRAILERS: [HeaderField<'static>; 1] = [field(b"grpc-status", b"0")];

/// The block of a request whose fields are all in the table, and a decoder whose table has them.
fn steady() -> (Decoder, Vec<u8>) {
    let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
    let (mut block, mut section) = (Vec::new(), FieldSection::default());
    for _ in 0..2 {
        block.clear();
        encoder.encode_section(REQUEST.iter().copied(), &mut block);
        decoder.decode(&block, &LIMITS, &mut section).unwrap();
    }
    (decoder, block)
}

fn decode(decoder: &mut Decoder, block: &[u8], iterations: u64) {
    let mut section = FieldSection::default();
    for _ in 0..iterations {
        decoder.decode(black_box(block), &LIMITS, &mut section).unwrap();
        black_box(section.len());
    }
}

fn m1(iterations: u64) {
    let (mut decoder, block) = steady();
    decode(&mut decoder, &block, iterations);
}

fn m2(value: &str, iterations: u64) {
    let mut block = Vec::new();
    let field = HeaderField { name: b"x", value: value.as_bytes(), indexing: Indexing::Without };
    Encoder::new(4096).encode(field, &mut block);
    assert!(block.len() < value.len(), "it is Huffman-coded");
    decode(&mut Decoder::new(4096), &block, iterations);
}

fn m3_request(iterations: u64) {
    let (mut encoder, mut out) = (Encoder::new(4096), Vec::with_capacity(1024));
    for _ in 0..iterations + 2 {
        out.clear();
        let request = black_box(&REQUEST);
        let first = Part { number: 1, fields: &request[..4] };
        let second = Part { number: 0, fields: &request[5..] };
        encoder.encode_parts(first, Some(request[4]), second, &mut out);
        black_box(&out);
    }
}

fn m3_response(iterations: u64) {
    let (mut encoder, mut out) = (Encoder::new(4096), Vec::with_capacity(1024));
    for _ in 0..iterations + 2 {
        out.clear();
        encoder.encode_fixed(&HEAD, &mut out);
        encoder.encode_fixed(&TRAILERS, &mut out);
        black_box(&out);
    }
}

/// Answers as it is told to.
#[derive(Default)]
struct App {
    answers: bool,
    keys: Vec<StreamKey>,
}

impl Handler for App {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, _: bool) {
        self.on_request_again(tx, stream, 0, true);
    }

    fn on_request_again(&mut self, tx: &mut Tx, stream: StreamKey, _: u64, _: bool) -> bool {
        if self.answers {
            tx.send_fixed_headers(stream, &HEAD, true).unwrap();
        } else {
            self.keys.push(stream);
        }
        true
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, _: bool) {
        tx.release(stream, data.as_slice().len());
    }
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A server's connection, past its preface.
struct Server {
    connection: Connection,
    app: App,
    encoder: Encoder,
    now: Instant,
}

impl Server {
    fn new(answers: bool) -> Self {
        let config = Config { max_concurrent_streams: 20_000, ..Config::default() };
        let connection = Connection::server(config, Instant::ZERO);
        let app = App { answers, ..App::default() };
        let mut server = Self { connection, app, encoder: Encoder::new(4096), now: Instant::ZERO };
        server.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        server.receive(&frame(4, 0, 0, &[]));
        server.receive(&frame(4, 1, 0, &[]));
        server.write();
        server
    }

    fn receive(&mut self, octets: &[u8]) {
        self.now = Instant::from_nanos(self.now.as_nanos() + 10_000);
        let taken = self.connection.recv(self.now, octets, &mut self.app).unwrap();
        assert_eq!(taken, octets.len());
    }

    fn request(&mut self, id: u32, end: bool) {
        let mut block = Vec::with_capacity(128);
        self.encoder.encode_section(REQUEST.iter().copied(), &mut block);
        self.receive(&frame(1, if end { 5 } else { 4 }, id, &block));
    }

    fn write(&mut self) -> usize {
        self.connection.transmit(self.now, &mut self.app);
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = self.connection.output(&mut slices);
        let octets = slices[..filled].iter().map(|slice| slice.len()).sum();
        self.connection.wrote(octets);
        octets
    }
}

fn m4(iterations: u64) {
    let mut server = Server::new(true);
    server.request(1, true);
    let mut block = Vec::new();
    server.encoder.encode_section(REQUEST.iter().copied(), &mut block);
    let mut request = frame(1, 5, 0, &block);
    for n in 0..iterations {
        request[5..9].copy_from_slice(&(n as u32 * 2 + 3).to_be_bytes());
        server.receive(&request);
        if n.is_multiple_of(64) {
            server.write();
        }
    }
    server.write();
    assert_eq!(server.connection.stream_count(), 0);
}

fn m6(iterations: u64) {
    let mut server = Server::new(false);
    server.request(1, false);
    server.app.answers = true;
    for n in 1..10_000 {
        server.request(n * 2 + 1, true);
        server.write();
    }
    let data = frame(0, 0, 1, b"sixteen octets..");
    for n in 0..iterations {
        server.receive(&data);
        if n.is_multiple_of(64) {
            server.write();
        }
    }
    assert_eq!(server.connection.stream_count(), 1);
}

fn m7(iterations: u64) {
    const STREAMS: u64 = 1000;
    let mut server = Server::new(false);
    for n in 0..STREAMS as u32 {
        server.request(n * 2 + 1, true);
        let stream = *server.app.keys.last().unwrap();
        let tx = server.connection.tx(server.now);
        tx.send_fixed_headers(stream, &HEAD, false).unwrap();
        let octets = 16_384 * (iterations / STREAMS + 1) as usize;
        tx.send_data(stream, Bytes::from(vec![0; octets]), false).unwrap();
        server.write();
    }
    for id in (0..STREAMS as u32).map(|n| n * 2 + 1).chain([0]) {
        server.receive(&frame(8, 0, id, &0x7000_0000u32.to_be_bytes()));
    }
    let (mut octets, enough) = (0, iterations as usize * 16_384);
    while octets < enough {
        octets += server.write();
    }
}

/// A token of 95 octets.
const TOKEN: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
    "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9",
);

/// A benchmark: its name, what runs so many steps of it, and how many one look at the clock covers.
type Micro = (&'static str, fn(u64), u64);

const MICROS: [Micro; 8] = [
    ("m1", m1, 1_000_000),
    ("m2-path", |n| m2("/grpc.testing.TestService/Una", n), 1_000_000),
    ("m2-token", |n| m2(TOKEN, n), 1_000_000),
    ("m3-request", m3_request, 1_000_000),
    ("m3-response", m3_response, 1_000_000),
    ("m4", m4, 1_000_000),
    ("m6", m6, 1_000_000),
    ("m7", m7, 20_000),
];

fn main() {
    let (mut only, mut iterations) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next(),
            "--iterations" => {
                iterations =
                    Some(arguments.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("N")));
            }
            // Cargo's own.
            _ => {}
        }
    }
    for (name, run, usual) in
        MICROS.iter().filter(|(name, ..)| only.as_deref().is_none_or(|only| only == *name))
    {
        if let Some(iterations) = iterations {
            run(iterations);
            continue;
        }
        // The best of several runs, less what starting up takes: the others were disturbed.
        let time = |n| {
            let began = Wall::now();
            run(n);
            began.elapsed()
        };
        let best = |n| (0..5).map(|_| time(n)).min().unwrap_or_default();
        let nanos = best(*usual).saturating_sub(best(0)).as_nanos() as f64 / *usual as f64;
        println!("{name}: {nanos:.1} ns");
    }
}
