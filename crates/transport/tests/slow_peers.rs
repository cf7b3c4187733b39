//! Peers that take their time: no preface, nothing read, little read, and what they may make us hold meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use clearway_http2::frame::{Flags, Kind};
use clearway_http2::{Config, Violation, config};
use clearway_transport::{CloseReason, DriverConfig};
use support::{Event, Peer, Reply, frame, request, serve};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_says_hello_is_let_go() {
    let (ours, _theirs) = duplex(1024);
    let began = Instant::now();
    let (closed, events) = serve(ours, Reply::ByOp).closed().await;
    let CloseReason::Protocol(error) = &closed.reason else { panic!("{closed}") };
    assert_eq!(error.violation, Violation::PrefaceTimeout);
    assert_eq!(closed.age, config::defaults::PEER_TIMEOUT);
    assert!(began.elapsed() < config::defaults::PEER_TIMEOUT + 3 * SECOND);
    assert_eq!(events.len(), 1, "on_closed is called once: {events:?}");
}

/// A preface in drips does not gain time.
#[tokio::test(start_paused = true)]
async fn a_preface_in_drips_gains_no_time() {
    let (ours, mut theirs) = duplex(1024);
    let server = serve(ours, Reply::ByOp);
    let drip = tokio::spawn(async move {
        for octet in clearway_http2::connection::PREFACE {
            tokio::time::sleep(SECOND).await;
            if theirs.write_all(&[*octet]).await.is_err() {
                break;
            }
        }
        theirs
    });
    let (closed, _) = server.closed().await;
    let CloseReason::Protocol(error) = &closed.reason else { panic!("{closed}") };
    assert_eq!(error.violation, Violation::PrefaceTimeout);
    assert_eq!(closed.age, config::defaults::PEER_TIMEOUT);
    drip.await.unwrap();
}

/// A request of which `octets` of the answer cannot be written, because nobody reads.
async fn with_unread_answer() -> (support::Server, Peer<DuplexStream>) {
    let (ours, theirs) = duplex(1024);
    let mut server = serve(ours, Reply::Body(20_000));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    server.request().await;
    (server, peer)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_let_go() {
    let (server, _peer) = with_unread_answer().await;
    let began = Instant::now();
    let (closed, _) = server.closed().await;
    let limit = DriverConfig::default().write_timeout;
    assert_eq!(closed.reason, CloseReason::WriteStalled(limit));
    let waited = began.elapsed();
    assert!(waited >= limit && waited < limit + SECOND, "{waited:?}");
}

/// What it sends meanwhile does not save it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_writes_and_never_reads_is_let_go() {
    let (server, mut peer) = with_unread_answer().await;
    let began = Instant::now();
    let chatter = tokio::spawn(async move {
        let credit = frame(Kind::WINDOW_UPDATE, Flags::default(), 0, &1_u32.to_be_bytes());
        while peer.io.write_all(&credit).await.is_ok() {
            tokio::time::sleep(SECOND).await;
        }
    });
    let (closed, _) = server.closed().await;
    let limit = DriverConfig::default().write_timeout;
    assert_eq!(closed.reason, CloseReason::WriteStalled(limit));
    assert!(began.elapsed() < limit + 2 * SECOND);
    chatter.await.unwrap();
}

/// Slow is not stalled: whoever reads a little now and then keeps the connection.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_let_go() {
    let (ours, theirs) = duplex(16);
    let mut server = serve(ours, Reply::Body(1000));
    let mut peer = Peer::greeted(theirs).await;
    peer.write(&request(1, true)).await;
    server.request().await;
    let began = Instant::now();
    let mut octets = 0;
    while octets < 1000 {
        tokio::time::sleep(20 * SECOND).await;
        let mut buf = [0; 16];
        octets += tokio::io::AsyncReadExt::read(&mut peer.io, &mut buf).await.unwrap();
    }
    assert!(began.elapsed() > DriverConfig::default().write_timeout * 10);
    server.ops.abort();
    assert_eq!(server.closed().await.0.reason, CloseReason::Aborted);
}

