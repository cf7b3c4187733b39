//! The program on top of one engine: a client or a server that does whatever its seed says, inside callbacks and outside,
//! and checks what it is told: every octet of every body, the order of callbacks, and that every call ends once.
//!
//! What is wrong goes to [`Program::fault`]; the world looks there after every step.

mod callbacks;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{
    By, Chunk, ErrorCode, GoAway, Handler, OpenError, Part, RequestHead, Reset, ResponseHead, Role,
    SendError, SlotFate, StreamKey, Tx, Violation,
};
use clearway_testkit::Random;

use crate::body;

/// How a call ended, as the program was told or decided itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// The response is whole.
    Complete,
    Reset(Reset),
    /// By the program itself.
    GaveUp(ErrorCode),
    Lost,
}

/// When the program releases what came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    AtOnce,
    NowAndThen,
    /// A message of so many octets must be whole before it is released.
    Whole(usize),
}

/// One call, as the program sees it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u32,
    pub(crate) sent: u64,
    /// Our end was handed to the engine.
    pub(crate) finished: bool,
    head_said: bool,
    pub(crate) received: u64,
    held: usize,
    reading: Reading,
    got_head: bool,
    pub(crate) got_end: bool,
    pub(crate) ended: Option<Ended>,
    /// The engine said that it will say when to go on.
    pub(crate) waits_to_write: bool,
}

/// What both programs of a connection know.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// What each side (the server: `true`) has sent on each stream in all, known once it has submitted the end.
    totals: BTreeMap<(u32, bool), u64>,
    /// What each request asked for.
    pub(crate) paths: BTreeMap<u32, &'static str>,
}

/// Shared by two programs and the world.
pub(crate) type Shared = Rc<RefCell<Truth>>;

/// The program.
#[derive(Debug)]
pub(crate) struct Program {
    role: Role,
    random: Random,
    pub(crate) calls: BTreeMap<StreamKey, Call>,
    /// Requests shown since the world looked last.
    pub(crate) shown: Vec<u32>,
    held_slots: Vec<StreamKey>,
    /// Header sections that were shown with a number.
    sections: BTreeMap<u64, Vec<u8>>,
    truth: Shared,
    /// The receive budget is small enough to run out.
    tight: bool,
    /// Octets it sends of one call at most.
    most: u64,
    /// Calls it has at once.
    most_calls: usize,
    /// Chattiness ends: calls are only brought to their end.
    pub(crate) finishing: bool,
    pub(crate) pings: i64,
    pub(crate) waits_for_slot: bool,
    pub(crate) fault: Option<String>,
    /// The peer ended the connection for what we did.
    pub(crate) accused: Option<String>,
}

const PATHS: [&str; 3] = ["/sim.Calls/Unary", "/sim.Calls/Chat", "/"];

const fn fixed(name: &'static str, value: &'static str) -> HeaderField<'static> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

