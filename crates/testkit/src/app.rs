//! The program on top of the engine under test: writes down every callback and answers as told.

use std::collections::BTreeMap;

use bytes::Bytes;
use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{
    Chunk, ErrorCode, Farewell, GoAway, Handler, RequestHead, Reset, ResponseHead, SendError, SlotFate,
    StreamKey, Tx,
};

/// One callback, as it came. Streams are named by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the callback")]
pub enum Event {
    Request { id: u32, path: String, end_stream: bool },
    Response { id: u32, status: u16, end_stream: bool },
    Informational { id: u32, status: u16 },
    Data { id: u32, data: Vec<u8>, end_stream: bool },
    Trailers { id: u32, fields: Vec<(String, String)> },
    Reset { id: u32, reset: Reset },
    OversizeRequest { id: u32, octets: usize },
    Writable { id: u32 },
    StreamSlot,
    Ready,
    GoAway { last_stream_id: u32, code: ErrorCode, debug: String },
    Pong([u8; 8]),
    GoingAway(Farewell),
    Probe { alive: bool },
}

/// What the program does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Answer {
    /// Nothing: the test answers through `Tx`.
    #[default]
    Nothing,
    /// 200 and no body, at once.
    Ok,
    /// 200, the body as it came, and its end when it ended.
    Echo,
}

/// The program on top. Every field may be changed at any time.
#[derive(Debug, Default)]
pub struct App {
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// What becomes of requests.
    pub answer: Answer,
    /// Octets of DATA are not released when they come: the test releases them.
    pub keeps_data: bool,
    /// Slots of reset streams are kept until the test calls `Tx::free`.
    pub keeps_slots: bool,
    keys: BTreeMap<u32, StreamKey>,
}

impl App {
    /// The key of a stream that was seen.
    ///
    /// # Panics
    /// If no callback has named this stream.
    #[must_use]
    pub fn key(&self, id: u32) -> StreamKey {
        *self.keys.get(&id).unwrap_or_else(|| panic!("stream {id} was never seen; events: {:?}", self.events))
    }

    /// The keys of all streams that were seen, by id; most may be stale.
    pub fn keys(&self) -> impl Iterator<Item = (u32, StreamKey)> {
        self.keys.iter().map(|(id, key)| (*id, *key))
    }

    /// Makes a stream known that the test itself opened.
    pub fn learn(&mut self, id: u32, key: StreamKey) {
        self.keys.insert(id, key);
    }

    /// The octets of DATA that came on a stream.
    #[must_use]
    pub fn body(&self, id: u32) -> Vec<u8> {
        let pieces = self.events.iter().filter_map(|event| match event {
            Event::Data { id: on, data, .. } if *on == id => Some(data.as_slice()),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// How a stream was reset, if it was.
    #[must_use]
    pub fn reset(&self, id: u32) -> Option<Reset> {
        self.events.iter().find_map(|event| match event {
            Event::Reset { id: on, reset } if *on == id => Some(*reset),
            _ => None,
        })
    }

    /// How many requests began.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Request { .. })).count()
    }

    fn id(&mut self, tx: &Tx, stream: StreamKey) -> u32 {
        let id = tx.stream_id(stream).expect("callbacks come while the key is good");
        self.keys.insert(id, stream);
        id
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A field to send, indexed if it may be.
#[must_use]
pub(crate) fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

/// Sends the header section of a response. A peer that takes no sections of that size gets none.
fn respond(tx: &mut Tx, stream: StreamKey, status: &str, end_stream: bool) {
    match tx.send_headers(stream, [field(":status", status)], end_stream) {
        Err(SendError::HeaderListTooLarge { .. }) => tx.reset(stream, ErrorCode::INTERNAL_ERROR),
        sent => sent.unwrap(),
    }
}

impl Handler for App {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        let id = self.id(tx, stream);
        self.events.push(Event::Request { id, path: text(head.path), end_stream });
        match self.answer {
            Answer::Nothing => {}
            Answer::Ok => respond(tx, stream, "200", true),
            Answer::Echo => respond(tx, stream, "200", end_stream),
        }
    }

    fn on_response(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {
        let id = self.id(tx, stream);
        self.events.push(Event::Response { id, status: head.status, end_stream });
    }

    fn on_informational(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>) {
        let id = self.id(tx, stream);
        self.events.push(Event::Informational { id, status: head.status });
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        let id = self.id(tx, stream);
        self.events.push(Event::Data { id, data: data.as_slice().to_vec(), end_stream });
        if self.answer == Answer::Echo {
            tx.send_data(stream, Bytes::copy_from_slice(data.as_slice()), end_stream).unwrap();
        }
        if !self.keeps_data {
            tx.release(stream, data.as_slice().len());
        }
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, fields: &FieldSection) {
        let id = self.id(tx, stream);
        let fields = fields.iter().map(|field| (text(field.name), text(field.value))).collect();
        self.events.push(Event::Trailers { id, fields });
        if self.answer == Answer::Echo {
            tx.finish(stream).unwrap();
        }
    }

    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        let id = self.id(tx, stream);
        self.events.push(Event::Reset { id, reset });
        if self.keeps_slots { SlotFate::HeldByApplication } else { SlotFate::Free }
    }

    fn on_oversize_request(&mut self, tx: &mut Tx, stream: StreamKey, octets: usize) {
        let id = self.id(tx, stream);
        self.events.push(Event::OversizeRequest { id, octets });
        respond(tx, stream, "431", true);
    }

    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {
        let id = self.id(tx, stream);
        self.events.push(Event::Writable { id });
    }

    fn on_stream_slot(&mut self, _: &mut Tx) {
        self.events.push(Event::StreamSlot);
    }

    fn on_ready(&mut self, _: &mut Tx) {
        self.events.push(Event::Ready);
    }

    fn on_goaway(&mut self, _: &mut Tx, goaway: &GoAway<'_>) {
        let GoAway { last_stream_id, code, debug } = *goaway;
        self.events.push(Event::GoAway { last_stream_id, code, debug: text(debug) });
    }

    fn on_going_away(&mut self, _: &mut Tx, why: Farewell) {
        self.events.push(Event::GoingAway(why));
    }

    fn on_probe(&mut self, _: &mut Tx, alive: bool) {
        self.events.push(Event::Probe { alive });
    }

    fn on_pong(&mut self, _: &mut Tx, payload: [u8; 8]) {
        self.events.push(Event::Pong(payload));
    }
}
