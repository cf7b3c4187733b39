//! Retries and hedges between our client and our server (gRFC A6): what handlers see, what they can say.

use std::sync::atomic::{AtomicU32, Ordering};

use clearway::client::{Grpc, HedgingPolicy, MethodConfig, RetryPolicy, ServiceConfig};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use core::time::Duration;
use std::sync::Arc;
use tokio::time::Instant;

use bytes::Bytes;

use crate::{endpoint, path, text};

/// Fails with UNAVAILABLE until it was called so often; the answer is how often the call had been sent before.
fn flaky(failures: u32, pushback: Option<Option<Duration>>) -> (Router, Arc<AtomicU32>) {
    let seen = Arc::new(AtomicU32::new(0));
    let (unary, uploads) = (Arc::clone(&seen), Arc::clone(&seen));
    let judge = move |seen: &AtomicU32, previous: u32| {
        if seen.fetch_add(1, Ordering::Relaxed) >= failures {
            return Ok(Response::new(Bytes::from(previous.to_string())));
        }
        let mut status = Status::unavailable("not yet");
        if let Some(after) = pushback {
            status.set_retry_pushback(after);
        }
        Err(status)
    };
    let service = GenericService::new("t.S")
        .unary("Unary", BytesCodec, move |request: Request<Bytes>| {
            let answer = judge(&unary, request.previous_attempts());
            async move { answer }
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let (seen, previous) = (Arc::clone(&uploads), request.previous_attempts());
            async move {
                let (mut messages, mut count) = (request.into_inner(), 0);
                while messages.message().await?.is_some() {
                    count += 1;
                }
                assert_eq!(count, 3, "the whole request comes each time");
                judge(&seen, previous)
            }
        })
        .unary("Slow", BytesCodec, |request: Request<Bytes>| async move {
            let previous = request.previous_attempts();
            if previous == 0 {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            Ok(Response::new(Bytes::from(previous.to_string())))
        });
    (Server::builder().add_service(service), seen)
}

fn client(router: Router, method: MethodConfig) -> Grpc {
    let endpoint = endpoint(router).fixed_jitter(0.5);
    Grpc::new(endpoint.service_config(ServiceConfig::new().method(method)).unwrap().connect_lazy())
}

fn retrying() -> MethodConfig {
    MethodConfig::for_service("t.S").retry(RetryPolicy::new(4, [Code::Unavailable]))
}

#[tokio::test(start_paused = true)]
async fn handlers_see_how_often_a_call_was_sent_before() {
    let (router, seen) = flaky(2, None);
    let grpc = client(router, retrying());
    let answer = grpc.unary(text("x"), path("Unary"), BytesCodec).await.unwrap();
    assert_eq!((answer.into_inner(), seen.load(Ordering::Relaxed)), (Bytes::from_static(b"2"), 3));

    let (router, seen) = flaky(3, None);
    let grpc = client(router, retrying());
    let parts = || Request::new(tokio_stream::iter(["a", "b", "c"].map(Bytes::from)));
    let answer = grpc.client_streaming(parts(), path("Upload"), BytesCodec).await.unwrap();
    assert_eq!((answer.into_inner(), seen.load(Ordering::Relaxed)), (Bytes::from_static(b"3"), 4));
    let answer = grpc.unary(text("x"), path("Unary"), BytesCodec).await.unwrap();
    assert_eq!(answer.into_inner(), "0", "the first time is none");
}

#[tokio::test(start_paused = true)]
async fn handlers_can_put_a_retry_off_or_forbid_it() {
    let (router, seen) = flaky(1, Some(Some(Duration::from_micros(1_234_567))));
    let began = Instant::now();
    let answer = client(router, retrying()).unary(text("x"), path("Unary"), BytesCodec).await;
    assert!(answer.is_ok() && seen.load(Ordering::Relaxed) == 2);
    assert_eq!(began.elapsed(), Duration::from_millis(1_235));

    let (router, seen) = flaky(1, Some(None));
    let status = client(router, retrying()).unary(text("x"), path("Unary"), BytesCodec).await.unwrap_err();
    assert_eq!((status.code(), seen.load(Ordering::Relaxed)), (Code::Unavailable, 1));

    let mut status = Status::unavailable("");
    status.set_retry_pushback(Some(Duration::MAX));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "2147483647");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_overtakes_a_slow_handler() {
    let (router, _) = flaky(0, None);
    let policy = HedgingPolicy::new(3, Duration::from_millis(20));
    let grpc = client(router, MethodConfig::for_method("t.S", "Slow").hedge(policy));
    let began = Instant::now();
    let answer = grpc.unary(text("x"), path("Slow"), BytesCodec).await.unwrap();
    assert_eq!((answer.into_inner(), began.elapsed()), (Bytes::from_static(b"1"), Duration::from_millis(20)));
}
