//! Calls while no connection can be made: gRPC's wait-for-ready page.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clearway::client::{Grpc, MethodConfig, RetryPolicy, ServiceConfig};
use clearway::transport::Endpoint;
use clearway::{Code, Request};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::peer::{Peer, call, call_with, chat, feed, framed};

/// A server that is down until it is said to be up.
struct Site {
    up: Arc<AtomicBool>,
    arrivals: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Site {
    fn down() -> (Endpoint, Self) {
        let up = Arc::new(AtomicBool::new(false));
        let (tell, arrivals) = mpsc::unbounded_channel();
        let open = Arc::clone(&up);
        let endpoint = Endpoint::from_static("http://test.example:50051").connector(move || {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let result = if open.load(Ordering::Relaxed) {
                let _ = tell.send(theirs);
                Ok(ours)
            } else {
                Err(io::Error::from(io::ErrorKind::ConnectionRefused))
            };
            std::future::ready(result)
        });
        (endpoint.fixed_jitter(0.5), Self { up, arrivals })
    }

    async fn accept(&mut self) -> Peer {
        self.up.store(true, Ordering::Relaxed);
        Peer::shake_hands(self.arrivals.recv().await.unwrap(), &[]).await
    }
}

fn patient(message: &'static [u8], wait: bool) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(message));
    request.set_wait_for_ready(wait);
    request
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_are_sent_in_order_once_a_connection_is_up_and_others_fail_meanwhile() {
    let (endpoint, mut site) = Site::down();
    let grpc = Grpc::new(endpoint.connect_lazy());
    let status = call(&grpc, b"0").await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let first = call_with(&grpc, patient(b"1", true));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let status = call(&grpc, b"x").await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "its neighbour waits, it does not");
    let second = call_with(&grpc, patient(b"2", true));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!first.is_finished() && !second.is_finished());
    let mut peer = site.accept().await;
    for message in [b"1", b"2"] {
        let (id, _, body) = peer.request().await;
        assert_eq!(body, framed(message));
        peer.answer(id, b"").await;
    }
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_wait_and_the_last_error_is_told() {
    let (endpoint, _site) = Site::down();
    let grpc = Grpc::new(endpoint.connect_lazy());
    let mut request = patient(b"", true);
    request.set_timeout(Duration::from_secs(7));
    let began = Instant::now();
    let status = call_with(&grpc, request).await.unwrap().unwrap_err();
    assert_eq!((status.code(), began.elapsed()), (Code::DeadlineExceeded, Duration::from_secs(7)));
    assert!(status.message().contains("last attempt to connect: connecting failed"), "{status}");
}

/// The request's word, then the method's, then the endpoint's.
#[tokio::test(start_paused = true)]
async fn the_nearest_word_counts() {
    for (endpoints, methods, requests, waits) in [
        (false, None, None, false),
        (true, None, None, true),
        (true, Some(false), None, false),
        (false, Some(true), None, true),
        (false, Some(true), Some(false), false),
        (true, Some(false), Some(true), true),
    ] {
        let (endpoint, _site) = Site::down();
        let mut endpoint = endpoint.wait_for_ready(endpoints);
        if let Some(wait) = methods {
            let method = MethodConfig::for_all().wait_for_ready(wait);
            endpoint = endpoint.service_config(ServiceConfig::new().method(method)).unwrap();
        }
        let mut request = Request::new(Bytes::new());
        if let Some(wait) = requests {
            request.set_wait_for_ready(wait);
        }
        let answer = call_with(&Grpc::new(endpoint.connect_lazy()), request);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(!answer.is_finished(), waits, "{endpoints} {methods:?} {requests:?}");
        answer.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn calls_given_up_while_they_wait_are_not_sent() {
    let (endpoint, mut site) = Site::down();
    let grpc = Grpc::new(endpoint.wait_for_ready(true).connect_lazy());
    let given_up = call(&grpc, b"gone");
    let (feeding, messages) = feed();
    let stream = chat(&grpc, messages);
    let kept = call(&grpc, b"kept");
    tokio::time::sleep(Duration::from_secs(5)).await;
    given_up.abort();
    stream.abort();
    feeding.closed().await;
    let mut peer = site.accept().await;
    let (id, _, body) = peer.request().await;
    assert_eq!(body, framed(b"kept"));
    peer.answer(id, b"").await;
    assert!(kept.await.unwrap().is_ok());
    peer.expect_silence().await;
}

/// Waiting is no attempt.
#[tokio::test(start_paused = true)]
async fn a_call_with_a_policy_waits_in_its_first_attempt() {
    let (endpoint, mut site) = Site::down();
    let method = MethodConfig::for_all().wait_for_ready(true).retry(RetryPolicy::new(2, [Code::Unavailable]));
    let endpoint = endpoint.service_config(ServiceConfig::new().method(method)).unwrap();
    let answer = call(&Grpc::new(endpoint.connect_lazy()), b"");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut peer = site.accept().await;
    let (id, fields, _) = peer.request().await;
    assert_eq!(crate::retries::previous(&fields), None);
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}
