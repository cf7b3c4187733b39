//! How connections end: gracefully in two steps, at once, by the peer, and what is still said while they do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, Kind};
use clearway_http2::{ErrorCode, Farewell};
use clearway_transport::{CloseReason, OpQueue};
use support::{App, Event, Peer, Reply, answer, end, frame, request, serve, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};

const SECOND: Duration = Duration::from_secs(1);

/// RFC 9113 §6.8: GOAWAY with the highest id, a PING, and with its answer GOAWAY with the last stream taken.
#[tokio::test(start_paused = true)]
async fn a_drain_goes_in_two_steps() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, false)).await;
    server.request().await;
    server.ops.drain();
    let (last, code, _) = peer.expect_goaway().await;
    assert_eq!((last, code), (0x7fff_ffff, ErrorCode::NO_ERROR));
    let (_, ping) = peer.expect(Kind::PING).await;
    // In flight when the first GOAWAY was sent: it is taken.
    peer.write(&request(3, false)).await;
    server.request().await;
    peer.pong(&ping).await;
    let (last, code, _) = peer.expect_goaway().await;
    assert_eq!((last, code), (3, ErrorCode::NO_ERROR));
    // Above the last id: it is not.
    peer.write(&request(5, true)).await;
    peer.write(&end(1)).await;
    peer.write(&end(3)).await;
    peer.expect_data(6).await;
    assert!(peer.is_at_end().await);
    drop(peer);
    let (closed, events) = server.closed().await;
    assert_eq!(closed.reason, CloseReason::Finished);
    assert!(!events.iter().any(|event| matches!(event, Event::Request(_))), "stream 5 was not taken");
}

/// A peer that does not answer the PING gets the second GOAWAY without; a near one, which acknowledged SETTINGS at once, after a
/// second.
#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_the_pong_for_ever() {
    let (ours, theirs) = duplex(64 * 1024);
    let server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    server.ops.drain();
    assert_eq!(peer.expect_goaway().await.0, 0x7fff_ffff);
    assert_eq!(peer.expect_goaway().await.0, 0);
    let began = tokio::time::Instant::now();
    assert!(peer.is_at_end().await);
    assert!(began.elapsed() < 2 * SECOND);
    assert_eq!(server.closed().await.0.reason, CloseReason::Finished);
}

/// The time to drain is over: the last word names the limit, the streams are counted, and the peer has its moment to read.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_drain_can_be_cut_off() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, false)).await;
    server.request().await;
    server.ops.drain();
    assert_eq!(peer.expect_goaway().await.0, 0x7fff_ffff);
    let (_, ping) = peer.expect(Kind::PING).await;
    peer.pong(&ping).await;
    assert_eq!(peer.expect_goaway().await.0, 1);
    tokio::time::sleep(SECOND).await;
    server.ops.cut_off();
    let (last, code, debug) = peer.expect_goaway().await;
    assert_eq!((last, code), (1, ErrorCode::NO_ERROR));
    assert_eq!(debug, Farewell::Shutdown.cut_text().as_bytes());
    assert!(peer.is_at_end().await);
    drop(peer);
    let (closed, _) = soon(SECOND, server.closed()).await;
    assert_eq!((closed.reason, closed.streams_open), (CloseReason::CutOff(Farewell::Shutdown), 1));
}

/// Nobody waits for a peer that takes nothing: not for the last GOAWAY, and not for what the streams had to say.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_cut_off_as_fast_as_any() {
    let (ours, theirs) = duplex(1024);
    let mut server = serve(ours, Reply::Body(60_000));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    server.request().await;
    server.ops.drain();
    tokio::time::sleep(SECOND).await;
    server.ops.cut_off();
    let (closed, _) = soon(2 * SECOND, server.closed()).await;
    assert_eq!(closed.reason, CloseReason::CutOff(Farewell::Shutdown));
}

