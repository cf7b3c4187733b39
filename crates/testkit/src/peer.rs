//! One side of a connection played by hand, against an engine in memory, in virtual time.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, FrameHeader, Kind, SettingId};
use clearway_http2::hpack::{Decoder, Encoder, FieldSection, SectionLimits};
use clearway_http2::{Config, Connection, ConnectionError, ErrorCode, Instant, Role, StreamKey, Tx};

use crate::app::{App, field};
use crate::frames::{FrameSpec, Payload, settings, settings_ack};

/// The side opposite to the engine under test.
pub struct Peer {
    /// The engine under test.
    pub engine: Connection,
    /// The program on top of it.
    pub app: App,
    now: Instant,
    encoder: Encoder,
    decoder: Decoder,
    /// Bytes the engine has not taken.
    untaken: Vec<u8>,
    /// Bytes of the engine that are not a whole frame yet.
    partial: Vec<u8>,
    received: VecDeque<FrameSpec>,
    /// A field block without END_HEADERS so far.
    open_block: Option<FrameSpec>,
    /// We do not read what the engine sends.
    paused: bool,
    failure: Option<ConnectionError>,
}

impl Peer {
    /// A client for a server engine, after the handshake.
    #[must_use]
    pub fn of_server(config: Config) -> Self {
        Self::of_server_with(config, &[])
    }

    /// The same, with these settings of ours.
    #[must_use]
    pub fn of_server_with(config: Config, values: &[(SettingId, u32)]) -> Self {
        let mut peer = Self::of_silent_server(config);
        peer.send_octets(PREFACE);
        peer.send(settings(values));
        peer.finish_handshake();
        peer
    }

    /// A client for a server engine; nothing has been sent.
    #[must_use]
    pub fn of_silent_server(config: Config) -> Self {
        Self::new(Connection::server(config, Instant::ZERO))
    }

    /// A server for a client engine, after the handshake.
    #[must_use]
    pub fn of_client(config: Config) -> Self {
        Self::of_client_with(config, &[])
    }

    /// The same, with these settings of ours.
    #[must_use]
    pub fn of_client_with(config: Config, values: &[(SettingId, u32)]) -> Self {
        let mut peer = Self::of_silent_client(config);
        peer.send(settings(values));
        peer.finish_handshake();
        peer
    }

    /// A server for a client engine; nothing has been sent to it.
    #[must_use]
    pub fn of_silent_client(config: Config) -> Self {
        Self::new(Connection::client(config, Instant::ZERO))
    }

    fn new(engine: Connection) -> Self {
        let mut peer = Self {
            engine,
            app: App::default(),
            now: Instant::ZERO,
            encoder: Encoder::new(4096),
            decoder: Decoder::new(4096),
            untaken: Vec::new(),
            partial: Vec::new(),
            received: VecDeque::new(),
            open_block: None,
            paused: false,
            failure: None,
        };
        peer.flush();
        if peer.engine.role() == Role::Client {
            assert!(peer.partial.starts_with(PREFACE), "a client begins with its preface");
            peer.partial.drain(..PREFACE.len());
            peer.parse();
        }
        peer
    }

    fn finish_handshake(&mut self) {
        self.send(settings_ack());
        self.expect_kind(Kind::SETTINGS);
        let mut rest = self.drain();
        rest.retain(|frame| frame.kind != Kind::WINDOW_UPDATE);
        assert_eq!(rest, [settings_ack()], "the handshake");
        self.app.events.clear();
    }

    /// The present of this test.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Sends a frame.
    pub fn send(&mut self, spec: FrameSpec) {
        let octets = self.encode(&spec);
        self.send_octets(&octets);
    }

    /// Sends frames in one piece, as one read of a socket.
    pub fn send_all(&mut self, specs: impl IntoIterator<Item = FrameSpec>) {
        let octets: Vec<u8> = specs.into_iter().flat_map(|spec| self.encode(&spec)).collect();
        self.send_octets(&octets);
    }

