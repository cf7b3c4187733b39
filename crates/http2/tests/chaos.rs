//! Random dialogues, legal and not, in both roles: nothing panics, the engine's own invariants hold after every input
//! (they are checked in debug builds), it never sends DATA without credit, what it sends can be read, and the output of a
//! connection that has failed ends with one GOAWAY.
//!
//! The seed of a failing run is in the message; CLEARWAY_SEED=n replays it.

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
use clearway_http2::frame::{Flags, Kind, SettingId};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::stream::State;
use clearway_http2::{Config, ErrorCode, Role, StreamKey};
use clearway_testkit::{
    Answer, FrameSpec, Peer, Random, continuation, data, goaway, headers, ping, priority, push_promise,
    rst_stream, seed_from_env, settings, settings_ack, unknown, window_update,
};

/// Credit as the peer counts it.
struct Credit {
    initial: i64,
    connection: i64,
    streams: BTreeMap<u32, i64>,
}

impl Credit {
    fn sent(&mut self, frame: &FrameSpec, seed: u64) {
        if frame.kind() == Kind::DATA {
            let octets = frame.octets().len() as i64;
            let initial = self.initial;
            let stream = self.streams.entry(frame.stream_id()).or_insert(initial);
            *stream -= octets;
            self.connection -= octets;
            let enough = octets == 0 || (*stream >= 0 && self.connection >= 0);
            assert!(enough, "seed {seed}: DATA without credit: {stream}, {}", self.connection);
        }
    }
}

struct Run {
    peer: Peer,
    random: Random,
    credit: Credit,
    next_id: u32,
    seed: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = Config {
            stream_window_octets: [100, 5_000, 65_536][random.below(3)],
            receive_budget_octets: [10_000, 1 << 24][random.below(2)],
            max_concurrent_streams: [2, 20][random.below(2)],
            ..Config::default()
        };
        let initial = [0, 500, 65_535, 200_000][random.below(4)];
        let values = [(SettingId::INITIAL_WINDOW_SIZE, initial)];
        let server = random.one_in(2);
        let mut peer = if server {
            Peer::of_server_with(config, &values)
        } else {
            Peer::of_client_with(config, &values)
        };
        peer.app.keeps_data = random.one_in(2);
        peer.app.keeps_slots = random.one_in(2);
        if server && random.one_in(3) {
            peer.app.answer = Answer::Ok;
        }
        let credit = Credit { initial: i64::from(initial), connection: 65_535, streams: BTreeMap::new() };
        Self { peer, random, credit, next_id: 1, seed }
    }

    fn step(&mut self) {
        if self.random.one_in(3) {
            self.program();
        } else {
            self.wire();
        }
        if self.random.one_in(10) {
            let millis = [1, 50, 3_000][self.random.below(3)];
            self.peer.advance(Duration::from_millis(millis));
        }
        for frame in self.peer.drain() {
            self.credit.sent(&frame, self.seed);
        }
    }

    /// Mostly a stream that is open for what the peer may send, now and then any other.
    fn id(&mut self) -> u32 {
        if self.random.one_in(300) {
            return self.random.below(self.next_id as usize + 2) as u32 | 1;
        }
        let keys: Vec<_> = self.peer.app.keys().collect();
        let open = |state| matches!(state, State::Open | State::HalfClosedLocal);
        let live: Vec<u32> = keys
            .into_iter()
            .filter(|(_, key)| open(self.peer.tx().stream_state(*key)))
            .map(|(id, _)| id)
            .collect();
        if live.is_empty() { 0 } else { live[self.random.below(live.len())] }
    }

    /// Something the peer does.
    fn wire(&mut self) {
        let id = self.id();
        if id == 0 {
            return self.begin();
        }
        let length = [0, 1, 25, 700, 4_000][self.random.below(5)];
        let frame = match self.random.below(40) {
            0..8 => return self.begin(),
            8..18 => data(id, &vec![7; length]),
            18..21 => headers(id).field("x-trailer", "1").end_stream(),
            21..23 => rst_stream(id, ErrorCode(self.random.below(14) as u32)),
            23..29 => return self.give_credit(id, length as u32 + 1),
            29 => return self.change_window(),
            30 => ping([self.random.below(256) as u8; 8]),
            31 => priority(id, id + 2),
            32 => unknown(0x20, id, &[1; 5]),
            33 => settings(&[(SettingId::HEADER_TABLE_SIZE, self.random.below(5_000) as u32)]),
            34 => settings(&[(SettingId::MAX_CONCURRENT_STREAMS, self.random.below(5) as u32)]),
            35 if self.peer.engine.role() == Role::Client => goaway(self.next_id, ErrorCode::NO_ERROR),
            36 => headers(id).field(":status", "103"),
            37 => headers(id).response(),
            38 if self.random.one_in(30) => self.illegal(id),
            _ => data(id, b"x"),
        };
        let frame = if frame.kind() == Kind::DATA && self.random.one_in(4) {
            frame.padded(self.random.below(100) as u8)
        } else {
            frame
        };
        let ends = frame.kind() == Kind::DATA && self.random.one_in(6);
        self.peer.send(if ends { frame.end_stream() } else { frame });
    }

    fn illegal(&mut self, id: u32) -> FrameSpec {
        let all = [
            continuation(id, b"x"),
            push_promise(id, 2),
            settings_ack(),
            window_update(id, 0),
            window_update(0, 0x7fff_ffff),
            headers(id).block(&[0x80]),
            data(0, b"x"),
            ping([0; 8]).on(1),
            headers(id + 1).request(),
        ];
        all[self.random.below(all.len())].clone()
    }

    /// A new stream: the peer's, or ours.
    fn begin(&mut self) {
        let end_stream = self.random.one_in(3);
        if self.peer.engine.role() == Role::Server {
            let spec = headers(self.next_id).request();
            self.next_id += 2;
            self.peer.send(if end_stream { spec.end_stream() } else { spec });
            return;
        }
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        if let Ok(key) = self.peer.tx().open(fields.map(|(name, value)| field(name, value)), end_stream) {
            let id = self.peer.tx().stream_id(key).unwrap();
            self.peer.app.learn(id, key);
            self.next_id = id + 2;
        }
    }

    fn give_credit(&mut self, id: u32, octets: u32) {
        if self.random.one_in(2) {
            self.credit.connection += i64::from(octets);
            self.peer.send(window_update(0, octets));
        } else {
            let initial = self.credit.initial;
            *self.credit.streams.entry(id).or_insert(initial) += i64::from(octets);
            self.peer.send(window_update(id, octets));
        }
    }

    fn change_window(&mut self) {
        let initial = [0, 10, 1_000, 70_000][self.random.below(4)];
        let by = i64::from(initial) - self.credit.initial;
        // Streams that are not open yet will start with the new size.
        self.credit.streams.values_mut().for_each(|credit| *credit += by);
        self.credit.initial = i64::from(initial);
        self.peer.send(settings(&[(SettingId::INITIAL_WINDOW_SIZE, initial)]));
    }

    /// Something the program on top does.
    fn program(&mut self) {
        let keys: Vec<(u32, StreamKey)> = self.peer.app.keys().collect();
        if keys.is_empty() {
            return;
        }
        let (_, key) = keys[keys.len() - 1 - self.random.below(keys.len().min(6))];
        let length = [0, 1, 30, 5_000, 40_000][self.random.below(5)];
        let choice = self.random.below(24);
        let flag = self.random.one_in(4);
        let tx = self.peer.tx();
        match choice {
            0..5 => drop(tx.send_headers(key, [field(":status", "200")], flag)),
            5..10 => drop(tx.send_data(key, Bytes::from(vec![1; length]), flag)),
            10..13 => drop(tx.send_data_with(key, length, flag, |out| {
                out.resize(out.len() + length, 2);
                if flag && length == 1 { Err(()) } else { Ok(()) }
            })),
            13..15 => drop(tx.send_trailers(key, [field("grpc-status", "0")])),
            15 => tx.reset(key, ErrorCode::CANCEL),
            16 => tx.reset_and_hold(key, ErrorCode::CANCEL),
            17 => tx.free(key),
            18 | 19 => tx.release(key, length),
            20 => tx.expect_message(key, length),
            21 => tx.message_complete(key),
            22 => drop(tx.is_backlogged(key)),
            _ if flag && length == 0 => tx.shutdown(),
            _ => tx.ping([9; 8]),
        }
    }
}

fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

fn run(seed: u64) -> bool {
    let mut run = Run::new(seed);
    for _ in 0..300 {
        run.step();
        if run.peer.failure().is_some() {
            break;
        }
    }
    run.peer.flush();
    run.peer.failure().is_some()
}

#[test]
fn random_dialogues_keep_the_invariants() {
    if let Some(seed) = seed_from_env() {
        run(seed);
        return;
    }
    let failed = (1..=3_000u64)
        .filter(|seed| {
            let verdict = std::panic::catch_unwind(|| run(*seed));
            verdict.unwrap_or_else(|_| panic!("seed {seed} (CLEARWAY_SEED={seed} replays it)"))
        })
        .count();
    println!("{failed} of 3000 connections ended with an error");
    assert!((100..2_700).contains(&failed), "{failed}: the dialogues are too tame or too wild");
}

/// Noise after the handshake: an error or silence, never a panic.
#[test]
fn noise_does_no_harm() {
    for seed in 1..=2_000 {
        let mut random = Random::new(seed);
        let mut peer = if random.one_in(2) {
            Peer::of_server(Config::default())
        } else {
            Peer::of_client(Config::default())
        };
        for _ in 0..10 {
            let length = random.below(40);
            let mut payload: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            let id = random.below(8) as u32;
            let frame = unknown(random.below(11) as u8, id, &payload).flags(Flags(random.bits() as u8));
            peer.send(frame);
            payload.truncate(random.below(20));
            if random.one_in(10) {
                peer.send_octets(&payload);
            }
        }
    }
}
