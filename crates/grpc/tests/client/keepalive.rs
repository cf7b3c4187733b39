//! gRFC A8 at the client: when it asks for a sign of life, what becomes of calls without one, and what it learns from
//! `too_many_pings`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway::Code;
use clearway::client::{DEFAULT_KEEP_ALIVE_INTERVAL, Grpc};
use clearway::transport::{CloseReason, Processed, TransportEvent};
use clearway_http2::ErrorCode;
use tokio::time::Instant;

use crate::peer::{Frame, OK_HEAD, call, connected, connected_with, endpoint, framed, listen};

const ALL: u32 = 0x7fff_ffff;

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What is said to `tracing` on this thread, a line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).with_ansi(false).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self, of: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        text.lines().filter(|line| line.contains(of)).map(ToOwned::to_owned).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Defaults, a call that says nothing for an hour: a PING every five and a half minutes, each counted from the answer to the last.
#[tokio::test(start_paused = true)]
async fn a_default_client_asks_every_five_and_a_half_minutes_while_a_call_runs() {
    let (grpc, mut peer) = connected().await;
    let answer = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let mut stream = answer.await.unwrap().unwrap().into_inner();
    let began = Instant::now();
    assert!(tokio::time::timeout(secs(3600), peer.next()).await.is_err());
    let asked: Vec<_> = peer.pings.iter().map(|at| (*at - began).as_secs()).collect();
    let expected: Vec<_> = (1..=10).map(|n| n * DEFAULT_KEEP_ALIVE_INTERVAL.as_secs()).collect();
    assert_eq!(asked, expected);
    peer.data(id, &framed(b"late"), false).await;
    assert_eq!(stream.message().await.unwrap().unwrap(), "late");
}

/// Without calls a default client says nothing, for a day.
#[tokio::test(start_paused = true)]
async fn a_default_client_is_silent_without_calls() {
    let (grpc, mut peer) = connected_with(|endpoint| endpoint.idle_timeout(Duration::MAX), &[]).await;
    let answer = call(&grpc, b"one");
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
    assert!(tokio::time::timeout(secs(80_000), peer.next()).await.is_err());
    assert_eq!(peer.pings, []);
}

/// Where it was agreed on.
#[tokio::test(start_paused = true)]
async fn keep_alive_while_idle_asks_without_calls() {
    let tune = |endpoint: clearway::transport::Endpoint| {
        endpoint.http2_keep_alive_interval(secs(60)).keep_alive_while_idle(true)
    };
    let (_grpc, mut peer) = connected_with(tune, &[]).await;
    assert!(tokio::time::timeout(secs(601), peer.next()).await.is_err());
    assert_eq!(peer.pings.len(), 10);
}

/// The peer is gone without a word: the call ends after interval and timeout, says so, and the next one has a new connection.
#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_within_interval_and_timeout() {
    let (endpoint, mut arrivals) = endpoint();
    let endpoint = endpoint.http2_keep_alive_interval(secs(60)).keep_alive_timeout(secs(5));
    let grpc = Grpc::new(endpoint.connect_lazy());
    let lost = call(&grpc, b"lost");
    let mut dead = arrivals.accept(&[]).await;
    let _ = dead.request().await;
    let began = Instant::now();
    let status = lost.await.unwrap().unwrap_err();
    let took = began.elapsed();
    assert!((secs(65)..secs(66)).contains(&took), "{took:?}");
    assert_eq!(status.code(), Code::Unavailable);
    let cause = status.transport().unwrap();
    let CloseReason::KeepaliveExpired { silent } = (match &cause.event {
        TransportEvent::ConnectionClosed(reason) => reason.clone(),
        other => panic!("{other:?}"),
    }) else {
        panic!("{cause}");
    };
    assert!((secs(65)..secs(66)).contains(&silent), "{silent:?}");
    assert_eq!(cause.processed, Processed::Maybe);
    assert!(status.message().contains("keepalive expired"), "{}", status.message());
    let next = call(&grpc, b"next");
    let mut alive = arrivals.accept(&[]).await;
    let (id, ..) = alive.request().await;
    alive.answer(id, b"").await;
    assert!(next.await.unwrap().is_ok());
}