/// A drain asked for while the connection's task is at work on operations must not be forgotten.
#[tokio::test(start_paused = true)]
async fn a_drain_asked_for_during_a_turn_is_not_lost() {
    let (ours, theirs) = duplex(64 * 1024);
    let server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    // Everything of the greeting is done; nothing else will wake the driver.
    tokio::time::sleep(20 * SECOND).await;
    let ops = Arc::clone(&server.ops);
    server.push(move |_, _| ops.drain());
    assert_eq!(soon(SECOND, peer.expect_goaway()).await.0, 0x7fff_ffff);
}

#[tokio::test(start_paused = true)]
async fn an_abort_asked_for_during_a_turn_is_not_lost() {
    let (ours, theirs) = duplex(64 * 1024);
    let server = serve(ours, Reply::Body(3));
    let _peer = Peer::greeted(theirs).await;
    tokio::time::sleep(20 * SECOND).await;
    let ops = Arc::clone(&server.ops);
    server.push(move |_, _| ops.abort());
    let (closed, _) = soon(SECOND, server.closed()).await;
    assert_eq!(closed.reason, CloseReason::Aborted);
}

/// After an abort nothing is said and nobody is called, whatever lies in the socket.
#[tokio::test(start_paused = true)]
async fn an_abort_ends_everything_at_once() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, false)).await;
    server.request().await;
    tokio::time::sleep(SECOND).await;
    peer.write(&request(3, true)).await;
    server.ops.abort();
    let (closed, events) = soon(SECOND, server.closed()).await;
    assert_eq!(closed.reason, CloseReason::Aborted);
    assert_eq!(events, [Event::Closed { reason: CloseReason::Aborted, unapplied: 0 }]);
}

/// What was applied or queued when the connection ends is either done or handed back.
#[tokio::test(start_paused = true)]
async fn operations_after_the_end_come_back() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::ByOp);
    let peer = Peer::greeted(theirs).await;
    drop(peer);
    let Event::Closed { reason: CloseReason::PeerClosed, unapplied: 0 } = server.event().await else {
        panic!("the end of the stream is the end of the connection");
    };
    assert!(server.ops.is_closed());
    assert!(server.ops.push(Box::new(|_, _| {})).is_err());
}

/// Operations that were queued when the driver is dropped are handed to `on_closed`.
#[tokio::test(start_paused = true)]
async fn a_dropped_driver_tells_the_application() {
    let (ours, _theirs) = duplex(64 * 1024);
    let (app, mut events) = App::new(Reply::ByOp);
    let ops = Arc::new(OpQueue::default());
    let driver = support::driver(ours, app, &ops);
    assert!(ops.push(Box::new(|_, _| {})).is_ok());
    drop(driver);
    assert_eq!(events.recv().await, Some(Event::Closed { reason: CloseReason::Aborted, unapplied: 1 }));
    assert!(ops.push(Box::new(|_, _| {})).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_in_the_middle_of_a_frame_has_closed() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::ByOp);
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, false)).await;
    let stream = server.request().await;
    let cut = frame(Kind::HEADERS, Flags::END_HEADERS, 3, &[0x83, 0x86, 0x84]);
    peer.write(&cut[..11]).await;
    drop(peer);
    let (closed, events) = server.closed().await;
    assert_eq!(closed.reason, CloseReason::PeerClosed);
    assert!(!events.contains(&Event::Request(stream)));
    assert!(closed.to_string().contains("closed by the peer"), "{closed}");
}

/// A client that shuts its side after its request still gets the answer that is ready.
#[tokio::test(start_paused = true)]
async fn a_half_closed_peer_gets_the_answer_that_is_ready() {
    let (ours, theirs) = duplex(64 * 1024);
    let server = serve(ours, Reply::Body(5));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    peer.io.shutdown().await.unwrap();
    soon(SECOND, peer.expect_data(5)).await;
    assert!(peer.is_at_end().await);
    assert_eq!(server.closed().await.0.reason, CloseReason::PeerClosed);
}

