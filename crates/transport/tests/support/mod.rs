//! What the tests of the driver share: an application whose operations are closures and that reports what it is told, and
//! a peer that reads and writes frames by hand.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, Frame, FrameHeader, GoAway, Kind, Ping};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{Chunk, Config, Connection, Handler, RequestHead, Reset, SlotFate, StreamKey, Tx};
use clearway_transport::{Application, Clock, Closed, Driver, DriverConfig, OpQueue, PeerAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// An operation: whatever the test wants done on the connection's task.
pub(crate) type Op = Box<dyn FnOnce(&mut App, &mut Tx) + Send>;

/// What an [`App`] reports.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Request(StreamKey),
    Ended(StreamKey),
    Reset(StreamKey),
    Closed {
        reason: clearway_transport::CloseReason,
        unapplied: usize,
    },
    /// A callback that came after `on_closed`.
    AfterTheEnd(&'static str),
}

/// What an [`App`] does when a request has come to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// The test answers by operations.
    ByOp,
    /// 200 without a body.
    Headers,
    /// 200 with a body of so many octets.
    Body(usize),
}

pub(crate) struct App {
    pub(crate) reply: Reply,
    pub(crate) must_flush_now: bool,
    pub(crate) turns: usize,
    /// How often it was told to rest.
    pub(crate) rests: Arc<AtomicUsize>,
    closed: bool,
    events: UnboundedSender<Event>,
}

impl App {
    pub(crate) fn new(reply: Reply) -> (Self, UnboundedReceiver<Event>) {
        let (events, seen) = unbounded_channel();
        (Self { reply, must_flush_now: false, turns: 0, rests: Arc::default(), closed: false, events }, seen)
    }

    pub(crate) fn report(&self, event: Event) {
        // A test that no longer listens does not care.
        let _ = self.events.send(event);
    }

    fn called(&self, what: &'static str) {
        if self.closed {
            self.report(Event::AfterTheEnd(what));
        }
    }

    fn ended(&self, tx: &mut Tx, stream: StreamKey) {
        self.report(Event::Ended(stream));
        match self.reply {
            Reply::ByOp => {}
            Reply::Headers => tx.send_headers(stream, [status()], true).unwrap(),
            Reply::Body(octets) => {
                answer(tx, stream, octets);
                // From here on it wants to hear of room.
                let _ = tx.is_backlogged(stream);
            }
        }
    }
}

pub(crate) fn status() -> HeaderField<'static> {
    HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert }
}

/// 200 with a body of so many octets.
pub(crate) fn answer(tx: &mut Tx, stream: StreamKey, octets: usize) {
    tx.send_headers(stream, [status()], false).unwrap();
    tx.send_data(stream, vec![b'x'; octets].into(), true).unwrap();
}

impl Handler for App {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, end_stream: bool) {
        self.called("on_request");
        self.report(Event::Request(stream));
        if end_stream {
            self.ended(tx, stream);
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        self.called("on_data");
        tx.release(stream, data.as_slice().len());
        if end_stream {
            self.ended(tx, stream);
        }
    }

    fn on_reset(&mut self, _: &mut Tx, stream: StreamKey, _: Reset) -> SlotFate {
        self.called("on_reset");
        self.report(Event::Reset(stream));
        SlotFate::Free
    }

    fn on_writable(&mut self, _: &mut Tx, _: StreamKey) {
        self.called("on_writable");
    }
}

impl Application for App {
    type Op = Op;

    fn apply(&mut self, tx: &mut Tx, op: Op) {
        self.called("apply");
        op(self, tx);
    }

    fn end_turn(&mut self) {
        self.turns += 1;
    }

    fn rest(&mut self) {
        self.called("rest");
        self.rests.fetch_add(1, Ordering::Relaxed);
    }

    fn must_flush_now(&self) -> bool {
        self.must_flush_now
    }

    fn on_closed(&mut self, closed: &Closed, unapplied: Vec<Op>) {
        self.called("on_closed");
        self.closed = true;
        self.report(Event::Closed { reason: closed.reason.clone(), unapplied: unapplied.len() });
    }
}

/// A server's connection on `io`.
pub(crate) struct Server {
    pub(crate) ops: Arc<OpQueue<Op>>,
    pub(crate) events: UnboundedReceiver<Event>,
    pub(crate) driver: JoinHandle<Closed>,
}

pub(crate) fn driver<Io>(io: Io, app: App, ops: &Arc<OpQueue<Op>>) -> Driver<Io, App>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let clock = Clock::start();
    let connection = Connection::server(Config::default(), clock.now());
    Driver::new(io, PeerAddr::InProcess, connection, app, Arc::clone(ops), clock, DriverConfig::default())
}

pub(crate) fn serve<Io>(io: Io, reply: Reply) -> Server
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (app, events) = App::new(reply);
    let ops = Arc::new(OpQueue::default());
    let driver = tokio::spawn(driver(io, app, &ops));
    Server { ops, events, driver }
}