/// A8: "KEEPALIVE_TIME ... lower values are raised to 10 s", and this library says so, once for an endpoint and its copies.
#[tokio::test(start_paused = true)]
async fn an_interval_below_ten_seconds_is_raised_and_that_is_said_once() {
    let log = Log::default();
    let _guard = log.listen();
    let (endpoint, mut arrivals) = endpoint();
    let endpoint = endpoint.http2_keep_alive_interval(Duration::from_millis(100));
    let grpc = Grpc::new(endpoint.connect_lazy());
    let _again = endpoint.clone().connect_lazy();
    let answer = call(&grpc, b"one");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    let began = Instant::now();
    assert!(tokio::time::timeout(secs(35), peer.next()).await.is_err());
    let asked: Vec<_> = peer.pings.iter().map(|at| (*at - began).as_secs()).collect();
    assert_eq!(asked, [10, 20, 30]);
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
    let said = log.lines("http2_keep_alive_interval");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("WARN") && said[0].contains("wanted=100ms") && said[0].contains("used=10s"),
        "{said:?}"
    );
}

/// A8: the client doubles its interval for the channel, says so with both values, and the calls that were lost say what to change.
#[tokio::test(start_paused = true)]
async fn too_many_pings_double_the_interval_of_the_channel() {
    let log = Log::default();
    let _guard = log.listen();
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.http2_keep_alive_interval(secs(10)).connect_lazy());
    for interval in [10, 20, 40] {
        let lost = call(&grpc, b"lost");
        let mut peer = arrivals.accept(&[]).await;
        let (id, ..) = peer.request().await;
        let began = Instant::now();
        assert!(tokio::time::timeout(secs(interval) + secs(1), peer.next()).await.is_err());
        assert_eq!((peer.pings[0] - began).as_secs(), interval);
        peer.goaway(id, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings").await;
        drop(peer);
        let status = lost.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let (was, next) = (secs(interval), secs(2 * interval));
        let expected = TransportEvent::TooManyPings { interval: was, next, keepalive: true };
        assert_eq!(status.transport().unwrap().event, expected);
        let text = status.message().to_owned();
        for words in
            ["too_many_pings", "raise http2_keep_alive_interval", "EnforcementPolicy", "min_ping_interval"]
        {
            assert!(text.contains(words), "{text:?} does not say {words:?}");
        }
        let said = log.lines(&format!("interval={interval}s next={}s", 2 * interval));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("WARN"), "{said:?}");
    }
}

/// Calls above the last id were not looked at: they go to the next connection, and their callers notice nothing.
#[tokio::test(start_paused = true)]
async fn calls_that_too_many_pings_left_out_are_sent_again() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.connect_lazy());
    let answer = call(&grpc, b"again");
    let mut peer = arrivals.accept(&[]).await;
    let _ = peer.request().await;
    peer.goaway(0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings").await;
    drop(peer);
    let mut next = arrivals.accept(&[]).await;
    let (id, ..) = next.request().await;
    next.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

/// ENHANCE_YOUR_CALM for another reason slows nothing down.
#[tokio::test(start_paused = true)]
async fn calm_for_another_reason_is_not_about_pings() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.http2_keep_alive_interval(secs(10)).connect_lazy());
    for reason in ["too_many_resets", "too_many_pings!"] {
        let lost = call(&grpc, b"lost");
        let mut peer = arrivals.accept(&[]).await;
        let (id, ..) = peer.request().await;
        peer.goaway(id, ErrorCode::ENHANCE_YOUR_CALM, reason).await;
        drop(peer);
        let status = lost.await.unwrap().unwrap_err();
        let event = &status.transport().unwrap().event;
        assert!(matches!(event, TransportEvent::ConnectionClosed(CloseReason::GoAway { .. })), "{event:?}");
    }
    let _pending = call(&grpc, b"slow");
    let mut peer = arrivals.accept(&[]).await;
    let _ = peer.request().await;
    let began = Instant::now();
    assert!(tokio::time::timeout(secs(11), peer.next()).await.is_err());
    assert_eq!((peer.pings[0] - began).as_secs(), 10);
}

/// A server that goes away for its own reasons while a call runs: keepalive goes on for what is left.
#[tokio::test(start_paused = true)]
async fn a_connection_that_goes_away_is_still_watched() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.http2_keep_alive_interval(secs(10)).connect_lazy());
    let lost = call(&grpc, b"lost");
    let mut peer = arrivals.accept(&[]).await;
    let _ = peer.request().await;
    peer.goaway(ALL, ErrorCode::NO_ERROR, "max_age").await;
    let began = Instant::now();
    let status = lost.await.unwrap().unwrap_err();
    assert_eq!((status.code(), began.elapsed().as_secs()), (Code::Unavailable, 30));
    assert_eq!(peer.next().await, Frame::GoAway);
}
