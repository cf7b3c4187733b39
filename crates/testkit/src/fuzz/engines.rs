//! Two engines on a link that carries what it is told to: between ours, nobody is ever found at fault, and every octet that was
//! sent arrives, once and in order, on every stream that was not reset.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use clearway_http2::hpack::FieldSection;
use clearway_http2::{
    Chunk, Config, Connection, ErrorCode, Handler, Instant, RequestHead, Reset, ResponseHead, SendError,
    SlotFate, StreamKey, Tx, Violation, WindowTuning,
};

use super::Input;
use crate::app::field;

const MOST_STEPS: usize = 2_000;
/// Far more pieces than it takes to carry what an input can send.
const MOST_PIECES: usize = 100_000;

/// The octet at a place of a body.
fn octet(stream_id: u32, at: usize, salt: u8) -> u8 {
    (at as u32).wrapping_mul(31).wrapping_add(stream_id.wrapping_mul(7)) as u8 ^ salt
}

/// One direction of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Way {
    octets: usize,
    ended: bool,
}

/// A stream as one side saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    key: Option<StreamKey>,
    sent: Way,
    received: Way,
    reset: bool,
}

/// The program on one side.
#[derive(Default)]
struct Program {
    streams: BTreeMap<u32, Seen>,
    /// What is put into the octets of what this side receives.
    salt: u8,
    keeps: bool,
    slots: bool,
}

impl Program {
    fn seen(&mut self, tx: &Tx, key: StreamKey) -> (u32, &mut Seen) {
        let id = tx.stream_id(key).expect("callbacks come while the key is good");
        let seen = self.streams.entry(id).or_default();
        seen.key = Some(key);
        (id, seen)
    }

    fn end(&mut self, tx: &Tx, key: StreamKey) {
        let received = &mut self.seen(tx, key).1.received;
        assert!(!received.ended, "an end after the end");
        received.ended = true;
    }
}

impl Handler for Program {
    fn on_request(&mut self, tx: &mut Tx, key: StreamKey, _: &RequestHead<'_>, end_stream: bool) {
        self.seen(tx, key);
        if end_stream {
            self.end(tx, key);
        }
    }

    fn on_response(&mut self, tx: &mut Tx, key: StreamKey, _: &ResponseHead<'_>, end_stream: bool) {
        if end_stream {
            self.end(tx, key);
        }
    }

    fn on_data(&mut self, tx: &mut Tx, key: StreamKey, data: Chunk<'_>, end_stream: bool) {
        let (salt, keeps) = (self.salt, self.keeps);
        let (id, seen) = self.seen(tx, key);
        for found in data.as_slice() {
            assert_eq!(*found, octet(id, seen.received.octets, salt), "stream {id}");
            seen.received.octets += 1;
        }
        if end_stream {
            self.end(tx, key);
        }
        if !keeps {
            tx.release(key, data.as_slice().len());
        }
    }

    fn on_trailers(&mut self, tx: &mut Tx, key: StreamKey, _: &FieldSection) {
        self.end(tx, key);
    }

    fn on_reset(&mut self, tx: &mut Tx, key: StreamKey, _: Reset) -> SlotFate {
        self.seen(tx, key).1.reset = true;
        if self.slots { SlotFate::HeldByApplication } else { SlotFate::Free }
    }
}

struct Side {
    connection: Connection,
    program: Program,
    /// On its way here.
    inbound: Vec<u8>,
    over: bool,
}

impl Side {
    fn new(connection: Connection, salt: u8, input: &mut Input<'_>) -> Self {
        let program = Program { salt, keeps: input.flag(), slots: input.flag(), ..Program::default() };
        Self { connection, program, inbound: Vec::new(), over: false }
    }

