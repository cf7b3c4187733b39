//! Calls that are sent again before they failed: gRFC A6, "Hedging Policy".

use std::time::Duration;

use clearway::Code;
use clearway::client::{Grpc, HedgingPolicy, MethodConfig, RetryThrottling, ServiceConfig};
use clearway::transport::Endpoint;
use clearway_http2::ErrorCode;
use tokio::time::Instant;

use crate::peer::{Arrivals, Frame, OK_HEAD, Peer, call, chat, endpoint, feed, framed, listen};
use crate::retries::{previous, refuse};

const DELAY: Duration = Duration::from_millis(100);
const PUSHBACK: &str = "grpc-retry-pushback-ms";

fn client(attempts: u32, tune: impl FnOnce(Endpoint) -> Endpoint) -> (Grpc, Arrivals) {
    client_with(ServiceConfig::new(), attempts, tune)
}

fn client_with(
    config: ServiceConfig,
    attempts: u32,
    tune: impl FnOnce(Endpoint) -> Endpoint,
) -> (Grpc, Arrivals) {
    let policy = HedgingPolicy::new(attempts, DELAY).non_fatal([Code::Unavailable]);
    let (endpoint, arrivals) = endpoint();
    let config = config.method(MethodConfig::for_all().hedge(policy));
    (Grpc::new(tune(endpoint.service_config(config).unwrap()).connect_lazy()), arrivals)
}

fn same(endpoint: Endpoint) -> Endpoint {
    endpoint
}