    /// A frame's octets; a field section takes its turn in our HPACK state.
    pub fn encode(&mut self, spec: &FrameSpec) -> Vec<u8> {
        match &spec.payload {
            Payload::Octets(octets) => spec.wire(octets),
            Payload::Fields(fields) => {
                let mut block = Vec::new();
                self.encoder.begin(&mut block);
                for (name, value) in fields {
                    self.encoder.encode(field(name, value), &mut block);
                }
                spec.wire(&block)
            }
        }
    }

    /// Our decoder allows so many octets of table from here on, as SETTINGS_HEADER_TABLE_SIZE said.
    pub fn limit_our_table(&mut self, octets: u32) {
        self.decoder.set_max_table_octets(octets);
    }

    /// Encodes a field section alone, to be cut into HEADERS and CONTINUATION by hand.
    pub fn encode_block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        for (name, value) in fields {
            self.encoder.encode(field(name, value), &mut block);
        }
        block
    }

    /// Sends octets as they are.
    pub fn send_octets(&mut self, octets: &[u8]) {
        self.untaken.extend_from_slice(octets);
        self.offer();
        self.flush();
    }

    fn offer(&mut self) {
        if self.failure.is_some() || self.untaken.is_empty() {
            return;
        }
        let input = core::mem::take(&mut self.untaken);
        match self.engine.recv(self.now, &input, &mut self.app) {
            Ok(taken) => self.untaken = input[taken..].to_vec(),
            Err(error) => self.failure = Some(error),
        }
    }

    /// Octets the engine refused to take so far.
    #[must_use]
    pub fn untaken(&self) -> usize {
        self.untaken.len()
    }

    /// From here on we do not read what the engine sends.
    pub fn pause_reading(&mut self) {
        self.paused = true;
    }

    /// We read again.
    pub fn resume_reading(&mut self) {
        self.paused = false;
        self.flush();
    }

    /// Lets the engine write and reads what it wrote; offers again what it did not take.
    pub fn flush(&mut self) {
        loop {
            self.engine.transmit(self.now, &mut self.app);
            if self.paused || self.engine.pending_output() == 0 {
                break;
            }
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.engine.output(&mut slices);
            let octets: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            self.engine.wrote(octets.len());
            self.partial.extend_from_slice(&octets);
            self.offer();
        }
        if self.engine.role() == Role::Server || !self.partial.starts_with(b"PRI") {
            self.parse();
        }
    }

    /// The engine's sending half. Call [`Peer::flush`] afterwards, or any method that sends or expects.
    pub fn tx(&mut self) -> &mut Tx {
        self.engine.tx(self.now)
    }

    /// Client engine: opens a request.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn open(&mut self, end_stream: bool) -> StreamKey {
        let fields = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", "/pkg.Svc/Method"),
            field(":authority", "test"),
        ];
        let key = self.tx().open(fields, end_stream).expect("a stream can be opened");
        let id = self.tx().stream_id(key).expect("it is open");
        self.app.learn(id, key);
        self.flush();
        key
    }

    /// Server engine: sends `:status: 200` on a stream.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn respond(&mut self, id: u32, end_stream: bool) {
        let key = self.app.key(id);
        self.tx().send_headers(key, [field(":status", "200")], end_stream).unwrap();
        self.flush();
    }

    /// Server engine: ends a response with `grpc-status: 0`.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn trail(&mut self, id: u32) {
        let key = self.app.key(id);
        self.tx().send_trailers(key, [field("grpc-status", "0")]).unwrap();
        self.flush();
    }

    /// The engine under test sends DATA.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn write(&mut self, id: u32, data: &[u8], end_stream: bool) {
        let key = self.app.key(id);
        self.tx().send_data(key, bytes::Bytes::copy_from_slice(data), end_stream).unwrap();
        self.flush();
    }

    /// The program on top of the engine consumes octets of a stream.
    pub fn release(&mut self, id: u32, octets: usize) {
        let key = self.app.key(id);
        self.tx().release(key, octets);
        self.flush();
    }

    /// Time passes; the engine's timers run.
    pub fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        if self.failure.is_none()
            && self.engine.next_timer().is_some_and(|timer| timer <= self.now)
            && let Err(error) = self.engine.on_tick(self.now, &mut self.app)
        {
            self.failure = Some(error);
        }
        self.flush();
    }

    /// How the connection failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<ConnectionError> {
        self.failure
    }

    fn parse(&mut self) {
        while let Some((head, tail)) = self.partial.split_first_chunk() {
            let header = FrameHeader::decode(*head);
            let Some(payload) = tail.get(..header.length as usize) else { break };
            let payload = payload.to_vec();
            self.partial.drain(..FrameHeader::OCTETS + payload.len());
            self.take_frame(header, payload);
        }
    }

    fn take_frame(&mut self, header: FrameHeader, payload: Vec<u8>) {
        let FrameHeader { kind, flags, stream_id, .. } = header;
        let mut spec = FrameSpec {
            kind,
            flags,
            stream_id,
            payload: Payload::Octets(payload),
            prefix: Vec::new(),
            padding: None,
        };
        if kind == Kind::CONTINUATION {
            let mut whole = self.open_block.take().expect("CONTINUATION follows HEADERS");
            assert_eq!(whole.stream_id, stream_id, "CONTINUATION of another stream");
            if let (Payload::Octets(block), Payload::Octets(more)) = (&mut whole.payload, &spec.payload) {
                block.extend_from_slice(more);
            }
            whole.flags = whole.flags | Flags(flags.0 & Flags::END_HEADERS.0);
            spec = whole;
        } else {
            assert!(self.open_block.is_none(), "{kind:?} inside a field block");
        }
        if spec.kind == Kind::HEADERS {
            if !spec.flags.contains(Flags::END_HEADERS) {
                self.open_block = Some(spec);
                return;
            }
            if let Payload::Octets(block) = &spec.payload {
                spec.payload = Payload::Fields(decode(&mut self.decoder, block));
            }
        }
        self.received.push_back(spec);
    }

    /// The next frame the engine sent.
    pub fn next_frame(&mut self) -> Option<FrameSpec> {
        self.flush();
        self.received.pop_front()
    }

    /// Everything the engine sent that was not looked at.
    pub fn drain(&mut self) -> Vec<FrameSpec> {
        self.flush();
        self.received.drain(..).collect()
    }

    /// The next frame must be this one. WINDOW_UPDATE frames before it are skipped, unless one is expected.
    ///
    /// # Panics
    /// If it is another, or if there is none.
    #[track_caller]
    pub fn expect(&mut self, expected: FrameSpec) {
        let found = self.next_but_credit(expected.kind);
        assert_eq!(
            found.as_ref(),
            Some(&expected),
            "failure: {:?}, events: {:?}",
            self.failure,
            self.app.events
        );
    }

    /// The next frame must be of this type (WINDOW_UPDATE apart, as with [`Peer::expect`]); it is returned.
    ///
    /// # Panics
    /// If it is of another, or if there is none.
    #[track_caller]
    pub fn expect_kind(&mut self, kind: Kind) -> FrameSpec {
        match self.next_but_credit(kind) {
            Some(frame) if frame.kind == kind => frame,
            other => panic!("expected {kind:?}, got {other:?}; failure: {:?}", self.failure),
        }
    }

    /// The next frame must be a GOAWAY with this code, its debug text must hold `text`, and the connection must be over.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn expect_goaway(&mut self, code: ErrorCode, text: &str) {
        let frame = self.expect_kind(Kind::GOAWAY);
        let Payload::Octets(payload) = frame.payload else { panic!("GOAWAY has octets") };
        let debug = String::from_utf8_lossy(&payload[8..]).into_owned();
        let found = ErrorCode(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        assert_eq!(found, code, "debug text: {debug}");
        assert!(debug.contains(text), "{debug:?} does not say {text:?}");
        assert!(self.failure.is_some(), "the connection goes on");
    }

    /// As [`Peer::expect_goaway`], after whatever else the engine said before.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn expect_last_goaway(&mut self, code: ErrorCode, text: &str) {
        self.flush();
        self.received.retain(|frame| frame.kind == Kind::GOAWAY);
        self.expect_goaway(code, text);
        assert_eq!(self.received, [], "GOAWAY more than once");
    }

    /// The engine must have sent so many RST_STREAM frames at least, all with this code, and nothing else.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn expect_resets(&mut self, at_least: usize, code: ErrorCode) {
        let mut frames = self.drain();
        frames.retain(|frame| frame.kind != Kind::WINDOW_UPDATE);
        let same =
            |frame: &FrameSpec| frame.kind == Kind::RST_STREAM && frame.octets() == code.0.to_be_bytes();
        assert!(frames.iter().all(same), "{:?}", frames.iter().find(|frame| !same(frame)));
        assert!(frames.len() >= at_least, "{} resets", frames.len());
    }

    /// The engine must have nothing to say (WINDOW_UPDATE apart), and the connection must be alive.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        let mut frames = self.drain();
        frames.retain(|frame| frame.kind != Kind::WINDOW_UPDATE);
        assert_eq!(frames, [], "failure: {:?}", self.failure);
        assert_eq!(self.failure, None);
    }

    /// The connection must still answer a PING, after whatever else it has to say.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn expect_alive(&mut self) {
        let payload = *b"alive???";
        self.send(crate::ping(payload));
        let frames = self.drain();
        assert!(
            frames.contains(&crate::ping(payload).flags(Flags::ACK)),
            "no answer: {frames:?}, {:?}",
            self.failure
        );
    }

    /// Credit the engine has given on a stream (or on the connection, 0) since this was asked last; other frames stay.
    pub fn credit(&mut self, stream_id: u32) -> u64 {
        self.flush();
        let is_it = |frame: &FrameSpec| frame.kind == Kind::WINDOW_UPDATE && frame.stream_id == stream_id;
        let increment = |frame: &FrameSpec| match &frame.payload {
            Payload::Octets(octets) => u64::from(u32::from_be_bytes(octets[..4].try_into().unwrap())),
            Payload::Fields(_) => 0,
        };
        let sum = self.received.iter().filter(|frame| is_it(frame)).map(increment).sum();
        self.received.retain(|frame| !is_it(frame));
        sum
    }

    /// Octets of DATA the engine has sent on a stream and that were not looked at; they are removed.
    pub fn take_data(&mut self, stream_id: u32) -> usize {
        self.flush();
        let is_it = |frame: &FrameSpec| frame.kind == Kind::DATA && frame.stream_id == stream_id;
        let length = |frame: &FrameSpec| match &frame.payload {
            Payload::Octets(octets) => octets.len(),
            Payload::Fields(_) => 0,
        };
        let sum = self.received.iter().filter(|frame| is_it(frame)).map(length).sum();
        self.received.retain(|frame| !is_it(frame));
        sum
    }

    fn next_but_credit(&mut self, wanted: Kind) -> Option<FrameSpec> {
        self.flush();
        while self
            .received
            .front()
            .is_some_and(|frame| frame.kind == Kind::WINDOW_UPDATE && frame.kind != wanted)
        {
            self.received.pop_front();
        }
        self.received.pop_front()
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let mut section = FieldSection::default();
    let limits = SectionLimits { list_octets: 1 << 20, fields: 1 << 12 };
    decoder.decode(block, &limits, &mut section).expect("what the engine encodes decodes");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    section.iter().map(|field| (text(field.name), text(field.value))).collect()
}