    /// A verdict against a peer that is one of ours: only time may have run out, as the link can be as slow as it likes.
    fn judge<T>(&mut self, verdict: Result<T, clearway_http2::ConnectionError>) -> Option<T> {
        match verdict {
            Ok(value) => Some(value),
            Err(error) => {
                let late = matches!(
                    error.violation,
                    Violation::PrefaceTimeout | Violation::SettingsTimeout | Violation::FieldBlockTimeout
                );
                assert!(late, "one of ours finds the other at fault: {error}");
                self.over = true;
                None
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.connection.next_timer().is_some_and(|timer| timer <= now) {
            let verdict = self.connection.on_tick(now, &mut self.program);
            self.judge(verdict);
        }
    }

    fn write_to(&mut self, other: &mut Self, most: usize, now: Instant) -> bool {
        self.connection.transmit(now, &mut self.program);
        self.connection.check();
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = self.connection.output(&mut slices);
        let before = other.inbound.len();
        other.inbound.extend(slices[..filled].iter().flat_map(|slice| slice.iter()).take(most));
        let written = other.inbound.len() - before;
        self.connection.wrote(written);
        written > 0
    }

    fn read(&mut self, most: usize, now: Instant) -> bool {
        let most = most.min(self.inbound.len());
        let verdict = self.connection.recv(now, &self.inbound[..most], &mut self.program);
        let taken = self.judge(verdict).unwrap_or(0);
        self.inbound.drain(..taken);
        self.connection.check();
        taken > 0
    }

    /// Nothing is kept back any more.
    fn release_all(&mut self, now: Instant) {
        self.program.keeps = false;
        for key in self.program.streams.values().filter_map(|seen| seen.key) {
            let tx = self.connection.tx(now);
            tx.release(key, usize::MAX);
            tx.free(key);
        }
    }

    fn pick(&self, input: &mut Input<'_>) -> Option<(u32, StreamKey)> {
        let back = input.below(self.program.streams.len().min(8));
        let (id, seen) = self.program.streams.iter().rev().nth(back)?;
        Some((*id, seen.key?))
    }
}

/// Two sides, and what they do to each other.
///
/// # Panics
/// If one engine finds fault with the other, or octets are lost, made or changed.
pub fn engines(octets: &[u8]) {
    let mut input = Input::new(octets);
    let now = Instant::ZERO;
    let (ours, theirs) = (config(&mut input), config(&mut input));
    let mut run = Run {
        client: Side::new(Connection::client(ours, now), 0, &mut input),
        server: Side::new(Connection::server(theirs, now), 0x55, &mut input),
        now,
    };
    for _ in 0..MOST_STEPS {
        if input.is_empty() || run.over() {
            break;
        }
        run.step(&mut input);
    }
    run.settle();
}

fn config(input: &mut Input<'_>) -> Config {
    Config {
        stream_window_octets: input.one_of(&[65_536, 100, 1_000, 1 << 20]),
        connection_window_octets: input.one_of(&[0, 1 << 20]),
        stream_tuning: input.one_of(&[WindowTuning::Auto, WindowTuning::Fixed]),
        header_table_octets: input.one_of(&[4096, 0, 100]),
        encoder_table_octets: input.one_of(&[4096, 0, 8192]),
        max_concurrent_streams: input.one_of(&[100, 1, 3]),
        receive_budget_octets: input.one_of(&[1 << 24, 20_000]),
        ..Config::default()
    }
}

struct Run {
    client: Side,
    server: Side,
    now: Instant,
}

impl Run {
    fn over(&self) -> bool {
        self.client.over || self.server.over
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.octet();
        let now = self.now;
        let (this, that) = match choice & 1 {
            0 => (&mut self.client, &mut self.server),
            _ => (&mut self.server, &mut self.client),
        };
        match choice >> 1 {
            0..40 => {
                let most = input.one_of(&[1 << 20, 1, 9, 100, 5_000]);
                this.write_to(that, most, now);
                that.read(input.one_of(&[1 << 20, 1, 9, 100, 5_000]), now);
            }
            40..55 => open(&mut self.client, now, input),
            55..58 => {
                self.now = now + Duration::from_millis(input.one_of(&[1, 50, 1_000, 4_000]));
                self.client.tick(self.now);
                self.server.tick(self.now);
            }
            58 if input.octet() == 7 => this.connection.tx(now).shutdown(),
            59 => this.connection.tx(now).ping([1; 8]),
            other => act(this, other, now, input),
        }
        self.client.connection.check();
        self.server.connection.check();
    }

    /// Everything is carried and released until nothing moves; then all that was sent has arrived.
    fn settle(mut self) {
        let mut moved = true;
        for _ in 0..MOST_PIECES {
            if self.over() || !moved {
                break;
            }
            self.now = self.now + Duration::from_micros(1);
            self.client.release_all(self.now);
            self.server.release_all(self.now);
            let now = self.now;
            let (client, server) = (&mut self.client, &mut self.server);
            moved = client.write_to(server, 1 << 20, now) | server.write_to(client, 1 << 20, now);
            moved |= client.read(1 << 20, now) | server.read(1 << 20, now);
        }
        if self.over() {
            return;
        }
        assert!(!moved, "still moving");
        assert!(self.client.inbound.is_empty() && self.server.inbound.is_empty());
        for (id, ours) in &self.client.program.streams {
            let none = Seen::default();
            let theirs = self.server.program.streams.get(id).unwrap_or(&none);
            if ours.reset || theirs.reset {
                continue;
            }
            assert!(theirs.key.is_some(), "stream {id} never came, and was not reset");
            let (there, back) = ((ours.sent, theirs.received), (theirs.sent, ours.received));
            // RFC 9113 §8.1: a server whose response is complete lets the rest of the request go.
            let cut_short = theirs.sent.ended && !theirs.received.ended;
            assert!(
                there.0 == there.1 || cut_short && there.1.octets <= there.0.octets,
                "stream {id}: {there:?}"
            );
            assert_eq!(back.0, back.1, "stream {id}, to the client");
        }
    }
}

/// The client opens a stream, if it may.
fn open(client: &mut Side, now: Instant, input: &mut Input<'_>) {
    let end_stream = input.flag();
    let path = ["/a", "/b", "/longer/than/the/others"][input.below(3)];
    let token = input.octet().to_string();
    let head = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "a"),
        field("x-token", &token),
    ];
    let tx = client.connection.tx(now);
    if let Ok(key) = tx.open(head, end_stream) {
        let (_, seen) = client.program.seen(tx, key);
        seen.sent.ended = end_stream;
    }
}

