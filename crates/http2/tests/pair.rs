//! Two engines on a link that cuts the bytes anywhere: whatever the seed, every stream arrives whole and in order.
//!
//! The seed of each run is printed; CLEARWAY_SEED=n replays one run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{
    By, Chunk, Config, ErrorCode, Handler, OpenError, RequestHead, Reset, ResponseHead, SlotFate, StreamKey,
    Tx,
};
use clearway_testkit::{Link, Pair, Random, seed_from_env};

fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

/// The octet at a position of a call's body: wrong order, loss and mixed streams all show.
fn octet(call: u32, at: usize) -> u8 {
    (at as u32).wrapping_mul(31).wrapping_add(call.wrapping_mul(7)) as u8
}

fn body(call: u32, octets: usize) -> Vec<u8> {
    (0..octets).map(|at| octet(call, at)).collect()
}

/// Echoes every body with its trailers; keeps up to a few streams unread for a while.
#[derive(Default)]
struct Server {
    calls: BTreeMap<StreamKey, ServerCall>,
    served: usize,
    cancelled: usize,
}

#[derive(Default)]
struct ServerCall {
    number: u32,
    /// Echoed and released up to here.
    seen: usize,
    /// Octets kept back: released when the body has ended.
    kept: usize,
    keeps: bool,
}

impl Server {
    fn end(&mut self, tx: &mut Tx, stream: StreamKey) {
        let call = self.calls.remove(&stream).unwrap();
        tx.release(stream, call.kept);
        let seen = call.seen.to_string();
        tx.send_trailers(stream, [field("grpc-status", "0"), field("x-seen", &seen)]).unwrap();
        self.served += 1;
    }
}

impl Handler for Server {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        let number = std::str::from_utf8(&head.path[1..]).unwrap().parse().unwrap();
        let keeps = number % 5 == 0;
        self.calls.insert(stream, ServerCall { number, keeps, ..ServerCall::default() });
        if number % 4 == 0 {
            tx.send_headers(stream, [field(":status", "103")], false).unwrap();
        }
        tx.send_headers(stream, [field(":status", "200"), field("content-type", "application/grpc")], false)
            .unwrap();
        if end_stream {
            self.end(tx, stream);
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        let call = self.calls.get_mut(&stream).unwrap();
        let octets = data.as_slice();
        for (at, found) in octets.iter().enumerate() {
            assert_eq!(*found, octet(call.number, call.seen + at), "call {}", call.number);
        }
        call.seen += octets.len();
        // What is kept back must fit the stream's window, or the call would wait for itself.
        if call.keeps && call.seen < 8_000 {
            call.kept += octets.len();
        } else {
            tx.release(stream, octets.len());
        }
        tx.send_data(stream, Bytes::copy_from_slice(octets), false).unwrap();
        if end_stream {
            self.end(tx, stream);
        }
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, _: &FieldSection) {
        self.end(tx, stream);
    }

    fn on_reset(&mut self, _: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        assert_eq!((reset.code, reset.by), (ErrorCode::CANCEL, By::Peer));
        self.calls.remove(&stream);
        self.cancelled += 1;
        SlotFate::Free
    }
}

#[derive(Default)]
struct Client {
    calls: BTreeMap<StreamKey, ClientCall>,
    done: usize,
    slots: usize,
}

struct ClientCall {
    number: u32,
    size: usize,
    seen: usize,
    answered: bool,
}

impl Handler for Client {
    fn on_response(&mut self, _: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, _: bool) {
        assert_eq!(head.status, 200);
        self.calls.get_mut(&stream).unwrap().answered = true;
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, _: bool) {
        let call = self.calls.get_mut(&stream).unwrap();
        assert!(call.answered);
        for (at, found) in data.as_slice().iter().enumerate() {
            assert_eq!(*found, octet(call.number, call.seen + at), "call {}", call.number);
        }
        call.seen += data.as_slice().len();
        tx.release(stream, data.as_slice().len());
    }

