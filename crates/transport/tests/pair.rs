//! Two drivers talk to each other, over pipes of every width: nothing is lost and nobody waits for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway_http2::frame::Kind;
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::limits::Limits;
use clearway_http2::{
    Chunk, Config, Connection, Direction, ErrorCode, Handler, Instant, Observer, OpenError, RequestHead,
    Reset, ResponseHead, SlotFate, StreamKey, Trace, Tx,
};
use clearway_transport::{
    Application, Clock, CloseReason, Closed, Driver, DriverConfig, OpQueue, PeerAddr, pair,
};
use support::{soon, status};
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// Sends everything back.
struct Echo;

impl Handler for Echo {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, _: bool) {
        tx.send_headers(stream, [status()], false).unwrap();
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        tx.release(stream, data.as_slice().len());
        tx.send_data(stream, data.retain(), end_stream).unwrap();
    }
}

impl Application for Echo {
    type Op = ();

    fn apply(&mut self, _: &mut Tx, (): ()) {}

    fn on_closed(&mut self, _: &Closed, _: Vec<()>) {}
}

/// What a test asks of [`Upload`].
#[derive(Debug)]
enum Ask {
    /// Upload a body of so many octets.
    Upload(usize),
    /// Reset every stream, wherever it stands.
    ResetAll,
}

/// Uploads bodies and reports how much of them came back.
struct Upload {
    open: Vec<StreamKey>,
    waiting: Vec<usize>,
    done: UnboundedSender<Result<(), Reset>>,
    received: Arc<AtomicUsize>,
}

impl Upload {
    fn start(&mut self, tx: &mut Tx, octets: usize) {
        let field = |name: &'static str, value: &'static str| HeaderField {
            name: name.as_bytes(),
            value: value.as_bytes(),
            indexing: Indexing::Insert,
        };
        let head = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", "/echo"),
            field(":authority", "a"),
        ];
        match tx.open(head, false) {
            Ok(stream) => {
                self.open.push(stream);
                tx.send_data(stream, vec![b'u'; octets].into(), true).unwrap();
            }
            Err(OpenError::StreamLimit) => self.waiting.push(octets),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Handler for Upload {
    fn on_response(&mut self, _: &mut Tx, _: StreamKey, head: &ResponseHead<'_>, _: bool) {
        assert_eq!(head.status, 200);
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        assert!(data.as_slice().iter().all(|octet| *octet == b'u'));
        tx.release(stream, data.as_slice().len());
        self.received.fetch_add(data.as_slice().len(), Ordering::SeqCst);
        if end_stream {
            self.done.send(Ok(())).unwrap();
        }
    }

    fn on_reset(&mut self, _: &mut Tx, _: StreamKey, reset: Reset) -> SlotFate {
        self.done.send(Err(reset)).unwrap();
        SlotFate::Free
    }

    fn on_stream_slot(&mut self, tx: &mut Tx) {
        for octets in std::mem::take(&mut self.waiting) {
            self.start(tx, octets);
        }
    }
}

impl Application for Upload {
    type Op = Ask;

    fn apply(&mut self, tx: &mut Tx, ask: Ask) {
        match ask {
            Ask::Upload(octets) => self.start(tx, octets),
            Ask::ResetAll => self.open.drain(..).for_each(|stream| tx.reset(stream, ErrorCode::CANCEL)),
        }
    }

    fn on_closed(&mut self, _: &Closed, _: Vec<Ask>) {}
}

/// A client and a server, connected.
struct Ends {
    ops: Arc<OpQueue<Ask>>,
    results: UnboundedReceiver<Result<(), Reset>>,
    received: Arc<AtomicUsize>,
    client: JoinHandle<Closed>,
    server: JoinHandle<Closed>,
}

fn connected<Io>((client, server): (Io, Io)) -> Ends
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let clock = Clock::start();
    let connection = Connection::server(Config::default(), clock.now());
    let (config, ops) = (DriverConfig::default(), Arc::new(OpQueue::default()));
    let server = Driver::new(server, PeerAddr::InProcess, connection, Echo, ops, clock, config.clone());
    let server = tokio::spawn(server);
    // Narrow pipes make tiny frames of the echo, and each that comes after a reset counts as useless.
    let limits = Limits { glitches: 1_000_000, ..Limits::default() };
    let connection = Connection::client(Config { limits, ..Config::default() }, clock.now());
    let ops = Arc::new(OpQueue::default());
    let (done, results) = unbounded_channel();
    let received = Arc::new(AtomicUsize::new(0));
    let upload = Upload { open: Vec::new(), waiting: Vec::new(), done, received: Arc::clone(&received) };
    let client =
        Driver::new(client, PeerAddr::InProcess, connection, upload, Arc::clone(&ops), clock, config);
    Ends { ops, results, received, client: tokio::spawn(client), server }
}

impl Ends {
    async fn result(&mut self) -> Result<(), Reset> {
        soon(Duration::from_secs(600), self.results.recv()).await.expect("the client is gone")
    }