static HEAD: [HeaderField<'static>; 2] = [fixed(":status", "200"), fixed("content-type", "application/grpc")];
static TRAILERS: [HeaderField<'static>; 1] = [fixed("grpc-status", "0")];
static TE: [HeaderField<'static>; 2] = [fixed("te", "trailers"), fixed("content-type", "application/grpc")];

fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

const CODES: [ErrorCode; 4] =
    [ErrorCode::CANCEL, ErrorCode::INTERNAL_ERROR, ErrorCode::NO_ERROR, ErrorCode::ENHANCE_YOUR_CALM];

impl Call {
    /// Releases what is whole, and asks for the rest of what is not; the message after it has `next` octets.
    fn assemble(&mut self, tx: &mut Tx, stream: StreamKey, came: usize, end: bool, next: usize) {
        self.held += came;
        while let Reading::Whole(size) = self.reading
            && self.held >= size
        {
            tx.message_complete(stream);
            tx.release(stream, size);
            self.held -= size;
            self.reading = Reading::Whole(next);
        }
        if end {
            tx.message_complete(stream);
            tx.release(stream, std::mem::take(&mut self.held));
        } else if let Reading::Whole(size) = self.reading
            && self.held > 0
        {
            tx.expect_message(stream, size - self.held);
        }
    }
}

impl Program {
    pub(crate) fn new(role: Role, mut random: Random, truth: Shared, tight: bool, most: u64) -> Self {
        let most_calls = [4, 10, 30][random.below(3)];
        Self {
            role,
            random,
            most_calls,
            calls: BTreeMap::new(),
            shown: Vec::new(),
            held_slots: Vec::new(),
            sections: BTreeMap::new(),
            truth,
            tight,
            most,
            finishing: false,
            pings: 0,
            waits_for_slot: false,
            fault: None,
            accused: None,
        }
    }

    fn blame(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    /// The call a callback is about; one that is over must not be heard of again.
    fn call(&mut self, stream: StreamKey, callback: &str) -> Option<&mut Call> {
        let open = self.calls.get(&stream).is_some_and(|call| call.ended.is_none());
        if !open {
            let call = self.calls.get(&stream);
            self.blame(format!("{callback} about a call that is over: {stream:?}, {call:?}"));
            return None;
        }
        self.calls.get_mut(&stream)
    }

    /// The value of a header: mostly none, sometimes one that takes several frames, as far as the peer wants it.
    fn filling(&mut self, tx: &Tx) -> String {
        let room = tx.peer_settings();
        let room = if room.received { room.max_header_list as usize } else { 16_384 };
        let most = [0, 0, 100, 3_000, room - 1_000][self.random.below(5)];
        let octet = ["x", "y"][self.random.below(2)];
        octet.repeat(self.random.below(most))
    }

    fn begin(&mut self, tx: &Tx, stream: StreamKey) {
        let id = tx.stream_id(stream).unwrap_or_default();
        let reading = match self.random.below(4) {
            0 => Reading::NowAndThen,
            1 => Reading::Whole(1 + self.random.below(50_000)),
            _ => Reading::AtOnce,
        };
        let call = Call {
            id,
            sent: 0,
            finished: false,
            head_said: self.role == Role::Client,
            received: 0,
            held: 0,
            reading,
            got_head: self.role == Role::Server,
            got_end: false,
            ended: None,
            waits_to_write: false,
        };
        if self.calls.insert(stream, call).is_some() {
            self.blame(format!("{stream:?} is used twice"));
        }
    }

    /// Client: opens a call, if it may.
    pub(crate) fn open(&mut self, tx: &mut Tx) -> bool {
        if self.calls.len() >= self.most_calls {
            return false;
        }
        let path = PATHS[self.random.below(PATHS.len())];
        let end = self.random.one_in(5);
        let fields = [field(":method", "POST"), field(":scheme", "http"), field(":authority", "sim")];
        let opened = if end || self.random.one_in(2) {
            let more = self.filling(tx);
            let more = (!more.is_empty()).then(|| field("x-more", &more));
            let fields = fields.into_iter().chain([field(":path", path)]).chain(more);
            tx.open(fields, end)
        } else {
            let [first, second] = [Part { number: 0, fields: &fields }, Part { number: 1, fields: &TE }];
            let rest = self.random.one_in(3).then(|| field("x-rest", "z"));
            tx.open_parts(first, Some(field(":path", path)), second, rest.into_iter())
        };
        match opened {
            Ok(stream) => {
                self.begin(tx, stream);
                self.truth.borrow_mut().paths.insert(tx.stream_id(stream).unwrap_or_default(), path);
                if end {
                    self.finished(stream);
                }
                true
            }
            Err(OpenError::StreamLimit) => {
                self.waits_for_slot = true;
                false
            }
            Err(OpenError::GoingAway | OpenError::Closed) => false,
            Err(error) => {
                self.blame(format!("a call cannot be opened: {error}"));
                false
            }
        }
    }

    fn finished(&mut self, stream: StreamKey) {
        if let Some(call) = self.calls.get_mut(&stream) {
            call.finished = true;
            self.truth.borrow_mut().totals.insert((call.id, self.role == Role::Server), call.sent);
        }
    }

    /// Something random with one of the calls.
    pub(crate) fn act(&mut self, tx: &mut Tx) {
        let open = self.calls.values().filter(|call| call.ended.is_none()).count();
        if open == 0 {
            return;
        }
        let at = self.random.below(open);
        let chosen = self.calls.iter().filter(|(_, call)| call.ended.is_none()).nth(at).map(|(key, _)| *key);
        if let Some(stream) = chosen {
            self.act_on(tx, stream);
        }
        if self.random.one_in(10) {
            self.held_slots.pop().into_iter().for_each(|stream| tx.free(stream));
        }
    }

    fn act_on(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.calls.get(&stream).filter(|call| call.ended.is_none()) else { return };
        let (may_send, waits) = (!call.finished && call.head_said, call.waits_to_write);
        match self.random.below(20) {
            0..4 if !call.head_said => self.say_head(tx, stream),
            0..8 if may_send && !waits => self.send(tx, stream),
            8 | 9 if may_send => self.end(tx, stream),
            10 if self.random.one_in(3) => self.give_up(tx, stream),
            11..15 => self.release(tx, stream),
            15 if !call.got_end && call.reading == Reading::AtOnce => {
                tx.expect_message(stream, self.random.below(50_000));
            }
            16 if !matches!(call.reading, Reading::Whole(_)) => tx.message_complete(stream),
            17 if may_send => {
                let waits = tx.is_backlogged(stream);
                if let Some(call) = self.calls.get_mut(&stream) {
                    call.waits_to_write = waits;
                }
            }
            18 if self.random.one_in(4) => {
                tx.ping(*b"sim-ping");
                self.pings += 1;
            }
            _ => {}
        }
    }

    fn sent(&mut self, what: &str, outcome: Result<(), SendError>) {
        if let Err(error) = outcome {
            self.blame(format!("{what} of an open call failed: {error:?}"));
        }
    }

    fn say_head(&mut self, tx: &mut Tx, stream: StreamKey) {
        if self.random.one_in(5) {
            let outcome = tx.send_headers(stream, [field(":status", "103"), field("link", "x")], false);
            return self.sent("an informational response", outcome);
        }
        let end = self.random.one_in(8);
        let outcome = if self.random.one_in(2) {
            tx.send_fixed_headers(stream, &HEAD, end)
        } else {
            let more = self.filling(tx);
            tx.send_headers(stream, [field(":status", "200"), field("x-more", &more)], end)
        };
        self.sent("the head", outcome);
        if let Some(call) = self.calls.get_mut(&stream) {
            call.head_said = true;
        }
        if end {
            self.finished(stream);
        }
    }

    fn send(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.calls.get_mut(&stream) else { return };
        let most = [1, 20, 300, 700, 5_000, 70_000][self.random.below(6)];
        let octets = self.random.below(most).min(usize::try_from(self.most - call.sent).unwrap_or(0));
        let data = body::octets(call.id, self.role, call.sent, octets);
        call.sent += octets as u64;
        let end = self.random.one_in(12);
        let outcome = if self.random.one_in(2) {
            tx.send_data(stream, Bytes::copy_from_slice(data), end)
        } else {
            let put = |out: &mut Vec<u8>| {
                out.extend_from_slice(data);
                Ok::<(), ()>(())
            };
            tx.send_data_with(stream, octets, end, put).map(|_| ())
        };
        self.sent("DATA", outcome);
        if end {
            self.finished(stream);
        }
    }

    fn end(&mut self, tx: &mut Tx, stream: StreamKey) {
        let sent = self.calls.get(&stream).map_or(0, |call| call.sent).to_string();
        let outcome = if self.random.one_in(3) {
            tx.finish(stream)
        } else if self.random.one_in(3) {
            tx.send_fixed_trailers(stream, &TRAILERS)
        } else {
            tx.send_trailers(stream, [field("grpc-status", "0"), field("x-sent", &sent)])
        };
        self.sent("the end", outcome);
        self.finished(stream);
    }

    fn give_up(&mut self, tx: &mut Tx, stream: StreamKey) {
        let code = CODES[self.random.below(CODES.len())];
        if self.random.one_in(4) {
            tx.reset_and_hold(stream, code);
            self.held_slots.push(stream);
        } else {
            tx.reset(stream, code);
        }
        if let Some(call) = self.calls.get_mut(&stream) {
            call.ended = Some(Ended::GaveUp(code));
        }
    }

    fn release(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.calls.get_mut(&stream) else { return };
        if matches!(call.reading, Reading::Whole(_)) {
            return;
        }
        let octets = if self.random.one_in(2) { call.held } else { self.random.below(call.held + 1) };
        call.held -= octets;
        tx.release(stream, octets);
    }

    /// Brings every call one step nearer to its end; does nothing random.
    pub(crate) fn finish_calls(&mut self, tx: &mut Tx) {
        self.held_slots.drain(..).for_each(|stream| tx.free(stream));
        let open: Vec<StreamKey> =
            self.calls.iter().filter(|(_, call)| call.ended.is_none()).map(|(key, _)| *key).collect();
        for stream in open {
            let Some(call) = self.calls.get_mut(&stream) else { continue };
            if !matches!(call.reading, Reading::Whole(_)) {
                call.reading = Reading::AtOnce;
                tx.message_complete(stream);
                tx.release(stream, std::mem::take(&mut call.held));
            }
            if call.finished {
                continue;
            }
            if !call.head_said {
                call.head_said = true;
                let outcome = tx.send_headers(stream, [field(":status", "200")], false);
                self.sent("the head", outcome);
            }
            self.end(tx, stream);
        }
    }

    /// The connection is over.
    pub(crate) fn lost(&mut self) {
        let open = self.calls.values_mut().filter(|call| call.ended.is_none());
        open.for_each(|call| call.ended = Some(Ended::Lost));
        self.held_slots.clear();
    }

    /// The peer ended its side: everything it sent must be here.
    fn check_end(&mut self, stream: StreamKey, claimed: Option<u64>) {
        let peer = if self.role == Role::Client { Role::Server } else { Role::Client };
        let role = self.role;
        let Some(call) = self.calls.get_mut(&stream) else { return };
        if std::mem::replace(&mut call.got_end, true) {
            let text = format!("the peer's side of call {} ended twice", call.id);
            return self.blame(text);
        }
        let sent = self.truth.borrow().totals.get(&(call.id, peer == Role::Server)).copied();
        if sent != Some(call.received) || claimed.is_some_and(|claimed| claimed != call.received) {
            let text =
                format!("call {}: {} octets came of {sent:?} (claimed {claimed:?})", call.id, call.received);
            return self.blame(text);
        }
        if role == Role::Client {
            call.ended = Some(Ended::Complete);
        }
    }

    /// Server: a request begins.
    fn requested(&mut self, tx: &mut Tx, stream: StreamKey, end_stream: bool) {
        self.begin(tx, stream);
        self.shown.extend(tx.stream_id(stream));
        if end_stream {
            self.check_end(stream, None);
        }
        self.react(tx, stream);
    }

    /// Now and then something is done inside of a callback.
    fn react(&mut self, tx: &mut Tx, stream: StreamKey) {
        if !self.finishing && self.random.one_in(3) {
            self.act_on(tx, stream);
        }
    }
}
