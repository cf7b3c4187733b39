//! How a channel comes by its connection, and what happens when it does not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clearway::client::Grpc;
use clearway::transport::{ConnectPhase, Endpoint, TransportEvent};
use clearway::{Code, Status};
use tokio::time::Instant;

use crate::peer::{Peer, call, endpoint};

/// An endpoint whose first attempts fail, and the count of attempts.
fn failing(
    failures: usize,
) -> (Endpoint, Arc<AtomicUsize>, tokio::sync::mpsc::UnboundedReceiver<tokio::io::DuplexStream>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, (tell, arrivals)) = (Arc::clone(&attempts), tokio::sync::mpsc::unbounded_channel());
    let endpoint = Endpoint::from_static("http://test.example:50051").connector(move || {
        let failed = counted.fetch_add(1, Ordering::SeqCst) < failures;
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let answer = if failed {
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody home"))
        } else {
            let _ = tell.send(theirs);
            Ok(ours)
        };
        std::future::ready(answer)
    });
    (endpoint, attempts, arrivals)
}

fn failed_in(status: &Status) -> ConnectPhase {
    assert_eq!(status.code(), Code::Unavailable);
    match &status.transport().unwrap().event {
        TransportEvent::Connect { phase, .. } => *phase,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn connect_waits_for_the_servers_settings() {
    let (endpoint, mut arrivals) = endpoint();
    let connecting = tokio::spawn(endpoint.connect());
    let raw = arrivals.raw().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!connecting.is_finished(), "a connection without SETTINGS is not ready");
    let _peer = Peer::shake_hands(raw, &[]).await;
    assert!(connecting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn connect_tells_which_step_failed() {
    let (refusing, ..) = failing(usize::MAX);
    let error = refusing.connect().await.unwrap_err();
    assert_eq!(failed_in(error.status().unwrap()), ConnectPhase::Tcp);
    assert!(error.to_string().contains("nobody home"), "{error}");

    let (silent, mut arrivals) = endpoint();
    let connecting = tokio::spawn(silent.connect());
    let _silent = arrivals.raw().await;
    let began = Instant::now();
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(failed_in(error.status().unwrap()), ConnectPhase::Settings);
    assert!(began.elapsed() <= Duration::from_secs(21), "{:?}", began.elapsed());

    let (silent, mut arrivals) = endpoint();
    let connecting = tokio::spawn(silent.connect());
    drop(arrivals.raw().await);
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(failed_in(error.status().unwrap()), ConnectPhase::Settings);
    assert!(error.to_string().contains("closed by the peer"), "{error}");
}

/// An endpoint whose connections take so long to make and never say anything; it tells when each was asked for.
fn slow(taking: Duration) -> (Endpoint, tokio::sync::mpsc::UnboundedReceiver<Instant>) {
    let (tell, asked) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Endpoint::from_static("http://test.example:50051").connector(move || {
        let _ = tell.send(Instant::now());
        async move {
            tokio::time::sleep(taking).await;
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            std::mem::forget(theirs);
            Ok(ours)
        }
    });
    (endpoint, asked)
}

#[tokio::test(start_paused = true)]
async fn all_steps_to_a_connection_share_one_budget() {
    let ms = Duration::from_millis;
    for (taking, limit, phase, ends) in [
        (ms(12_000), None, ConnectPhase::Settings, ms(20_000)),
        (ms(25_000), None, ConnectPhase::Tcp, ms(20_000)),
        (ms(1_000), Some(ms(3_000)), ConnectPhase::Settings, ms(3_000)),
        (ms(4_000), Some(ms(3_000)), ConnectPhase::Tcp, ms(3_000)),
    ] {
        let (mut endpoint, _asked) = slow(taking);
        if let Some(limit) = limit {
            endpoint = endpoint.connect_timeout(limit);
        }
        let began = Instant::now();
        let error = endpoint.connect().await.unwrap_err();
        let took = began.elapsed();
        assert!(took >= ends && took <= ends + ms(2), "{taking:?} {limit:?}: {took:?}");
        assert_eq!(failed_in(error.status().unwrap()), phase);
        assert!(error.to_string().contains("(limit: Endpoint::connect_timeout)"), "{error}");
    }
    let (endless, _asked) = slow(Duration::from_secs(1000 * 3600));
    let waiting = tokio::spawn(endless.connect_timeout(Duration::MAX).connect());
    tokio::time::sleep(Duration::from_secs(100 * 3600)).await;
    assert!(!waiting.is_finished(), "a limit too far away for the clock is none");
    waiting.abort();
}

/// gRPC's connection back-off page: an attempt may take as long as the wait has become, unless the program has said how long.
#[tokio::test(start_paused = true)]
async fn attempts_may_take_longer_when_waits_are_long() {
    for (limit, most) in [(None, 120), (Some(Duration::from_secs(5)), 96)] {
        let (mut endpoint, mut asked) = slow(Duration::from_secs(3600));
        if let Some(limit) = limit {
            endpoint = endpoint.connect_timeout(limit);
        }
        // Waits of 120 s are 96 s with the least of jitter: what makes an attempt last longer is its budget.
        let grpc = Grpc::new(endpoint.fixed_jitter(0.0).wait_for_ready(true).connect_lazy());
        let waiting = call(&grpc, b"");
        let mut times = vec![];
        for _ in 0..16 {
            times.push(asked.recv().await.unwrap());
        }
        let waits: Vec<_> = times.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
        assert_eq!(*waits.last().unwrap(), most, "{waits:?}");
        assert_eq!(waits[0], limit.map_or(20, |limit| limit.as_secs()), "{waits:?}");
        waiting.abort();
    }
}

#[tokio::test]
async fn the_next_address_has_a_budget_of_its_own() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answering = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = [&silent, &answering].map(|listener| listener.local_addr().unwrap().port());
    let limit = Duration::from_millis(300);
    let target = format!("ipv4:127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
    let endpoint = Endpoint::new(target).unwrap().plaintext().connect_timeout(limit);
    let connecting = tokio::spawn(endpoint.connect());
    let (_silent, _) = silent.accept().await.unwrap();
    let (mut io, _) = answering.accept().await.unwrap();
    tokio::time::sleep(limit / 2).await;
    tokio::io::AsyncWriteExt::write_all(&mut io, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    assert!(connecting.await.unwrap().is_ok(), "half of its time was left");
}

#[tokio::test(start_paused = true)]
async fn a_lazy_channel_connects_with_the_first_call_which_waits() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.connect_lazy());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(arrivals.is_quiet());
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_fail_at_once_while_no_connection_can_be_made_and_succeed_when_it_is() {
    let (endpoint, attempts, mut arrivals) = failing(3);
    let grpc = Grpc::new(endpoint.connect_lazy());
    let began = Instant::now();
    for _ in 0..3 {
        let status = call(&grpc, b"").await.unwrap().unwrap_err();
        assert_eq!(failed_in(&status), ConnectPhase::Tcp);
        assert!(status.message().contains("nobody home"), "{status}");
    }
    assert_eq!((attempts.load(Ordering::SeqCst), began.elapsed().as_millis()), (1, 0), "one attempt so far");
    // 1 s, then 1.6 s, then 2.56 s, ±20 %.
    let mut peer = Peer::shake_hands(arrivals.recv().await.unwrap(), &[]).await;
    let waited = began.elapsed().as_secs_f64();
    assert!((5.16 * 0.8..=5.16 * 1.2 + 0.01).contains(&waited), "{waited}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_back_off_starts_again_after_a_connection() {
    let (endpoint, attempts, mut arrivals) = failing(2);
    let grpc = Grpc::new(endpoint.connect_lazy());
    let _ = call(&grpc, b"").await;
    let peer = Peer::shake_hands(arrivals.recv().await.unwrap(), &[]).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop((peer, arrivals));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3, "without calls nobody connects");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_connection_at_once_is_not_called_in_a_loop() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.connect_lazy());
    let answer = call(&grpc, b"");
    let mut served = 0;
    let end = Instant::now() + Duration::from_secs(60);
    while let Ok(raw) = tokio::time::timeout_at(end, arrivals.raw()).await {
        let mut peer = Peer::shake_hands(raw, &[(3, 0)]).await;
        tokio::task::yield_now().await;
        peer.goaway(0, clearway_http2::ErrorCode::NO_ERROR, "full").await;
        served += 1;
        assert!(served < 100, "called in a loop");
    }
    assert!((4..30).contains(&served), "{served}");
    assert!(!answer.is_finished(), "the call was never sent, so it waits");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_channel_closes_the_connection_after_its_last_call() {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.connect_lazy());
    let opened = crate::peer::listen(&grpc);
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.headers(id, &crate::peer::OK_HEAD, false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    drop(grpc);
    assert_eq!(peer.next().await, crate::peer::Frame::GoAway);
    peer.data(id, &crate::peer::framed(b"still here"), false).await;
    assert_eq!(stream.message().await.unwrap().unwrap(), "still here");
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert_eq!(stream.message().await.unwrap(), None);
    assert_eq!(peer.next().await, crate::peer::Frame::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_dropped_while_connecting_lets_go() {
    let (endpoint, mut arrivals) = endpoint();
    let connecting = tokio::spawn(endpoint.connect());
    let raw = arrivals.raw().await;
    connecting.abort();
    let mut peer = Peer::shake_hands(raw, &[]).await;
    assert!(matches!(peer.next().await, crate::peer::Frame::GoAway | crate::peer::Frame::Closed));
}

#[tokio::test]
async fn targets_that_want_tls_are_refused_by_name() {
    for target in ["https://localhost:1", "localhost:1", "dns:///localhost:1", "ipv4:127.0.0.1:1"] {
        let error = Endpoint::from_static(target).connect().await.unwrap_err().to_string();
        assert!(error.contains("TLS") && error.contains(target), "{error}");
        let lazy = Grpc::new(Endpoint::from_static(target).connect_lazy());
        let status = call(&lazy, b"").await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("TLS"), "{status}");
    }
}

#[tokio::test]
async fn an_address_nobody_listens_on_is_refused_by_the_system() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let endpoint = Endpoint::new(format!("http://127.0.0.1:{port}")).unwrap();
    let error = endpoint.connect().await.unwrap_err();
    assert_eq!(failed_in(error.status().unwrap()), ConnectPhase::Tcp);
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn bad_targets_are_errors_and_not_panics() {
    for target in ["", "http://", "http://a/b", "ftp://a", "unix:"] {
        assert!(Endpoint::try_from(target).is_err(), "{target:?}");
    }
    assert!(Endpoint::from_static("http://a").user_agent("caf\u{e9}").is_err());
    assert!(Endpoint::from_static("http://a").origin("a/b").is_err());
}

#[tokio::test]
async fn an_endpoint_connects_again_and_again_and_the_future_borrows_nothing() {
    let endpoint = Endpoint::from_static("http://127.0.0.1:1");
    for _ in 0..2 {
        let connecting = tokio::spawn(endpoint.connect());
        assert!(connecting.await.unwrap().unwrap_err().status().is_some());
    }
}