/// The last response of a draining connection is not cut off because its reader is slow.
#[tokio::test(start_paused = true)]
async fn the_last_response_reaches_a_slow_reader() {
    let (ours, theirs) = duplex(1024);
    let mut server = serve(ours, Reply::ByOp);
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    let stream = server.request().await;
    server.ops.drain();
    let (_, ping) = peer.expect(Kind::PING).await;
    peer.pong(&ping).await;
    assert_eq!(peer.expect_goaway().await.0, 1);
    // Once all of it is in the output there is no stream left.
    server.push(move |_, tx| answer(tx, stream, 60_000));
    let mut left = 60_000;
    while left > 0 {
        tokio::time::sleep(3 * SECOND).await;
        let (header, payload) = peer.frame().await.expect("the response is cut");
        if header.kind == Kind::DATA {
            left -= payload.len();
        }
    }
    assert!(peer.is_at_end().await);
    assert_eq!(server.closed().await.0.reason, CloseReason::Finished);
}

/// The reason names the peer's GOAWAY even if its code is NO_ERROR, when it closed with streams open.
#[tokio::test(start_paused = true)]
async fn a_goaway_before_the_end_is_the_reason() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::ByOp);
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, false)).await;
    server.request().await;
    let mut goaway = vec![0; 8];
    goaway.extend_from_slice(b"max_age");
    peer.write(&frame(Kind::GOAWAY, Flags::default(), 0, &goaway)).await;
    drop(peer);
    let (closed, _) = server.closed().await;
    let debug = "max_age".to_owned();
    assert_eq!(closed.reason, CloseReason::GoAway { code: ErrorCode::NO_ERROR, debug });
}

/// Nobody is called after `on_closed`, whatever ended the connection.
#[tokio::test(start_paused = true)]
async fn a_violation_ends_the_calls_too() {
    let (ours, theirs) = duplex(1024);
    let server = serve(ours, Reply::Body(200_000));
    let mut peer = Peer::greeted_with(theirs, &[(4, 1_000_000)]).await;
    // Three responses of which most is still in backlogs, and then a frame that ends everything.
    for id in [1, 3, 5] {
        peer.write(&request(id, true)).await;
    }
    peer.write(&frame(Kind::WINDOW_UPDATE, Flags::default(), 0, &0x00ff_ffff_u32.to_be_bytes())).await;
    peer.write(&frame(Kind::PING, Flags::default(), 3, &[0; 8])).await;
    let (_, code, debug) = peer.expect_goaway().await;
    assert_eq!(code, ErrorCode::PROTOCOL_ERROR);
    assert!(!debug.is_empty(), "the GOAWAY says what the rule is");
    assert_eq!(peer.frame().await, None, "and is the last word");
    drop(peer);
    let (closed, events) = server.closed().await;
    assert!(matches!(closed.reason, CloseReason::Protocol(_)), "{closed}");
    assert!(!events.iter().any(|event| matches!(event, Event::AfterTheEnd(_))), "{events:?}");
}

/// The end of a lingering connection comes even if the peer neither reads nor closes.
#[tokio::test(start_paused = true)]
async fn lingering_has_an_end() {
    let (ours, theirs) = duplex(64 * 1024);
    let server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&frame(Kind::PING, Flags::default(), 3, &[0; 8])).await;
    let began = tokio::time::Instant::now();
    let (closed, _) = server.closed().await;
    assert!(matches!(closed.reason, CloseReason::Protocol(_)), "{closed}");
    assert!(began.elapsed() < 3 * SECOND);
    // The last words are there all the same.
    assert_eq!(peer.expect_goaway().await.1, ErrorCode::PROTOCOL_ERROR);
}

