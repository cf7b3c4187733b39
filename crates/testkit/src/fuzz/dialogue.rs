//! The whole connection: legal and illegal frames of a scripted peer, cut anywhere, time that passes, and a program on top that
//! does what it likes. RFC 9113.
//!
//! After each step the engine's own invariants are checked ([`Connection::check`](clearway_http2::Connection::check)), it
//! has sent no DATA without credit, and what it sent can be read. A connection that has failed said so with one GOAWAY of the
//! right code; one that has not failed answers a PING.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clearway_http2::frame::{Flags, Kind, SettingId};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::stream::State;
use clearway_http2::{Config, ErrorCode, Part, Role, StreamKey};

use super::Input;
use crate::app::{Answer, field};
use crate::frames::{self, FrameSpec};
use crate::peer::Peer;

/// More steps than an input of usual size has.
const MOST_STEPS: usize = 3_000;

/// A server engine, talked to by a client.
///
/// # Panics
/// If the engine is wrong.
pub fn connection_server(octets: &[u8]) {
    Dialogue::new(octets, Role::Server).run();
}

/// A client engine, talked to by a server.
///
/// # Panics
/// If the engine is wrong.
pub fn connection_client(octets: &[u8]) {
    Dialogue::new(octets, Role::Client).run();
}

/// Credit as the peer counts it; an upper bound where frames are not legal.
struct Credit {
    initial: i64,
    connection: i64,
    streams: BTreeMap<u32, i64>,
    /// Nothing is known of it any more.
    blind: bool,
}

impl Credit {
    fn of(&mut self, stream_id: u32) -> &mut i64 {
        let initial = self.initial;
        self.streams.entry(stream_id).or_insert(initial)
    }

    /// The engine sent this.
    fn used(&mut self, frame: &FrameSpec) {
        if frame.kind() == Kind::DATA && !self.blind {
            let octets = frame.octets().len() as i64;
            self.connection -= octets;
            let stream = self.of(frame.stream_id());
            *stream -= octets;
            let enough = octets == 0 || *stream >= 0;
            assert!(enough && (octets == 0 || self.connection >= 0), "DATA without credit: {frame:?}");
        }
    }

    /// The peer sends this.
    fn given(&mut self, frame: &FrameSpec) {
        let octets = frame.octets();
        if frame.kind() == Kind::WINDOW_UPDATE
            && let Ok(increment) = octets.try_into()
        {
            let increment = i64::from(u32::from_be_bytes(increment) & 0x7fff_ffff);
            match frame.stream_id() {
                0 => self.connection += increment,
                id => *self.of(id) += increment,
            }
        } else if frame.kind() == Kind::SETTINGS && !frame.has(Flags::ACK) {
            for entry in octets.chunks_exact(6).filter(|entry| entry[..2] == [0, 4]) {
                let initial = i64::from(u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]));
                let by = initial - self.initial;
                // Streams that are not open yet will start with the new size.
                self.streams.values_mut().for_each(|credit| *credit += by);
                self.initial = initial;
            }
        }
    }
}

struct Dialogue<'a> {
    input: Input<'a>,
    peer: Peer,
    credit: Credit,
    next_id: u32,
    paused: bool,
    /// Octets went by that are no frames, or a field block is open: nothing is known any more.
    astray: bool,
    /// The last frame the engine sent.
    last: Option<FrameSpec>,
}

impl<'a> Dialogue<'a> {
    fn new(octets: &'a [u8], role: Role) -> Self {
        let mut input = Input::new(octets);
        let mut config = Config {
            stream_window_octets: input.one_of(&[65_536, 100, 5_000]),
            receive_budget_octets: input.one_of(&[1 << 24, 10_000]),
            max_concurrent_streams: input.one_of(&[20, 2]),
            header_table_octets: input.one_of(&[4096, 0, 100]),
            encoder_table_octets: input.one_of(&[4096, 0, 1000]),
            ..Config::default()
        };
        if input.flag() {
            config.limits.header_list_octets = 300;
            config.limits.control_frames = 3;
        }
        let initial = input.one_of(&[65_535, 0, 500, 200_000]);
        let values = [(SettingId::INITIAL_WINDOW_SIZE, initial)];
        let mut peer = match role {
            Role::Server => Peer::of_server_with(config, &values),
            Role::Client => Peer::of_client_with(config, &values),
        };
        peer.app.answer = input.one_of(&[Answer::Nothing, Answer::Ok]);
        peer.app.keeps_data = input.flag();
        peer.app.keeps_slots = input.flag();
        let initial = i64::from(initial);
        let credit = Credit { initial, connection: 65_535, streams: BTreeMap::new(), blind: false };
        Self { input, peer, credit, next_id: 1, paused: false, astray: false, last: None }
    }