async fn cancelled(peer: &mut Peer, streams: &[u32]) {
    let mut seen = vec![];
    for _ in streams {
        match peer.next().await {
            Frame::Reset { id, code: ErrorCode::CANCEL } => seen.push(id),
            other => panic!("want streams {streams:?} cancelled, got {other:?}"),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, streams);
}

#[tokio::test(start_paused = true)]
async fn copies_go_out_at_their_delay_and_the_first_answer_cancels_the_others() {
    let (grpc, mut arrivals) = client(3, same);
    let answer = call(&grpc, b"copy");
    let mut peer = arrivals.accept(&[]).await;
    let mut came = vec![];
    for expected in [None, Some("1"), Some("2")] {
        let (_, fields, body) = peer.request().await;
        assert_eq!((previous(&fields), body), (expected, framed(b"copy")));
        came.push(Instant::now());
    }
    assert_eq!([came[1] - came[0], came[2] - came[1]], [DELAY; 2]);
    peer.expect_silence().await;
    peer.headers(3, &OK_HEAD, false).await;
    cancelled(&mut peer, &[1, 5]).await;
    peer.data(3, &framed(b"second"), false).await;
    peer.trailers(3, &[("grpc-status", "0")]).await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "second");
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_delay_is_the_only_one_asked_for() {
    let (grpc, mut arrivals) = client(3, same);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
    tokio::time::sleep(10 * DELAY).await;
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_fatal_brings_the_next_copy_forward() {
    let (grpc, mut arrivals) = client(3, same);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    let began = Instant::now();
    tokio::time::sleep(DELAY / 2).await;
    refuse(&mut peer, 1, Code::Unavailable, &[]).await;
    peer.request().await;
    assert_eq!(began.elapsed(), DELAY / 2);
    peer.request().await;
    assert_eq!(began.elapsed(), DELAY / 2 + DELAY, "from then on the delay counts again");
    refuse(&mut peer, 3, Code::Unavailable, &[]).await;
    peer.expect_silence().await;
    refuse(&mut peer, 5, Code::Unavailable, &[]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message(), status.attempts().len()), (Code::Unavailable, "no 5", 3));
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_ends_the_call_and_cancels_the_others() {
    let (grpc, mut arrivals) = client(3, same);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    peer.request().await;
    refuse(&mut peer, 3, Code::NotFound, &[]).await;
    cancelled(&mut peer, &[1]).await;
    assert_eq!(answer.await.unwrap().unwrap_err().code(), Code::NotFound);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_cancels_every_copy() {
    let (grpc, mut arrivals) = client(3, same);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    peer.request().await;
    answer.abort();
    cancelled(&mut peer, &[1, 3]).await;
    tokio::time::sleep(10 * DELAY).await;
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn the_server_may_put_the_next_copy_off_or_forbid_it() {
    let (grpc, mut arrivals) = client(4, same);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    let began = Instant::now();
    refuse(&mut peer, 1, Code::Unavailable, &[(PUSHBACK, "700")]).await;
    peer.request().await;
    assert_eq!(began.elapsed(), Duration::from_millis(700));
    peer.request().await;
    assert_eq!(began.elapsed(), Duration::from_millis(800));
    refuse(&mut peer, 3, Code::Unavailable, &[(PUSHBACK, "-1")]).await;
    tokio::time::sleep(10 * DELAY).await;
    peer.expect_silence().await;
    peer.answer(5, b"good").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "good", "the one under way went on");
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_channel_stop_copies() {
    let config = ServiceConfig::new().retry_throttling(RetryThrottling::new(2.0, 0.1));
    let (grpc, mut arrivals) = client_with(config, 5, same);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    refuse(&mut peer, 1, Code::Unavailable, &[]).await;
    assert_eq!(answer.await.unwrap().unwrap_err().attempts().len(), 1, "half of the tokens are left");
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    tokio::time::sleep(10 * DELAY).await;
    peer.expect_silence().await;
    peer.answer(id, b"").await;
    assert!(answer.await.unwrap().is_ok());
}

/// Reads until every stream has brought so many octets.
async fn bodies(peer: &mut Peer, streams: &[u32], octets: usize) -> Vec<Vec<u8>> {
    let mut bodies = vec![Vec::new(); streams.len()];
    while bodies.iter().any(|body: &Vec<u8>| body.len() < octets) {
        match peer.next().await {
            Frame::Data { id, octets, .. } => {
                let at = streams.iter().position(|stream| *stream == id).expect("a known stream");
                bodies[at].extend(octets);
            }
            Frame::Headers { .. } => {}
            other => panic!("want data, got {other:?}"),
        }
    }
    bodies
}

#[tokio::test(start_paused = true)]
async fn every_copy_of_a_request_stream_is_sent_all_of_it_until_one_is_chosen() {
    let (grpc, mut arrivals) = client(2, same);
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    feed.send("before".into()).unwrap();
    peer.head().await;
    let mut expected = framed(b"before");
    assert_eq!(bodies(&mut peer, &[1], expected.len()).await, [expected.clone()]);
    let (id, _) = peer.head().await;
    assert_eq!(bodies(&mut peer, &[id], expected.len()).await, [expected.clone()]);
    feed.send("both".into()).unwrap();
    expected = framed(b"both");
    assert_eq!(bodies(&mut peer, &[1, id], expected.len()).await, [expected.clone(), expected]);
    peer.headers(id, &OK_HEAD, false).await;
    cancelled(&mut peer, &[1]).await;
    let mut answer = opened.await.unwrap().unwrap().into_inner();
    feed.send("one".into()).unwrap();
    assert_eq!(bodies(&mut peer, &[id], 8).await, [framed(b"one")]);
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert!(answer.message().await.unwrap().is_none());
    feed.closed().await;
}

/// A copy that takes nothing does not hold up the others.
#[tokio::test(start_paused = true)]
async fn a_slow_copy_does_not_slow_a_fast_one() {
    let (grpc, mut arrivals) = client(2, same);
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    // No stream has a window until it is given one.
    let mut peer = arrivals.accept(&[(4, 0)]).await;
    peer.head().await;
    for _ in 0..15 {
        feed.send(vec![3; 10_000].into()).unwrap();
    }
    let (id, _) = peer.head().await;
    peer.credit(0, 1 << 20).await;
    peer.credit(id, 1 << 20).await;
    let all = bodies(&mut peer, &[id], 15 * 10_005).await;
    assert_eq!(all[0].len(), 15 * 10_005);
    peer.headers(id, &OK_HEAD, false).await;
    cancelled(&mut peer, &[1]).await;
    assert!(opened.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_chooses_the_copy_that_took_it() {
    let (grpc, mut arrivals) = client(3, |endpoint| endpoint.retry_buffer_size(100, 1000));
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    peer.head().await;
    peer.head().await;
    feed.send(vec![3; 50].into()).unwrap();
    bodies(&mut peer, &[1, 3], 55).await;
    feed.send(vec![4; 50].into()).unwrap();
    let (mut chosen, mut reset) = (None, None);
    while chosen.is_none() || reset.is_none() {
        match peer.next().await {
            Frame::Data { id, octets, .. } => {
                assert_eq!((octets.len(), chosen.replace(id)), (55, None), "it goes to one only");
            }
            Frame::Reset { id, code: ErrorCode::CANCEL } => reset = Some(id),
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(chosen, reset);
    tokio::time::sleep(10 * DELAY).await;
    peer.expect_silence().await;
    refuse(&mut peer, chosen.unwrap(), Code::Unavailable, &[]).await;
    assert_eq!(opened.await.unwrap().unwrap_err().code(), Code::Unavailable);
    feed.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_responses_goes_on_with_the_copy_that_began_it() {
    let (grpc, mut arrivals) = client(2, same);
    let stream = listen(&grpc);
    let mut peer = arrivals.accept(&[]).await;
    peer.request().await;
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    cancelled(&mut peer, &[1]).await;
    let mut stream = stream.await.unwrap().unwrap().into_inner();
    peer.data(id, &framed(b"a"), false).await;
    assert_eq!(stream.message().await.unwrap().unwrap(), "a");
    drop(stream);
    cancelled(&mut peer, &[id]).await;
}