/// Writes copies of `octets` until none has been taken for a second; says how many octets were taken.
async fn write_until_stuck(
    peer: &mut Peer<DuplexStream>,
    mut next: impl FnMut() -> Vec<u8>,
    most: usize,
) -> usize {
    let mut taken = 0;
    while taken < most {
        let octets = next();
        match tokio::time::timeout(SECOND, peer.io.write_all(&octets)).await {
            Ok(written) => written.expect("the server is gone"),
            Err(_) => break,
        }
        taken += octets.len();
    }
    taken
}

/// Requests whose answers nobody reads must not pile up: past a mark the server does not read on.
#[tokio::test(start_paused = true)]
async fn unread_answers_stop_the_reading() {
    const MOST: usize = 32 * 1024 * 1024;
    let (ours, theirs) = duplex(4096);
    let server = serve(ours, Reply::Headers);
    let mut peer = Peer::greeted(theirs).await;
    let mut id = 1;
    let next = || {
        let octets: Vec<u8> = (0..100).flat_map(|n| request(id + 2 * n, true)).collect();
        id += 200;
        octets
    };
    let taken = write_until_stuck(&mut peer, next, MOST).await;
    // 15 octets a request, 10 an answer.
    assert!(taken < 4 * 1024 * 1024, "{taken} octets of requests were taken");
    // And once the answers are read, it goes on.
    let sent = (id - 1) / 2;
    for n in 0..1000 {
        assert!(peer.expect(Kind::HEADERS).await.0.stream_id < sent * 2, "{n}");
    }
    let (mut read, mut write) = tokio::io::split(peer.io);
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut all).await;
    });
    let half = request(id + 200, true);
    tokio::time::timeout(SECOND, write.write_all(&half)).await.expect("reading goes on").unwrap();
    server.ops.abort();
    server.closed().await;
    reader.await.unwrap();
}

/// The same for frames that make us answer.
#[tokio::test(start_paused = true)]
async fn unread_pongs_stop_the_reading() {
    const MOST: usize = 32 * 1024 * 1024;
    let (ours, theirs) = duplex(4096);
    let server = serve(ours, Reply::Headers);
    let mut peer = Peer::greeted(theirs).await;
    let pings: Vec<u8> = (0..100).flat_map(|_| frame(Kind::PING, Flags::default(), 0, &[7; 8])).collect();
    let taken = write_until_stuck(&mut peer, || pings.clone(), MOST).await;
    let held = Config::default().limits.control_frames as usize * 17;
    assert!(taken < held + 4096 + 2 * 64 * 1024 + pings.len(), "{taken} octets of PING were taken");
    let began = Instant::now();
    let (closed, events) = server.closed().await;
    assert!(matches!(closed.reason, CloseReason::WriteStalled(_)), "{closed}");
    assert!(began.elapsed() <= DriverConfig::default().write_timeout);
    assert!(!events.iter().any(|event| matches!(event, Event::AfterTheEnd(_))));
}

/// Held-back input is taken up again once the output is read, and nothing of it is lost.
#[tokio::test(start_paused = true)]
async fn held_back_input_is_taken_up_again() {
    let (ours, theirs) = duplex(2048);
    let _server = serve(ours, Reply::Headers);
    let mut peer = Peer::greeted(theirs).await;
    let (mut read, mut write) = tokio::io::split(peer.io);
    let count = 50_000_u32;
    let writer = tokio::spawn(async move {
        for n in 0..count {
            let mut payload = [0; 8];
            payload[..4].copy_from_slice(&n.to_be_bytes());
            write.write_all(&frame(Kind::PING, Flags::default(), 0, &payload)).await.unwrap();
        }
        write
    });
    // Not reading for a while lets the server run into its limit.
    tokio::time::sleep(5 * SECOND).await;
    peer = Peer {
        io: {
            let mut seen = 0;
            while seen < count {
                let mut octets = [0; 17];
                tokio::io::AsyncReadExt::read_exact(&mut read, &mut octets[..9]).await.unwrap();
                let header = clearway_http2::frame::FrameHeader::decode(octets[..9].try_into().unwrap());
                let mut payload = vec![0; header.length as usize];
                tokio::io::AsyncReadExt::read_exact(&mut read, &mut payload).await.unwrap();
                if header.kind == Kind::PING {
                    assert_eq!(payload[..4], seen.to_be_bytes());
                    seen += 1;
                }
            }
            read.unsplit(writer.await.unwrap())
        },
    };
    peer.write(&request(1, true)).await;
    peer.expect(Kind::HEADERS).await;
}
