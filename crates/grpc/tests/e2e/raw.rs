//! A client without any gRPC in it: our engine's client side, driven field by field, so that a test can send what our
//! own client never would and see what came back as it was on the wire.

use std::sync::Arc;

use bytes::Bytes;
use clearway::Code;
use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use clearway_http2::{
    Chunk, Config, Connection, ErrorCode, Handler, Reset, ResponseHead, SlotFate, StreamKey, Tx,
};
use clearway_transport::{Application, Clock, Closed, Driver, DriverConfig, OpQueue, Stream};
use tokio::sync::{mpsc, oneshot};

/// Fields in wire order.
pub(crate) type Fields = Vec<(String, String)>;

/// The head of a request for `path` as a gRPC client sends it.
pub(crate) fn grpc(path: &str) -> Fields {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The same head with one field set to another value, or added.
pub(crate) fn with(mut fields: Fields, name: &str, value: &str) -> Fields {
    match fields.iter_mut().find(|field| field.0 == name) {
        Some(field) => field.1 = value.to_owned(),
        None => fields.push((name.to_owned(), value.to_owned())),
    }
    fields
}

/// The same head without a field.
pub(crate) fn without(mut fields: Fields, name: &str) -> Fields {
    fields.retain(|field| field.0 != name);
    fields
}

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut octets = vec![0];
    octets.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    octets.extend_from_slice(message);
    octets
}

/// What came back on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Zero without a head.
    pub(crate) http: u16,
    pub(crate) head: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Fields>,
    /// The stream was reset with this, after whatever else came.
    pub(crate) reset: Option<ErrorCode>,
    /// The connection was lost first.
    pub(crate) lost: bool,
}

impl Answer {
    fn section(&self) -> &Fields {
        self.trailers.as_ref().unwrap_or(&self.head)
    }

    /// A field of the trailers, or of the head if that is all there is.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.section().iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// All values of a field of the head.
    pub(crate) fn head(&self, name: &str) -> Vec<&str> {
        self.head.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect()
    }

    /// `grpc-status`.
    pub(crate) fn code(&self) -> Code {
        let digits = self.trailer("grpc-status").unwrap_or_else(|| panic!("no grpc-status: {self:?}"));
        Code::from_i32(digits.parse().unwrap())
    }

    /// `grpc-message`, as it was on the wire.
    pub(crate) fn message(&self) -> &str {
        self.trailer("grpc-message").unwrap_or_default()
    }
}

/// A connection to a server under test.
pub(crate) struct RawConnection {
    ops: Arc<OpQueue<Op>>,
}

impl RawConnection {
    pub(crate) fn over(stream: Stream) -> Self {
        let clock = Clock::start();
        let connection = Connection::client(Config::default(), clock.now());
        let (ops, peer) = (Arc::new(OpQueue::default()), stream.peer());
        let app = App { streams: Vec::new() };
        tokio::spawn(Driver::new(
            stream,
            peer,
            connection,
            app,
            Arc::clone(&ops),
            clock,
            DriverConfig::default(),
        ));
        Self { ops }
    }

    /// Opens a stream; with `end_stream` there is no body. What is opened before the server's SETTINGS came is not bound by
    /// them.
    pub(crate) async fn open(&self, head: Fields, end_stream: bool) -> RawCall {
        let (answer, events) = mpsc::unbounded_channel();
        let (tell, key) = oneshot::channel();
        let open = Open { head, end_stream, answer, tell };
        assert!(self.ops.push(Op::Open(open)).is_ok(), "the connection is over");
        RawCall { stream: key.await.expect("opened"), ops: Arc::clone(&self.ops), events }
    }

    /// A whole exchange: this head, this body, the end.
    pub(crate) async fn exchange(&self, head: Fields, body: &[u8]) -> Answer {
        let call = self.open(head, false).await;
        call.send(body, true);
        call.answer().await
    }

    /// Ends the connection without a word.
    pub(crate) fn abort(&self) {
        self.ops.abort();
    }
}

/// A stream of ours.
pub(crate) struct RawCall {
    stream: StreamKey,
    ops: Arc<OpQueue<Op>>,
    events: mpsc::UnboundedReceiver<Answer>,
}