/// What the peer sends after our last words is dropped, and does not keep the connection.
#[tokio::test(start_paused = true)]
async fn a_peer_that_just_goes_on_is_left() {
    let (ours, theirs) = duplex(4096);
    let server = serve(ours, Reply::Body(3));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&frame(Kind::PING, Flags::default(), 3, &[0; 8])).await;
    let Peer { io } = peer;
    let (mut read, mut write) = tokio::io::split(io);
    let drain = tokio::spawn(async move {
        let mut sink = Vec::new();
        let _ = read.read_to_end(&mut sink).await;
    });
    let flood = tokio::spawn(async move {
        for _ in 0..100_000 {
            if write.write_all(&[0; 1024]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    });
    server.closed().await;
    assert!(flood.await.unwrap(), "the flood is never cut off");
    drain.await.unwrap();
}

/// Before the client's preface nothing but SETTINGS may be a server's first word.
#[tokio::test(start_paused = true)]
async fn a_drain_before_the_preface_still_begins_with_settings() {
    let (ours, theirs) = duplex(64 * 1024);
    let server = serve(ours, Reply::Body(3));
    // The driver has had its first turn, with nothing to read.
    tokio::time::sleep(SECOND).await;
    server.ops.drain();
    let mut peer = Peer { io: theirs };
    assert_eq!(peer.frame().await.unwrap().0.kind, Kind::SETTINGS);
    assert_eq!(peer.expect_goaway().await.0, 0x7fff_ffff);
}

/// A turn without the preface says nothing at all.
#[tokio::test(start_paused = true)]
async fn a_late_preface_is_answered_by_settings_first() {
    let (ours, theirs) = duplex(64 * 1024);
    let _server = serve(ours, Reply::Body(3));
    tokio::time::sleep(SECOND).await;
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    peer.expect_data(3).await;
}

/// An answer by operation on the last stream of a draining connection is written before the end.
#[tokio::test(start_paused = true)]
async fn an_answer_by_operation_ends_a_drain() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::ByOp);
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    let stream = server.request().await;
    server.ops.drain();
    let (_, ping) = peer.expect(Kind::PING).await;
    peer.pong(&ping).await;
    assert_eq!(peer.expect_goaway().await.0, 1);
    server.push(move |_, tx| answer(tx, stream, 7));
    peer.expect_data(7).await;
    assert!(peer.is_at_end().await);
}

/// A panic on the connection's task ends the connection, and the application hears of it.
#[tokio::test(start_paused = true)]
async fn a_panic_closes_the_connection() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut server = serve(ours, Reply::ByOp);
    let mut peer = Peer::greeted(theirs).await;
    server.push(|_, _| panic!("on purpose"));
    assert_eq!(server.event().await, Event::Closed { reason: CloseReason::Aborted, unapplied: 0 });
    assert!(peer.is_at_end().await);
    assert!(server.driver.await.is_err_and(|error| error.is_panic()));
}

/// A socket whose peer has said its last words and gone: they can be read only after writing has failed, as it goes when both
/// come between our reading and our writing.
struct Gone {
    begins: Vec<u8>,
    last_words: Vec<u8>,
    has_failed: bool,
}

impl AsyncRead for Gone {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let says = if this.has_failed { &mut this.last_words } else { &mut this.begins };
        if says.is_empty() && !this.has_failed {
            return Poll::Pending;
        }
        buf.put_slice(&std::mem::take(says));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gone {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        self.get_mut().has_failed = true;
        Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_said_last_is_heard_although_writing_failed() {
    let calm = [&[0; 4][..], &ErrorCode::ENHANCE_YOUR_CALM.0.to_be_bytes(), b"too_many_pings"].concat();
    let begins = [&PREFACE[..], &frame(Kind::SETTINGS, Flags::default(), 0, &[])].concat();
    let said = frame(Kind::GOAWAY, Flags::default(), 0, &calm);
    let gone = |last_words| Gone { begins: begins.clone(), last_words, has_failed: false };
    let (closed, _) = serve(gone(said), Reply::Body(1)).closed().await;
    let debug = "too_many_pings".to_owned();
    assert_eq!(closed.reason, CloseReason::GoAway { code: ErrorCode::ENHANCE_YOUR_CALM, debug });
    // Without last words the error is what there is.
    let (closed, _) = serve(gone(Vec::new()), Reply::Body(1)).closed().await;
    assert!(matches!(&closed.reason, CloseReason::Io(error) if error.contains("broken pipe")), "{closed}");
}
