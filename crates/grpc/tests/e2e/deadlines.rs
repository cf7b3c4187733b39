//! Deadlines, kept by both sides and carried from one to the other. Time is virtual: a wait is as long as it should be, to
//! the millisecond.

use core::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{CallPhase, Router, Server, TransportEvent};
use clearway::{Code, Request, Response, Streaming};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

use crate::raw::{framed, grpc, with};
use crate::{Client, Keeping, Teller, endpoint, raw_connection, story, text};

const SECOND: Duration = Duration::from_secs(1);
/// tokio's timer counts whole milliseconds, and each side has one.
const SLACK: Duration = Duration::from_millis(3);

fn service(teller: &Teller) -> GenericService {
    let (never, stream) = (teller.clone(), teller.clone());
    GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Never", BytesCodec, move |_: Request<Bytes>| {
            let teller = never.clone();
            async move {
                let _dropped = teller.on_drop("handler dropped");
                teller.tell("started");
                core::future::pending().await
            }
        })
        .unary("Left", BytesCodec, |request: Request<Bytes>| async move {
            let left = request.deadline().map(|at| at - Instant::now());
            Ok(Response::new(Bytes::from(format!("{:?}", left.map(|left| left.as_millis())))))
        })
        .unary("Hold", BytesCodec, |request: Request<Bytes>| async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(Response::new(request.into_inner()))
        })
        .bidi_streaming("Stream", BytesCodec, move |_: Request<Streaming<Bytes>>| {
            let teller = stream.clone();
            async move {
                let one = tokio_stream::once(Ok(Bytes::from_static(b"one")));
                let dropped = teller.on_drop("stream dropped");
                Ok(Response::new(Keeping(one.chain(tokio_stream::pending()), dropped)))
            }
        })
}

fn router(teller: &Teller) -> Router {
    Server::builder().add_service(service(teller))
}

fn within(mut request: Request<Bytes>, timeout: Duration) -> Request<Bytes> {
    request.set_timeout(timeout);
    request
}

fn assert_took(start: Instant, wanted: Duration) {
    let took = start.elapsed();
    assert!(took >= wanted && took <= wanted + SLACK, "{took:?}, want {wanted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_its_handler() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let start = Instant::now();
    let status = client.unary("Never", within(text("m"), SECOND)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_took(start, SECOND);
    assert_eq!(told.next().await, "started");
    assert_eq!(told.next().await, "handler dropped");
    assert_took(start, SECOND);
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline_with_what_came_before_it() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let mut request = Request::new(tokio_stream::pending());
    request.set_timeout(SECOND);
    let start = Instant::now();
    let mut stream = client.duplex("Stream", request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().as_deref(), Some(&b"one"[..]));
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_took(start, SECOND);
    assert_eq!(told.next().await, "stream dropped");
    assert_took(start, SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_smaller_of_the_calls_and_the_channels_deadline_counts() {
    let (teller, _told) = story();
    for (channels, calls) in [(SECOND, 5 * SECOND), (5 * SECOND, SECOND)] {
        let client = Client::at(endpoint(router(&teller)).timeout(channels));
        let start = Instant::now();
        let status = client.unary("Never", within(text("m"), calls)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_took(start, SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_has_a_bound_of_its_own() {
    let (teller, mut told) = story();
    let router = Server::builder().timeout(SECOND).add_service(service(&teller));
    let client = Client::of(router);
    let start = Instant::now();
    let status = client.unary("Never", within(text("m"), 60 * SECOND)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.transport().is_none(), "the server said it: {status:?}");
    assert_took(start, SECOND);
    assert_eq!((told.next().await.as_str(), told.next().await.as_str()), ("started", "handler dropped"));
}

#[tokio::test(start_paused = true)]
async fn a_server_keeps_the_deadline_of_a_client_that_does_not() {
    let (teller, mut told) = story();
    let connection = raw_connection(router(&teller));
    let start = Instant::now();
    let answer = connection.exchange(with(grpc("/t.S/Never"), "grpc-timeout", "50m"), &framed(b"m")).await;
    assert_eq!((answer.http, answer.code()), (200, Code::DeadlineExceeded), "{answer:?}");
    assert_took(start, Duration::from_millis(50));
    assert_eq!((told.next().await.as_str(), told.next().await.as_str()), ("started", "handler dropped"));
    // A stream that was begun ends with trailers.
    let answer = connection.exchange(with(grpc("/t.S/Stream"), "grpc-timeout", "50000u"), &[]).await;
    assert_eq!((answer.body, answer.trailers.is_some()), (framed(b"one"), true));
    assert_took(start, Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_its_deadline_against_a_server_that_hangs() {
    let (ours, _silent) = clearway::transport::pair();
    let client = Client::at(crate::over(ours));
    let start = Instant::now();
    let status = client.unary("Echo", within(text("m"), SECOND)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_took(start, SECOND);
    let Some(TransportEvent::DeadlineExceeded { phase, after, .. }) =
        status.transport().map(|cause| cause.event.clone())
    else {
        panic!("{status:?}")
    };
    assert_eq!(phase, CallPhase::Connecting);
    assert!(after >= SECOND && after <= SECOND + SLACK, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_not_sent() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller));
    let status = client.unary("Never", within(text("m"), Duration::ZERO)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
    assert!(told.is_silent(), "the handler was started");
}

#[tokio::test(start_paused = true)]
async fn handlers_see_the_time_that_is_left_after_the_wait_for_a_stream() {
    let (teller, _told) = story();
    let client = Client::of(Server::builder().max_concurrent_streams(1).add_service(service(&teller)));
    assert_eq!(client.unary("Left", text("")).await.unwrap().into_inner(), "None");
    let now = client.unary("Left", within(text(""), SECOND)).await.unwrap().into_inner();
    assert!(["Some(999)", "Some(1000)"].contains(&std::str::from_utf8(&now).unwrap()), "{now:?}");
    let (held, left) =
        tokio::join!(client.unary("Hold", text("m")), client.unary("Left", within(text(""), SECOND)));
    assert_eq!(held.unwrap().into_inner(), "m");
    let left = String::from_utf8(left.unwrap().into_inner().to_vec()).unwrap();
    let millis: u64 = left.trim_start_matches("Some(").trim_end_matches(')').parse().expect("a deadline");
    assert!((595..=600).contains(&millis), "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_call_can_miss_its_deadline_while_it_waits_for_a_stream() {
    let (teller, _told) = story();
    let client = Client::of(Server::builder().max_concurrent_streams(1).add_service(service(&teller)));
    client.unary("Echo", text("m")).await.unwrap();
    let short = within(text(""), Duration::from_millis(100));
    let (held, missed) = tokio::join!(client.unary("Hold", text("m")), client.unary("Left", short));
    assert_eq!(held.unwrap().into_inner(), "m");
    let status = missed.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let event = status.transport().map(|cause| &cause.event);
    let queued = matches!(event, Some(TransportEvent::DeadlineExceeded { phase: CallPhase::Queued, .. }));
    assert!(queued, "{status:?}");
}
