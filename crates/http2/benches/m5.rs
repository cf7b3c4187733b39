//! m5: a unary echo through two engines in memory, client core to server core and back, shaped like gRPC.
//!
//! `cargo bench -p clearway-http2 --bench m5` prints the time of one echo. Instructions and allocations are counted by
//! valgrind, as the difference of two runs, so that start-up does not count:
//!
//! ```text
//! valgrind --tool=callgrind target/release/deps/m5-... --iterations 1000 --batch 64     # and 11000
//! valgrind --tool=memcheck  target/release/deps/m5-... --iterations 1000 --batch 64     # "total heap usage"
//! ```
//!
//! Left out: message encoding, routing, and everything a driver does. Both directions pass through real output buffers
//! and are parsed from them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, and stops at the first surprise"
)]

use std::io::IoSlice;
use std::time::Instant as Wall;

use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{
    Chunk, Config, Connection, Handler, Instant, Part, RequestHead, ResponseHead, StreamKey, Tx,
};

/// A gRPC message of 20 octets with its prefix of 5.
const MESSAGE: &[u8; 25] = b"\0\0\0\0\x14\x0a\x12eighteen octets...";

const fn field(name: &'static [u8], value: &'static [u8], indexing: Indexing) -> HeaderField<'static> {
    HeaderField { name, value, indexing }
}

static REQUEST: [HeaderField<'static>; 8] = [
    field(b":method", b"POST", Indexing::Insert),
    field(b":scheme", b"http", Indexing::Insert),
    field(b":path", b"/bench.Echo/Unary", Indexing::Insert),
    field(b":authority", b"localhost:50051", Indexing::Insert),
    field(b"grpc-timeout", b"10S", Indexing::Insert),
    field(b"content-type", b"application/grpc", Indexing::Insert),
    field(b"te", b"trailers", Indexing::Insert),
    field(b"user-agent", b"grpc-rust-clearway/0.1.0", Indexing::Insert),
];
static RESPONSE: [HeaderField<'static>; 2] = [
    field(b":status", b"200", Indexing::Insert),
    field(b"content-type", b"application/grpc", Indexing::Insert),
];
static TRAILERS: [HeaderField<'static>; 1] = [field(b"grpc-status", b"0", Indexing::Insert)];

fn append(out: &mut Vec<u8>, message: &[u8]) -> Result<(), ()> {
    out.extend_from_slice(message);
    Ok(())
}

struct Server;

impl Handler for Server {
    fn on_request(&mut self, _: &mut Tx, _: StreamKey, head: &RequestHead<'_>, _: bool) {
        assert_eq!(head.path.len(), 17);
    }

    fn on_request_again(&mut self, _: &mut Tx, _: StreamKey, section: u64, _: bool) -> bool {
        section > 0
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        let message = data.as_slice();
        tx.release(stream, message.len());
        assert!(end_stream && message.len() == MESSAGE.len());
        tx.send_fixed_headers(stream, &RESPONSE, false).unwrap();
        tx.send_data_with(stream, message.len(), false, |out| append(out, message)).unwrap().unwrap();
        tx.send_fixed_trailers(stream, &TRAILERS).unwrap();
    }
}

#[derive(Default)]
struct Client {
    octets: usize,
    done: u64,
}

impl Handler for Client {
    fn on_response(&mut self, _: &mut Tx, _: StreamKey, head: &ResponseHead<'_>, _: bool) {
        assert_eq!(head.status, 200);
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, _: bool) {
        self.octets += data.as_slice().len();
        tx.release(stream, data.as_slice().len());
    }

    fn on_trailers(&mut self, _: &mut Tx, _: StreamKey, fields: &FieldSection) {
        assert_eq!(fields.len(), 1);
        self.done += 1;
    }
}

fn carry(
    now: Instant,
    from: &mut Connection,
    by: &mut impl Handler,
    to: &mut Connection,
    other: &mut impl Handler,
) {
    from.transmit(now, by);
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = from.output(&mut slices);
    let mut octets = 0;
    for slice in slices.iter().take(filled) {
        octets += to.recv(now, slice, other).unwrap();
    }
    from.wrote(octets);
}

/// Echoes `iterations` messages, `batch` of them at a time.
fn echo(iterations: u64, batch: u64) {
    let now = Instant::ZERO;
    let mut client = (Connection::client(Config::default(), now), Client::default());
    let mut server = (Connection::server(Config::default(), now), Server);
    for _ in 0..2 {
        carry(now, &mut client.0, &mut client.1, &mut server.0, &mut server.1);
        carry(now, &mut server.0, &mut server.1, &mut client.0, &mut client.1);
    }
    let mut left = iterations;
    while left > 0 {
        let now = Instant::from_nanos((iterations - left) * 1000);
        for _ in 0..batch.min(left) {
            let tx = client.0.tx(now);
            let first = Part { number: 1, fields: &REQUEST[..4] };
            let second = Part { number: 0, fields: &REQUEST[5..] };
            let stream = tx.open_parts(first, Some(REQUEST[4]), second, core::iter::empty()).unwrap();
            tx.send_data_with(stream, MESSAGE.len(), true, |out| append(out, MESSAGE)).unwrap().unwrap();
            left -= 1;
        }
        carry(now, &mut client.0, &mut client.1, &mut server.0, &mut server.1);
        carry(now, &mut server.0, &mut server.1, &mut client.0, &mut client.1);
    }
    assert_eq!((client.1.done, client.0.stream_count(), server.0.stream_count()), (iterations, 0, 0));
}

fn main() {
    let mut given: (Option<u64>, Option<u64>) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let place = match argument.as_str() {
            "--iterations" => &mut given.0,
            "--batch" => &mut given.1,
            // Cargo's own.
            _ => continue,
        };
        *place = Some(
            arguments.next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{argument} N")),
        );
    }
    if let (Some(iterations), batch) = given {
        echo(iterations, batch.unwrap_or(1));
        return;
    }
    for batch in given.1.map_or(vec![1, 64], |batch| vec![batch]) {
        echo(10_000, batch);
        // The best of several runs: the others were disturbed.
        let best = (0..10).map(|_| {
            let began = Wall::now();
            echo(100_000, batch);
            began.elapsed() / 100_000
        });
        println!(
            "m5: unary echo of 20 octets, {batch} at a time: {} ns",
            best.min().unwrap_or_default().as_nanos()
        );
    }
}