    fn run(mut self) {
        for _ in 0..MOST_STEPS {
            if self.input.is_empty() || self.peer.failure().is_some() {
                break;
            }
            match self.input.octet() {
                choice @ 0..128 => self.wire(choice),
                choice @ 128..224 => self.program(choice - 128),
                224..240 => self.time(),
                240..246 => self.pause(),
                246..250 => self.astray_octets(),
                _ => self.begin(),
            }
            self.look();
        }
        self.finish();
    }

    /// What the engine sent since the last look.
    fn look(&mut self) {
        self.peer.engine.check();
        for frame in self.peer.drain() {
            self.credit.used(&frame);
            self.last = Some(frame);
        }
        self.peer.engine.check();
    }

    fn time(&mut self) {
        let millis = self.input.one_of(&[1, 50, 1_000, 3_000, 10_000, 40_000]);
        self.peer.advance(Duration::from_millis(millis));
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if self.paused { self.peer.pause_reading() } else { self.peer.resume_reading() }
    }

    fn astray_octets(&mut self) {
        let octets = self.input.string();
        self.astray = true;
        self.credit.blind = true;
        self.peer.send_octets(octets);
    }

    /// Sends a frame, whole or in two pieces with something in between.
    fn send(&mut self, frame: &FrameSpec) {
        // While frames wait on either side, credit cannot be told from what it was.
        let shrinks = frame.kind() == Kind::SETTINGS && (self.paused || self.peer.untaken() > 0);
        if shrinks {
            return;
        }
        self.astray |= frame.kind() == Kind::HEADERS && !frame.has(Flags::END_HEADERS);
        let octets = self.peer.encode(frame);
        let at = match self.input.octet() {
            cut @ 200.. => usize::from(cut - 200).min(octets.len()),
            _ => octets.len(),
        };
        let (first, second) = octets.split_at(at);
        self.peer.send_octets(first);
        if !second.is_empty() && self.peer.failure().is_none() {
            if self.input.flag() {
                let choice = self.input.octet();
                self.program(choice);
            } else if self.input.flag() {
                self.time();
            }
            self.look();
        }
        // It counts from the moment its last octet is there.
        self.credit.given(frame);
        self.peer.send_octets(second);
    }

    /// A stream for the peer's next frame: one that may still get some, or now and then any.
    fn id(&mut self) -> u32 {
        let choice = self.input.octet();
        if choice >= 250 {
            return (u32::from(choice) - 250 + self.next_id).saturating_sub(3);
        }
        let keys: Vec<_> = self.peer.app.keys().collect();
        let tx = self.peer.tx();
        let open = |state| matches!(state, State::Open | State::HalfClosedLocal);
        let live: Vec<u32> =
            keys.into_iter().filter(|(_, key)| open(tx.stream_state(*key))).map(|(id, _)| id).collect();
        if live.is_empty() { self.next_id } else { live[usize::from(choice) % live.len()] }
    }

    fn key(&mut self) -> Option<StreamKey> {
        let keys: Vec<_> = self.peer.app.keys().collect();
        let back = self.input.below(keys.len().min(8));
        keys.len().checked_sub(back + 1).map(|at| keys[at].1)
    }

    /// A new stream: the peer's, or ours.
    fn begin(&mut self) {
        let end_stream = self.input.flag();
        if self.peer.engine.role() == Role::Server {
            let spec = frames::headers(self.next_id).request();
            self.next_id += 2;
            return self.send(&if end_stream { spec.end_stream() } else { spec });
        }
        let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
            .map(|(name, value)| field(name, value));
        let other = [field("x", "y")];
        let whole = self.input.flag();
        let between = self.input.flag().then(|| self.input.take(1));
        let tx = self.peer.tx();
        let opened = if whole {
            tx.open(head, end_stream)
        } else {
            let second = Part { number: 1, fields: &other };
            let between =
                between.map(|octet| HeaderField { name: b"b", value: octet, indexing: Indexing::Without });
            tx.open_parts(Part { number: 0, fields: &head }, between, second, core::iter::empty())
        };
        if let Ok(key) = opened {
            let id = self.peer.tx().stream_id(key).unwrap();
            self.peer.app.learn(id, key);
            self.next_id = id + 2;
        }
    }

    /// Something the peer does.
    fn wire(&mut self, choice: u8) {
        let id = self.id();
        let code = ErrorCode(u32::from(choice) % 14);
        let frame = match choice {
            0..30 => self.some_data(id),
            30..34 => frames::headers(id).field("x-trailer", "1").end_stream(),
            34..38 => frames::headers(id).field(":status", self.input.one_of(&["200", "103", "0", "101"])),
            38..42 => frames::rst_stream(id, code),
            42..52 => {
                let on = if choice.is_multiple_of(2) { 0 } else { id };
                let increment = self.input.one_of(&[1, 100, 16_384, 70_000, 0, 0x7fff_ffff]);
                frames::window_update(on, increment)
            }
            52..60 => self.some_settings(),
            60..64 => frames::ping([choice; 8]),
            64..67 => frames::priority(id, id + 2 * u32::from(choice - 64)),
            67..70 => frames::unknown(choice, id, &[1; 5]),
            70..73 => frames::goaway(self.next_id.saturating_sub(2), code),
            73 => frames::push_promise(id, 2),
            74 => frames::settings_ack(),
            75 => frames::continuation(id, b"x"),
            76..80 => frames::headers(id).response().end_stream(),
            80..90 => self.any_frame(id),
            90..100 => self.any_request(),
            _ => frames::data(id, &[choice]),
        };
        self.send(&frame);
    }