    fn on_trailers(&mut self, _: &mut Tx, stream: StreamKey, fields: &FieldSection) {
        let call = self.calls.remove(&stream).unwrap();
        assert_eq!(call.seen, call.size);
        assert_eq!(fields.field(1).unwrap().value, call.size.to_string().as_bytes());
        self.done += 1;
    }

    fn on_reset(&mut self, _: &mut Tx, _: StreamKey, reset: Reset) -> SlotFate {
        panic!("no call fails: {reset:?}");
    }

    fn on_stream_slot(&mut self, _: &mut Tx) {
        self.slots += 1;
    }
}

fn config(random: &mut Random) -> Config {
    Config {
        stream_window_octets: [10_000, 65_536, 1 << 20][random.below(3)],
        connection_window_octets: [0, 1 << 20][random.below(2)],
        max_frame_size: [16_384, 65_536][random.below(2)],
        header_table_octets: [0, 100, 4096][random.below(3)],
        encoder_table_octets: [0, 4096, 8192][random.below(3)],
        max_concurrent_streams: [3, 10, 1000][random.below(3)],
        ..Config::default()
    }
}

/// Opens calls of all sizes, cancels some, and carries bytes until all is quiet.
fn run(seed: u64) {
    println!("seed {seed} (CLEARWAY_SEED={seed} replays it)");
    let mut random = Random::new(seed);
    let configs = (config(&mut random), config(&mut random));
    let mut pair =
        Pair::new((configs.0, Client::default()), (configs.1, Server::default()), Link::new(random.bits()));
    let (mut opened, mut cancelled) = (0, 0);
    while opened < 60 {
        let (tx, client) = pair.client();
        let path = format!("/{opened}");
        let head = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", &path),
            field(":authority", "pair"),
            field("te", "trailers"),
        ];
        match tx.open(head, false) {
            Ok(key) => {
                let size = [0, 1, 100, 5_000, 40_000, 200_000][random.below(6)];
                let call = ClientCall { number: opened, size, seen: 0, answered: false };
                client.calls.insert(key, call);
                for piece in body(opened, size).chunks(1 + random.below(30_000)) {
                    tx.send_data(key, Bytes::copy_from_slice(piece), false).unwrap();
                }
                if random.one_in(2) {
                    tx.finish(key).unwrap();
                } else {
                    tx.send_trailers(key, [field("x-trailer", &path)]).unwrap();
                }
                if random.one_in(8) {
                    tx.reset(key, ErrorCode::CANCEL);
                    client.calls.remove(&key);
                    cancelled += 1;
                }
                opened += 1;
            }
            Err(OpenError::StreamLimit) => {
                let before = client.slots;
                for _ in 0..100_000 {
                    if pair.client().1.slots > before || !pair.step() {
                        break;
                    }
                }
                assert!(pair.client().1.slots > before, "nobody said that there is room again");
            }
            Err(error) => panic!("{error}"),
        }
        for _ in 0..random.below(20) {
            pair.step();
        }
    }
    pair.run(1_000_000);
    let (_, client) = pair.client();
    assert_eq!((client.done, client.calls.len()), (60 - cancelled, 0));
    let (_, server) = pair.server();
    assert!(server.calls.is_empty());
    assert!(server.served + server.cancelled >= 60 - cancelled);
    let (client, server) = pair.engines();
    assert_eq!((client.stream_count(), server.stream_count()), (0, 0));
    // The server goes away; the client notices, and both are done.
    pair.server().0.shutdown();
    pair.run(1000);
    pair.advance(Duration::from_secs(1));
    let (client, server) = pair.engines();
    assert!(client.is_finished() && server.is_finished());
}

#[test]
fn every_call_arrives_whole_however_the_bytes_are_cut() {
    match seed_from_env() {
        Some(seed) => run(seed),
        None => (1..=40).for_each(run),
    }
}
