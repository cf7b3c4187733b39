//! E10 of the attack list: an upstream that fails every call, and a crowd of calls whose policy is to try again. What they add
//! to its load is bounded by the channel's tokens (gRFC A6, throttling), by the upstream's own word (push-back), and without
//! either by each call's attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clearway::Code;
use clearway::client::{Grpc, HedgingPolicy, MethodConfig, RetryPolicy, RetryThrottling, ServiceConfig};
use clearway_http2::ErrorCode;

use crate::peer::{Frame, Peer, call, endpoint};
use crate::retries::refuse;

const CALLS: usize = 200;
const ATTEMPTS: u32 = 5;
const TOKENS: f64 = 20.0;
/// Half of the tokens are a reserve.
const FREE: usize = 10;

#[derive(Clone, Copy, Debug)]
enum Upstream {
    Resets(ErrorCode),
    Fails(&'static [(&'static str, &'static str)]),
}

/// Fails every stream, and counts.
async fn serve(mut peer: Peer, upstream: Upstream, seen: Arc<AtomicUsize>) {
    loop {
        match peer.next().await {
            Frame::Headers { id, .. } => {
                seen.fetch_add(1, Ordering::Relaxed);
                match upstream {
                    Upstream::Resets(code) => peer.reset(id, code).await,
                    Upstream::Fails(more) => refuse(&mut peer, id, Code::Unavailable, more).await,
                }
            }
            Frame::Closed => return,
            _ => {}
        }
    }
}

/// How many streams the upstream sees of all calls.
async fn storm(config: ServiceConfig, upstream: Upstream) -> usize {
    let (endpoint, mut arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.service_config(config).unwrap().connect_lazy());
    let calls: Vec<_> = (0..CALLS).map(|_| call(&grpc, b"again")).collect();
    let seen = Arc::new(AtomicUsize::new(0));
    tokio::spawn(serve(arrivals.accept(&[]).await, upstream, Arc::clone(&seen)));
    for call in calls {
        let call = tokio::time::timeout(Duration::from_secs(60), call).await.expect("calls end");
        let code = call.unwrap().unwrap_err().code();
        assert!(matches!(code, Code::Unavailable | Code::Internal), "{code:?}");
    }
    seen.load(Ordering::Relaxed)
}

fn retrying() -> MethodConfig {
    MethodConfig::for_all().retry(RetryPolicy::new(ATTEMPTS, [Code::Unavailable, Code::Internal]))
}

fn hedging() -> MethodConfig {
    let policy = HedgingPolicy::new(ATTEMPTS, Duration::from_millis(5));
    MethodConfig::for_all().hedge(policy.non_fatal([Code::Unavailable, Code::Internal]))
}

fn throttled(method: MethodConfig) -> ServiceConfig {
    ServiceConfig::new().method(method).retry_throttling(RetryThrottling::new(TOKENS, 0.1))
}

#[tokio::test(start_paused = true)]
async fn tokens_bound_what_an_upstream_that_always_fails_is_sent_again() {
    for upstream in [Upstream::Resets(ErrorCode::INTERNAL_ERROR), Upstream::Fails(&[])] {
        for method in [retrying(), hedging()] {
            let seen = storm(throttled(method.clone()), upstream).await;
            assert!((CALLS..=CALLS + FREE).contains(&seen), "{upstream:?} {method:?}: {seen}");
        }
    }
}

/// A refusal is answered by one more attempt, for which nobody pays; a second refusal is a failure.
#[tokio::test(start_paused = true)]
async fn refusals_double_the_load_and_no_more() {
    let refuses = Upstream::Resets(ErrorCode::REFUSED_STREAM);
    for method in [retrying(), hedging()] {
        let seen = storm(throttled(method.clone()), refuses).await;
        assert!((2 * CALLS..=2 * CALLS + FREE).contains(&seen), "{method:?}: {seen}");
    }
    assert_eq!(storm(ServiceConfig::new(), refuses).await, 2 * CALLS, "without a policy");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_no_is_not_asked_again() {
    let says_no = Upstream::Fails(&[("grpc-retry-pushback-ms", "-1")]);
    for method in [retrying(), hedging()] {
        let seen = storm(ServiceConfig::new().method(method.clone()), says_no).await;
        // A copy may be under way when the answer to the first comes.
        assert!((CALLS..=2 * CALLS).contains(&seen), "{method:?}: {seen}");
    }
    assert_eq!(storm(ServiceConfig::new().method(retrying()), says_no).await, CALLS);
}

#[tokio::test(start_paused = true)]
async fn without_tokens_each_call_has_its_attempts() {
    for method in [retrying(), hedging()] {
        let seen = storm(ServiceConfig::new().method(method), Upstream::Fails(&[])).await;
        assert_eq!(seen, CALLS * ATTEMPTS as usize);
    }
}