    /// Ends the connection gracefully.
    async fn end(self) {
        self.ops.drain();
        let ended = async { (self.client.await.unwrap(), self.server.await.unwrap()) };
        let (client, server) = soon(Duration::from_secs(600), ended).await;
        assert_eq!(client.reason, CloseReason::Finished);
        assert_eq!(server.reason, CloseReason::Finished);
    }
}

/// Uploads `count` bodies of `octets` at once and ends the connection when all came back.
async fn echo<Io>(pipe: (Io, Io), count: usize, octets: usize)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut ends = connected(pipe);
    for _ in 0..count {
        ends.ops.push(Ask::Upload(octets)).unwrap();
    }
    for _ in 0..count {
        assert_eq!(ends.result().await, Ok(()));
    }
    assert_eq!(ends.received.load(Ordering::SeqCst), count * octets);
    ends.end().await;
}

/// Trap 16 of the engine notes: a frame that is partly written is finished, even if its stream is reset meanwhile.
#[tokio::test(start_paused = true)]
async fn resets_do_not_cut_frames_that_are_partly_written() {
    for width in [7, 100, 5000] {
        let mut ends = connected(duplex(width));
        for _ in 0..4 {
            let before = ends.received.load(Ordering::SeqCst);
            for _ in 0..3 {
                ends.ops.push(Ask::Upload(8_000)).unwrap();
            }
            // Some of it is back, more is on its way, and most of it not yet written.
            let mut looks = 0;
            while ends.received.load(Ordering::SeqCst) < before + 500 {
                looks += 1;
                assert!(!ends.ops.is_closed(), "the connection is over");
                assert!(looks < 1_000_000, "nothing comes back");
                tokio::task::yield_now().await;
            }
            ends.ops.push(Ask::ResetAll).unwrap();
        }
        ends.ops.push(Ask::Upload(1000)).unwrap();
        assert_eq!(ends.result().await, Ok(()));
        ends.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_come_back_over_narrow_pipes() {
    for (width, octets) in [(1, 3_000), (7, 20_000), (37, 50_000), (1000, 200_000), (100_000, 300_000)] {
        echo(duplex(width), 5, octets).await;
    }
}

/// More calls than the server lets in at once, each bigger than a window.
#[tokio::test(start_paused = true)]
async fn calls_beyond_the_stream_limit_wait_their_turn() {
    echo(pair(), 2500, 1_000).await;
    echo(pair(), 20, 1_000_000).await;
}

#[test]
fn bodies_come_back_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        echo(pair(), 2000, 500).await;
        echo(duplex(1000), 20, 100_000).await;
    });
}

/// The frames a connection sends, in order.
struct Sent(Arc<Mutex<Vec<Kind>>>);

impl Observer for Sent {
    fn on_trace(&mut self, _: Instant, trace: &Trace<'_>) {
        if let Trace::Frame { direction: Direction::Sent, header, .. } = trace {
            self.0.lock().unwrap().push(header.kind);
        }
    }
}

/// An observer is set on the connection before the driver gets it, and sees the first words, too.
#[tokio::test(start_paused = true)]
async fn an_observer_sees_a_client_from_its_first_frame() {
    let (client, _server) = pair();
    let clock = Clock::start();
    let mut connection = Connection::client(Config::default(), clock.now());
    let seen = Arc::new(Mutex::new(Vec::new()));
    connection.observe(Box::new(Sent(Arc::clone(&seen))));
    let ops = Arc::new(OpQueue::default());
    let driver = Driver::new(
        client,
        PeerAddr::InProcess,
        connection,
        Echo,
        Arc::clone(&ops),
        clock,
        DriverConfig::default(),
    );
    ops.drain();
    assert_eq!(soon(Duration::from_secs(60), driver).await.reason, CloseReason::Finished);
    assert_eq!(*seen.lock().unwrap(), [Kind::SETTINGS, Kind::WINDOW_UPDATE, Kind::GOAWAY]);
}