impl Server {
    pub(crate) fn push(&self, op: impl FnOnce(&mut App, &mut Tx) + Send + 'static) {
        assert!(self.ops.push(Box::new(op)).is_ok(), "the connection is over");
    }

    /// The next thing the application was told.
    pub(crate) async fn event(&mut self) -> Event {
        self.events.recv().await.expect("the application is gone")
    }

    /// The stream of the next request.
    pub(crate) async fn request(&mut self) -> StreamKey {
        loop {
            if let Event::Request(stream) = self.event().await {
                return stream;
            }
        }
    }

    /// How the connection ended; fails if that takes more than an hour of (virtual) time.
    pub(crate) async fn closed(self) -> (Closed, Vec<Event>) {
        let Self { driver, mut events, .. } = self;
        let closed = soon(Duration::from_secs(3600), driver).await.expect("the driver panicked");
        let mut rest = Vec::new();
        while let Ok(event) = events.try_recv() {
            rest.push(event);
        }
        (closed, rest)
    }
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("this takes too long")
}

/// A client that speaks frames.
pub(crate) struct Peer<Io> {
    pub(crate) io: Io,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Peer<Io> {
    /// Says hello, takes the server's SETTINGS and acknowledges them.
    pub(crate) async fn greeted(io: Io) -> Self {
        Self::greeted_with(io, &[]).await
    }

    /// The same, with SETTINGS of the peer's own.
    pub(crate) async fn greeted_with(io: Io, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self { io };
        let mut hello = PREFACE.to_vec();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()))
            .collect();
        hello.extend_from_slice(&frame(Kind::SETTINGS, Flags::default(), 0, &payload));
        peer.io.write_all(&hello).await.unwrap();
        let (first, _) = peer.frame().await.expect("the server says nothing");
        assert_eq!((first.kind, first.flags), (Kind::SETTINGS, Flags::default()), "SETTINGS come first");
        peer.write(&frame(Kind::SETTINGS, Flags::ACK, 0, &[])).await;
        peer
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) {
        self.io.write_all(octets).await.expect("the server is gone");
        // A stream with layers may keep octets to itself.
        self.io.flush().await.expect("the server is gone");
    }

    /// The next frame; none at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<(FrameHeader, Vec<u8>)> {
        let mut head = [0; 9];
        match soon(Duration::from_secs(3600), self.io.read_exact(&mut head)).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("{error}"),
        }
        let header = FrameHeader::decode(head);
        let mut payload = vec![0; header.length as usize];
        self.io.read_exact(&mut payload).await.expect("a frame is cut");
        Some((header, payload))
    }

    /// The next frame of this kind; what comes before it is skipped.
    pub(crate) async fn expect(&mut self, kind: Kind) -> (FrameHeader, Vec<u8>) {
        loop {
            let (header, payload) =
                self.frame().await.unwrap_or_else(|| panic!("no {kind:?} before the end"));
            if header.kind == kind {
                return (header, payload);
            }
        }
    }

    /// Last id and code of the next GOAWAY.
    pub(crate) async fn expect_goaway(&mut self) -> (u32, clearway_http2::ErrorCode, Vec<u8>) {
        let (header, payload) = self.expect(Kind::GOAWAY).await;
        let goaway = GoAway::decode(header, &payload).unwrap();
        (goaway.last_stream_id, goaway.code, goaway.debug.to_vec())
    }

    /// Reads DATA of any stream until `octets` have come.
    pub(crate) async fn expect_data(&mut self, octets: usize) {
        let mut left = octets;
        while left > 0 {
            left -= self.expect(Kind::DATA).await.1.len();
        }
    }

    pub(crate) async fn pong(&mut self, payload: &[u8]) {
        let ping = Ping { ack: true, payload: payload.try_into().unwrap() };
        let mut out = Vec::new();
        Frame::Ping(ping).encode(&mut out);
        self.write(&out).await;
    }

    /// True if nothing more comes.
    pub(crate) async fn is_at_end(&mut self) -> bool {
        loop {
            if self.frame().await.is_none() {
                return true;
            }
        }
    }
}

pub(crate) fn frame(kind: Kind, flags: Flags, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { length: u32::try_from(payload.len()).unwrap(), kind, flags, stream_id };
    let mut out = header.encode().to_vec();
    out.extend_from_slice(payload);
    out
}

/// A request for `/` by POST; its fields are in the static table but for `:authority`, which is not indexed.
pub(crate) fn request(stream_id: u32, end_stream: bool) -> Vec<u8> {
    let flags = if end_stream { Flags::END_HEADERS | Flags::END_STREAM } else { Flags::END_HEADERS };
    frame(Kind::HEADERS, flags, stream_id, &[0x83, 0x86, 0x84, 0x01, 0x01, b'a'])
}

/// An empty DATA frame that ends the stream.
pub(crate) fn end(stream_id: u32) -> Vec<u8> {
    frame(Kind::DATA, Flags::END_STREAM, stream_id, &[])
}
