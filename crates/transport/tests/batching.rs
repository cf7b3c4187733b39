//! When output is written: once for a batch, put off at most once, and never more than a turn's share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use clearway_http2::StreamKey;
use clearway_http2::frame::{Flags, Kind};
use clearway_transport::OpQueue;
use support::{App, Peer, Reply, Server, answer, frame, request, serve, soon};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

const SECOND: Duration = Duration::from_secs(1);

/// Counts writes, and the octets of each.
struct Counted<Io> {
    io: Io,
    writes: Arc<AtomicUsize>,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Counted<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Counted<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A server with `streams` requests that wait for an answer, and nothing else to do.
async fn with_streams(streams: u32) -> (Server, Peer<DuplexStream>, Vec<StreamKey>, Arc<AtomicUsize>) {
    let (ours, theirs) = duplex(1024 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    let mut server = serve(Counted { io: ours, writes: Arc::clone(&writes) }, Reply::ByOp);
    let mut peer = Peer::greeted(theirs).await;
    let mut keys = Vec::new();
    for n in 0..streams {
        peer.write(&request(n * 2 + 1, true)).await;
        keys.push(server.request().await);
    }
    tokio::time::sleep(SECOND).await;
    writes.store(0, Ordering::SeqCst);
    (server, peer, keys, writes)
}

/// Answers the first of `keys` and hands the rest to a new task, which stands behind the woken driver in the run queue.
fn answer_in_turn(ops: Arc<OpQueue<support::Op>>, mut keys: Vec<StreamKey>) {
    let Some(stream) = keys.pop() else { return };
    assert!(ops.push(Box::new(move |_, tx| answer(tx, stream, 1))).is_ok());
    tokio::spawn(async move { answer_in_turn(ops, keys) });
}

/// The flush is put off to the back of the run queue, where one more answer gets into it; and then it is not put off again.
#[tokio::test(start_paused = true)]
async fn a_flush_is_put_off_once_and_only_once() {
    // One more stream stays open, so that there is always more than one.
    let (server, mut peer, mut keys, writes) = with_streams(7).await;
    keys.pop();
    answer_in_turn(Arc::clone(&server.ops), keys);
    peer.expect_data(6).await;
    assert_eq!(writes.load(Ordering::SeqCst), 3, "six answers, two in each write");
}

#[tokio::test(start_paused = true)]
async fn a_lone_call_is_never_put_off() {
    let (server, mut peer, keys, writes) = with_streams(1).await;
    let stream = keys[0];
    let after = Arc::new(AtomicUsize::new(usize::MAX));
    let seen = (Arc::clone(&after), Arc::clone(&writes));
    server.push(move |_, tx| {
        answer(tx, stream, 1);
        // Stands behind the driver's turn, in front of a second one.
        tokio::spawn(async move { seen.0.store(seen.1.load(Ordering::SeqCst), Ordering::SeqCst) });
    });
    peer.expect_data(1).await;
    assert_eq!(after.load(Ordering::SeqCst), 1, "it was written in the turn that applied it");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_off_when_work_was_spawned() {
    let (server, mut peer, keys, writes) = with_streams(3).await;
    let stream = keys[0];
    let after = Arc::new(AtomicUsize::new(usize::MAX));
    let seen = (Arc::clone(&after), Arc::clone(&writes));
    server.push(move |app, tx| {
        app.must_flush_now = true;
        answer(tx, stream, 1);
        tokio::spawn(async move { seen.0.store(seen.1.load(Ordering::SeqCst), Ordering::SeqCst) });
    });
    peer.expect_data(1).await;
    assert_eq!(after.load(Ordering::SeqCst), 1, "it was written in the turn that applied it");
}

/// Trap 6 of the engine notes: a put-off flush can be taken by another worker while something blocks the first one.
#[test]
fn a_blocked_worker_does_not_hold_a_flush_back() {
    const BLOCK: Duration = Duration::from_millis(500);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let waited = runtime.block_on(async {
        let (ours, theirs) = duplex(1024 * 1024);
        let mut server = serve(ours, Reply::ByOp);
        let mut peer = Peer::greeted(theirs).await;
        let mut keys = Vec::new();
        for id in [1, 3, 5] {
            peer.write(&request(id, true)).await;
            keys.push(server.request().await);
        }
        let stream = keys[0];
        let began = Instant::now();
        server.push(move |_, tx| {
            answer(tx, stream, 1);
            tokio::spawn(async { std::thread::sleep(BLOCK) });
        });
        peer.expect_data(1).await;
        began.elapsed()
    });
    assert!(waited < BLOCK / 2, "the flush waited {waited:?}");
}

/// Every operation that other threads push is applied, and each batch ends in a flush.
#[test]
fn no_operation_of_other_threads_is_lost() {
    const THREADS: usize = 4;
    const EACH: usize = 2500;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = duplex(64 * 1024);
        let mut server = serve(ours, Reply::ByOp);
        let mut peer = Peer::greeted(theirs).await;
        peer.write(&request(1, true)).await;
        let stream = server.request().await;
        server.push(move |_, tx| tx.send_headers(stream, [support::status()], false).unwrap());
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let ops = Arc::clone(&server.ops);
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        let octet = vec![b'o'].into();
                        let op: support::Op =
                            Box::new(move |_, tx| tx.send_data(stream, octet, false).unwrap());
                        assert!(ops.push(op).is_ok());
                        if n % 100 == 0 {
                            // Lets the driver fall asleep now and then.
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        soon(60 * SECOND, peer.expect_data(THREADS * EACH)).await;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Takes everything that is written; has nothing to read after what it was made with.
struct Sink {
    input: Vec<u8>,
    octets: usize,
}

impl AsyncRead for Sink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Poll::Pending;
        }
        buf.put_slice(&std::mem::take(&mut self.input));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.octets += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A socket that takes everything does not make one turn endless: others get their share.
#[tokio::test(start_paused = true)]
async fn one_turn_writes_a_bounded_amount() {
    const BODY: usize = 64 * 1024 * 1024;
    let mut input = clearway_http2::connection::PREFACE.to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE and the connection's window at their largest.
    input.extend_from_slice(&frame(Kind::SETTINGS, Flags::default(), 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    input.extend_from_slice(&frame(Kind::WINDOW_UPDATE, Flags::default(), 0, &0x7fff_0000_u32.to_be_bytes()));
    input.extend_from_slice(&request(1, true));
    let (app, _events) = App::new(Reply::Body(BODY));
    let ops = Arc::new(OpQueue::default());
    let mut sink = Sink { input, octets: 0 };
    let mut turns = 0;
    {
        let mut driver = pin!(support::driver(&mut sink, app, &ops));
        let mut cx = Context::from_waker(Waker::noop());
        while turns < 4 {
            assert!(driver.as_mut().poll(&mut cx).is_pending());
            turns += 1;
        }
    }
    assert!(sink.octets < BODY / 2, "{} octets in {turns} turns", sink.octets);
    assert!(sink.octets > 1024 * 1024, "and not a miserly one: {} octets", sink.octets);
}

/// A bounded turn is followed by another until everything is out.
#[tokio::test(start_paused = true)]
async fn bounded_turns_write_all_of_it() {
    const BODY: usize = 16 * 1024 * 1024;
    let (ours, theirs) = duplex(32 * 1024 * 1024);
    let _server = serve(ours, Reply::Body(BODY));
    let mut peer = Peer::greeted_with(theirs, &[(4, 0x7fff_ffff)]).await;
    peer.write(&frame(Kind::WINDOW_UPDATE, Flags::default(), 0, &0x7fff_0000_u32.to_be_bytes())).await;
    peer.write(&request(1, true)).await;
    soon(SECOND, peer.expect_data(BODY)).await;
}