/// One of the programs does something with one of its streams.
fn act(side: &mut Side, choice: u8, now: Instant, input: &mut Input<'_>) {
    let Some((id, key)) = side.pick(input) else { return };
    let length = input.one_of(&[1, 0, 20, 600, 5_000, 17_000, 40_000]);
    let end_stream = input.below(4) == 1;
    let salt = side.program.salt ^ 0x55;
    let tx = side.connection.tx(now);
    let seen = side.program.streams.entry(id).or_default();
    let from = seen.sent.octets;
    let body: Vec<u8> = (from..from + length).map(|at| octet(id, at, salt)).collect();
    let sent: Result<(usize, bool), SendError> = match choice {
        60..70 => tx.send_headers(key, [field(":status", "200")], end_stream).map(|()| (0, end_stream)),
        70..72 => tx.send_headers(key, [field(":status", "103")], false).map(|()| (0, false)),
        72..86 => tx.send_data(key, Bytes::from(body), end_stream).map(|()| (length, end_stream)),
        86..98 => {
            let encode = |out: &mut Vec<u8>| {
                out.extend_from_slice(&body);
                Ok::<(), ()>(())
            };
            tx.send_data_with(key, length, end_stream, encode).map(|_| (length, end_stream))
        }
        98..104 => tx.send_trailers(key, [field("grpc-status", "0")]).map(|()| (0, true)),
        104..106 => {
            seen.reset |= tx.stream_state(key) != clearway_http2::stream::State::Closed;
            tx.reset(key, ErrorCode::CANCEL);
            return;
        }
        106..112 => return tx.release(key, length),
        112..116 => return tx.expect_message(key, length * 10),
        116 => return tx.message_complete(key),
        117 => return tx.free(key),
        _ => return,
    };
    if let Ok((octets, ended)) = sent {
        seen.sent.octets += octets;
        seen.sent.ended |= ended;
    }
}