impl RawCall {
    pub(crate) fn send(&self, octets: &[u8], end_stream: bool) {
        let data = Bytes::copy_from_slice(octets);
        let _ = self.ops.push(Op::Data { stream: self.stream, data, end_stream });
    }

    pub(crate) fn reset(&self, code: ErrorCode) {
        let _ = self.ops.push(Op::Reset { stream: self.stream, code });
    }

    /// All that came, once both sides have ended or the stream was reset.
    pub(crate) async fn answer(mut self) -> Answer {
        self.events.recv().await.expect("the driver is gone")
    }
}

struct Open {
    head: Fields,
    end_stream: bool,
    answer: mpsc::UnboundedSender<Answer>,
    tell: oneshot::Sender<StreamKey>,
}

enum Op {
    Open(Open),
    Data { stream: StreamKey, data: Bytes, end_stream: bool },
    Reset { stream: StreamKey, code: ErrorCode },
}

/// A stream that is not over.
struct Exchange {
    stream: StreamKey,
    answer: Answer,
    /// We have sent our end.
    sent: bool,
    /// The server has.
    received: bool,
    to: mpsc::UnboundedSender<Answer>,
}

struct App {
    streams: Vec<Exchange>,
}

fn owned(fields: &FieldSection) -> Fields {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    fields.iter().map(|field| (text(field.name), text(field.value))).collect()
}

impl App {
    fn note(&mut self, stream: StreamKey, note: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.streams.iter_mut().find(|exchange| exchange.stream == stream) {
            note(exchange);
        }
        let over = |exchange: &Exchange| exchange.stream == stream && exchange.sent && exchange.received;
        if let Some(at) = self.streams.iter().position(over) {
            let Exchange { answer, to, .. } = self.streams.swap_remove(at);
            let _ = to.send(answer);
        }
    }

    /// Nothing more can come, either way.
    fn finish(&mut self, stream: StreamKey, note: impl FnOnce(&mut Answer)) {
        self.note(stream, |exchange| {
            note(&mut exchange.answer);
            (exchange.sent, exchange.received) = (true, true);
        });
    }

    fn open(&mut self, tx: &mut Tx, open: Open) {
        let fields = open.head.iter().map(|(name, value)| HeaderField {
            name: name.as_bytes(),
            value: value.as_bytes(),
            indexing: Indexing::Insert,
        });
        let stream = tx.open(fields, open.end_stream).expect("a stream can be opened");
        self.streams.push(Exchange {
            stream,
            answer: Answer::default(),
            sent: open.end_stream,
            received: false,
            to: open.answer,
        });
        let _ = open.tell.send(stream);
    }
}

impl Handler for App {
    fn on_response(&mut self, _: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {
        self.note(stream, |exchange| {
            exchange.answer.http = head.status;
            exchange.answer.head = owned(head.fields);
            exchange.received = end_stream;
        });
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        tx.release(stream, data.as_slice().len());
        self.note(stream, |exchange| {
            exchange.answer.body.extend_from_slice(data.as_slice());
            exchange.received = end_stream;
        });
    }

    fn on_trailers(&mut self, _: &mut Tx, stream: StreamKey, fields: &FieldSection) {
        self.note(stream, |exchange| {
            exchange.answer.trailers = Some(owned(fields));
            exchange.received = true;
        });
    }

    fn on_reset(&mut self, _: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        self.finish(stream, |answer| answer.reset = Some(reset.code));
        SlotFate::Free
    }
}

impl Application for App {
    type Op = Op;

    fn apply(&mut self, tx: &mut Tx, op: Op) {
        match op {
            Op::Open(open) => self.open(tx, open),
            Op::Data { stream, data, end_stream } => {
                // A stream the server has reset takes no more.
                let _ = tx.send_data(stream, data, end_stream);
                self.note(stream, |exchange| exchange.sent = end_stream);
            }
            Op::Reset { stream, code } => {
                tx.reset(stream, code);
                self.finish(stream, |_| {});
            }
        }
    }

    fn on_closed(&mut self, _: &Closed, _: Vec<Op>) {
        for Exchange { mut answer, to, .. } in self.streams.drain(..) {
            answer.lost = true;
            let _ = to.send(answer);
        }
    }
}
