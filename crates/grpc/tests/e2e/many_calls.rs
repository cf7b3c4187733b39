//! Many calls on one connection: the stream limit is kept, the rest waits, and a call that is stuck holds nobody up.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::client::DEFAULT_MAX_CONNECTIONS_PER_ADDRESS;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server, TransportEvent};
use clearway::{Code, Request, Response, Streaming};
use tokio::task::JoinSet;

use crate::{Client, Teller, endpoint, socket_endpoint, story, text};

const CALLS: usize = 10_000;
const STREAMS: usize = 1000;

/// How many handlers run, and how many ran at most.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

fn sleeping(running: &Arc<Running>, each: Duration) -> GenericService {
    let running = Arc::clone(running);
    GenericService::new("t.S").unary("Sleep", BytesCodec, move |request: Request<Bytes>| {
        let running = Arc::clone(&running);
        async move {
            let now = running.now.fetch_add(1, Ordering::Relaxed) + 1;
            running.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(each).await;
            running.now.fetch_sub(1, Ordering::Relaxed);
            Ok(Response::new(request.into_inner()))
        }
    })
}

/// Starts all calls at once; each must get its own answer.
async fn call_at_once(client: &Client) {
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let client = client.clone();
        calls.spawn(async move {
            let message = Bytes::from(call.to_string());
            let answer = client.unary("Sleep", Request::new(message.clone())).await;
            assert_eq!(answer.expect("it waits its turn").into_inner(), message);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_at_once_finish_on_one_connection() {
    let running = Arc::<Running>::default();
    let service = sleeping(&running, Duration::from_millis(100));
    // In memory there is one connection, or none.
    let client = Client::of(Server::builder().add_service(service));
    call_at_once(&client).await;
    assert_eq!(running.most.load(Ordering::Relaxed), STREAMS, "the server's limit is used and kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_at_once_finish_over_a_socket() {
    let running = Arc::<Running>::default();
    let service = sleeping(&running, Duration::from_millis(20));
    let endpoint = socket_endpoint(Server::builder().add_service(service)).await;
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    let endpoint = endpoint.observe(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::new(Blind)
    });
    call_at_once(&Client::at(endpoint.clone().max_connections_per_address(1))).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let most = running.most.load(Ordering::Relaxed);
    assert!(most <= STREAMS, "{most} handlers ran at once");
    // Unless told otherwise a channel makes more connections when the server's limit is in the way.
    call_at_once(&Client::at(endpoint)).await;
    let made = connections.load(Ordering::Relaxed) - 1;
    assert!((2..=DEFAULT_MAX_CONNECTIONS_PER_ADDRESS).contains(&made), "{made}");
    let most = running.most.load(Ordering::Relaxed);
    assert!(most <= made * STREAMS, "{most} handlers ran at once");
}

/// An observer that does not look.
struct Blind;

impl clearway::observe::Observer for Blind {
    fn on_trace(&mut self, _: clearway::observe::Instant, _: &clearway::observe::Trace<'_>) {}
}

#[tokio::test(start_paused = true)]
async fn a_call_too_many_is_refused_and_the_limit_is_named() {
    let running = Arc::<Running>::default();
    let service = sleeping(&running, Duration::from_millis(100));
    let router = Server::builder().max_concurrent_streams(1).add_service(service);
    let client = Client::at(endpoint(router).max_queued_calls(5));
    client.unary("Sleep", text("m")).await.expect("the first");
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        calls.spawn(async move { client.unary("Sleep", text("m")).await });
    }
    let (mut good, mut refused) = (0, 0);
    while let Some(call) = calls.join_next().await {
        match call.expect("no panic") {
            Ok(_) => good += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(status.message().contains("max_queued_calls"), "{status}");
                let event = status.transport().map(|cause| cause.event.clone());
                assert_eq!(event, Some(TransportEvent::QueueFull { limit: 5 }));
                refused += 1;
            }
        }
    }
    assert_eq!((good, refused), (6, 2), "one on its way, five in the queue");
}

/// A method whose handler never reads, beside one that echoes.
fn holding(teller: &Teller) -> Router {
    let teller = teller.clone();
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .client_streaming("Hold", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = teller.clone();
            async move {
                let _held = (request, teller.on_drop("handler dropped"));
                teller.tell("holding");
                core::future::pending().await
            }
        });
    Server::builder().add_service(service)
}

async fn calls_beside_an_unread_upload(client: Client, mut told: crate::Told) {
    const PIECE: usize = 64 * 1024;
    let sent = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&sent);
    let piece = Bytes::from(vec![0; PIECE]);
    let pieces = (0..1024).map(move |_| {
        count.fetch_add(PIECE, Ordering::Relaxed);
        piece.clone()
    });
    let upload = tokio::spawn({
        let client = client.clone();
        async move { client.upload("Hold", Request::new(tokio_stream::iter(pieces))).await }
    });
    assert_eq!(told.next().await, "holding");
    for _ in 0..500 {
        assert_eq!(client.unary("Echo", text("m")).await.expect("it is not held up").into_inner(), "m");
    }
    let mut calls = JoinSet::new();
    for _ in 0..500 {
        let client = client.clone();
        let message = Bytes::from(vec![1; 10_000]);
        calls.spawn(async move { client.unary("Echo", Request::new(message)).await });
    }
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("no panic").expect("it is not held up").into_inner().len(), 10_000);
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(
        (PIECE..=1024 * 1024).contains(&sent),
        "{sent} octets were taken for a handler that does not read"
    );
    assert!(!upload.is_finished(), "the upload is stuck");
    assert!(told.is_silent());
    upload.abort();
    assert_eq!(told.next().await, "handler dropped");
}

#[tokio::test(start_paused = true)]
async fn an_upload_nobody_reads_holds_up_no_other_call() {
    let (teller, told) = story();
    calls_beside_an_unread_upload(Client::of(holding(&teller)), told).await;
}

#[tokio::test]
async fn an_upload_nobody_reads_holds_up_no_other_call_over_a_socket() {
    let (teller, told) = story();
    calls_beside_an_unread_upload(Client::at(socket_endpoint(holding(&teller)).await), told).await;
}

#[tokio::test(start_paused = true)]
async fn uploads_nobody_reads_do_not_hold_up_a_large_message() {
    let (teller, mut told) = story();
    let client = Client::of(holding(&teller));
    let mut uploads = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        let pieces = (0..64).map(|_| Bytes::from_static(&[0; 64 * 1024]));
        uploads.spawn(async move { client.upload("Hold", Request::new(tokio_stream::iter(pieces))).await });
    }
    for _ in 0..50 {
        assert_eq!(told.next().await, "holding");
    }
    // More than what the connection's window or any stream's window alone would let through.
    let large = Bytes::from(vec![1; 3 * 1024 * 1024]);
    for _ in 0..5 {
        let answer = client.unary("Echo", Request::new(large.clone())).await.expect("it is not held up");
        assert_eq!(answer.into_inner(), large);
    }
}