    fn some_data(&mut self, id: u32) -> FrameSpec {
        let length = self.input.one_of(&[1, 0, 25, 700, 4_000, 16_384]);
        let frame = frames::data(id, &vec![7; length]);
        match self.input.octet() {
            pad @ 200.. => frame.padded(pad - 200),
            150..200 => frame.end_stream(),
            _ => frame,
        }
    }

    fn some_settings(&mut self) -> FrameSpec {
        let entries = self.input.below(4);
        let values: Vec<_> = (0..entries)
            .map(|_| {
                let id = SettingId(self.input.below(10) as u16);
                (id, self.input.one_of(&[0, 1, 10, 1_000, 4_096, 16_384, 70_000, 0x7fff_ffff, u32::MAX]))
            })
            .collect();
        frames::settings(&values)
    }

    /// Any type, flags and payload.
    fn any_frame(&mut self, id: u32) -> FrameSpec {
        let (kind, flags) = (self.input.octet() % 12, Flags(self.input.octet()));
        let on = if self.input.flag() { id } else { 0 };
        frames::unknown(kind, on, self.input.string()).flags(flags)
    }

    /// HEADERS with any block.
    fn any_request(&mut self) -> FrameSpec {
        let id = self.next_id;
        self.next_id += 2;
        let spec = frames::headers(id).block(self.input.string());
        match self.input.below(4) {
            0 => spec.unfinished(),
            1 => spec.end_stream(),
            2 => spec.depends_on(id.saturating_sub(2)),
            _ => spec,
        }
    }

    /// Something the program on top does.
    fn program(&mut self, choice: u8) {
        let Some(key) = self.key() else { return };
        let length = self.input.one_of(&[1, 0, 30, 5_000, 20_000, 70_000]);
        let flag = self.input.flag();
        let tx = self.peer.tx();
        match choice % 32 {
            0..4 => drop(tx.send_headers(key, [field(":status", "200")], flag)),
            4 => drop(tx.send_headers(key, [field(":status", "103")], false)),
            5 => drop(tx.send_fixed_headers(key, OK, flag)),
            6..10 => drop(tx.send_data(key, Bytes::from(vec![1; length]), flag)),
            10..13 => drop(tx.send_data_with(key, length, flag, |out| {
                out.resize(out.len() + length, 2);
                if flag && length == 30 { Err(()) } else { Ok(()) }
            })),
            13 | 14 => drop(tx.send_trailers(key, [field("grpc-status", "0")])),
            15 => drop(tx.send_fixed_trailers(key, TRAILERS)),
            16 => drop(tx.finish(key)),
            17 => tx.reset(key, ErrorCode::CANCEL),
            18 => tx.reset_and_hold(key, ErrorCode::CANCEL),
            19 => tx.free(key),
            20..23 => tx.release(key, length),
            23 => tx.expect_message(key, length),
            24 => tx.expect_message(key, length * 1_000),
            25 => tx.message_complete(key),
            26 => drop(tx.is_backlogged(key)),
            27 => assert!(tx.backlog_octets(key) == 0 || tx.blocked_on(key).is_some()),
            28 => tx.ping([9; 8]),
            29 if flag && length == 0 => tx.shutdown(),
            30 => {
                if let Some(buffer) = self.peer.engine.take_buffer() {
                    self.peer.engine.give_buffer(buffer);
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) {
        self.peer.resume_reading();
        self.look();
        if let Some(error) = self.peer.failure() {
            assert_eq!(self.peer.engine.recv(self.peer.now(), b"more", &mut self.peer.app), Err(error));
            let last = self.last.expect("a GOAWAY at least");
            assert_eq!(
                (last.kind(), last.octets().get(4..8)),
                (Kind::GOAWAY, Some(&error.code().0.to_be_bytes()[..]))
            );
            assert!(self.peer.engine.is_finished() && self.peer.engine.next_timer().is_none());
        } else if !self.astray {
            self.peer.expect_alive();
        }
    }
}

const OK: &[HeaderField<'static>] =
    &[HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert }];
const TRAILERS: &[HeaderField<'static>] =
    &[HeaderField { name: b"grpc-status", value: b"0", indexing: Indexing::Insert }];
