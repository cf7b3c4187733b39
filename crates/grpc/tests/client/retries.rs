//! Calls that a policy sends again: gRFC A6, "Retry Policy", section by section.

use std::time::Duration;

use bytes::Bytes;
use clearway::client::{Grpc, MethodConfig, MethodPath, RetryPolicy, RetryThrottling, ServiceConfig};
use clearway::codec::BytesCodec;
use clearway::transport::{CallPhase, Endpoint, PeerAddr, Processed, TransportEvent};
use clearway::{Code, Request, Status};
use clearway_http2::ErrorCode;
use tokio::time::Instant;

use crate::peer::{
    Arrivals, Fields, Frame, OK_HEAD, PATH, Peer, call, call_with, chat, endpoint, feed, framed, listen,
};

const MS: Duration = Duration::from_millis(1);

fn policy() -> RetryPolicy {
    RetryPolicy::new(4, [Code::Unavailable])
}

fn config(policy: RetryPolicy) -> ServiceConfig {
    ServiceConfig::new().method(MethodConfig::for_service("test.Service").retry(policy))
}

/// A client whose waits lie in the middle of their range, and where its connections arrive.
fn client(config: ServiceConfig) -> (Grpc, Arrivals) {
    client_with(config, |endpoint| endpoint)
}

fn client_with(config: ServiceConfig, tune: impl FnOnce(Endpoint) -> Endpoint) -> (Grpc, Arrivals) {
    let (endpoint, arrivals) = endpoint();
    let endpoint = tune(endpoint.fixed_jitter(0.5).service_config(config).unwrap());
    (Grpc::new(endpoint.connect_lazy()), arrivals)
}

/// Ends a call before its response began.
pub(crate) async fn refuse(peer: &mut Peer, id: u32, code: Code, more: &[(&str, &str)]) {
    let (digits, message) = ((code as i32).to_string(), format!("no {id}"));
    let mut fields = OK_HEAD.to_vec();
    fields.extend([("grpc-status", digits.as_str()), ("grpc-message", message.as_str())]);
    fields.extend(more);
    peer.headers(id, &fields, true).await;
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

pub(crate) fn previous(fields: &Fields) -> Option<&str> {
    field(fields, "grpc-previous-rpc-attempts")
}

/// Takes a request and refuses it; says what it was the attempt after, and when it came.
async fn refused(peer: &mut Peer, code: Code, more: &[(&str, &str)]) -> (Option<String>, Instant) {
    let (id, fields, _) = peer.request().await;
    let came = Instant::now();
    refuse(peer, id, code, more).await;
    (previous(&fields).map(ToOwned::to_owned), came)
}

#[tokio::test(start_paused = true)]
async fn attempts_follow_each_other_after_growing_waits_and_are_numbered_from_the_first_retry_on() {
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"message");
    let mut peer = arrivals.accept(&[]).await;
    let mut came = vec![];
    for expected in [None, Some("1"), Some("2")] {
        let (previous, at) = refused(&mut peer, Code::Unavailable, &[]).await;
        assert_eq!(previous.as_deref(), expected);
        came.push(at);
    }
    let (id, fields, body) = peer.request().await;
    came.push(Instant::now());
    assert_eq!((previous(&fields), &body[5..]), (Some("3"), &b"message"[..]));
    peer.answer(id, b"done").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "done");
    let waits: Vec<_> = came.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
    assert_eq!(waits, [100, 200, 400]);
}

#[tokio::test(start_paused = true)]
async fn the_error_lists_the_attempts_and_its_text_stays_one_line() {
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    refused(&mut peer, Code::Unavailable, &[]).await;
    refused(&mut peer, Code::Unavailable, &[("grpc-retry-pushback-ms", "30")]).await;
    refused(&mut peer, Code::NotFound, &[]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no 5"));
    let [first, second, third] = status.attempts() else { panic!("want three: {status:?}") };
    assert_eq!(
        (first.code, first.message.as_str(), first.backoff),
        (Code::Unavailable, "no 1", Some(100 * MS))
    );
    assert!(!first.pushback && second.pushback && second.backoff == Some(30 * MS));
    assert_eq!((second.began - first.began, second.peer.as_ref()), (100 * MS, Some(&PeerAddr::InProcess)));
    assert_eq!((third.code, third.backoff), (Code::NotFound, None));
    let text = status.to_string();
    assert!(text.starts_with("NOT_FOUND: no 5 (3 attempts: UNAVAILABLE from "), "{text}");
    assert!(
        text.contains("30.0ms later as the server asked; NOT_FOUND from") && !text.contains('\n'),
        "{text}"
    );
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_the_last_and_five_are_the_most_unless_the_endpoint_says_otherwise() {
    for (wanted, cap, made) in [(2, None, 2), (50, None, 5), (50, Some(7), 7), (3, Some(1), 1)] {
        let config = config(RetryPolicy::new(wanted, [Code::Unavailable]));
        let (grpc, mut arrivals) = client_with(config, |endpoint| match cap {
            Some(cap) => endpoint.max_attempts(cap),
            None => endpoint,
        });
        let answer = call(&grpc, b"");
        let mut peer = arrivals.accept(&[]).await;
        for _ in 0..made {
            refused(&mut peer, Code::Unavailable, &[]).await;
        }
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!((status.code(), status.attempts().len()), (Code::Unavailable, made));
        peer.expect_silence().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_calls_of_the_methods_named_are_sent_again() {
    let config =
        ServiceConfig::new().method(MethodConfig::for_method("test.Service", "Other").retry(policy()));
    let (grpc, mut arrivals) = client(config);
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    refused(&mut peer, Code::Unavailable, &[]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert!(status.code() == Code::Unavailable && status.attempts().is_empty());
    peer.expect_silence().await;
}

/// "Pushback": the server says when, or never.
#[tokio::test(start_paused = true)]
async fn the_server_may_put_a_retry_off_or_forbid_it() {
    let pushback = |value| [("grpc-retry-pushback-ms", value)];
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (_, first) = refused(&mut peer, Code::Unavailable, &pushback("5000")).await;
    let (_, second) = refused(&mut peer, Code::Unavailable, &pushback("0")).await;
    let (_, third) = refused(&mut peer, Code::Unavailable, &pushback("-1")).await;
    assert_eq!((second - first, third - second), (Duration::from_secs(5), Duration::ZERO));
    assert_eq!(answer.await.unwrap().unwrap_err().attempts().len(), 3);
    for bad in ["soon", "", "1.5"] {
        let answer = call(&grpc, b"");
        refused(&mut peer, Code::Unavailable, &pushback(bad)).await;
        assert_eq!(answer.await.unwrap().unwrap_err().attempts().len(), 1, "{bad:?}");
    }
    peer.expect_silence().await;
}

/// "When Retries are Valid": response headers commit a call, and so do trailers that follow them.
#[tokio::test(start_paused = true)]
async fn a_response_that_began_is_not_asked_for_again() {
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.trailers(id, &[("grpc-status", "14")]).await;
    assert_eq!(answer.await.unwrap().unwrap_err().code(), Code::Unavailable);
    let stream = listen(&grpc);
    let (id, ..) = peer.request().await;
    refuse(&mut peer, id, Code::Unavailable, &[]).await;
    let (id, fields, _) = peer.request().await;
    assert_eq!(previous(&fields), Some("1"));
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"one"), false).await;
    let mut stream = stream.await.unwrap().unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap(), "one");
    peer.trailers(id, &[("grpc-status", "14")]).await;
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
    peer.expect_silence().await;
}

/// A connection that is lost before the response began leaves no doubt that there was none; the policy allows it.
#[tokio::test(start_paused = true)]
async fn a_call_lost_with_its_connection_goes_to_another_one() {
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"again");
    let mut old = arrivals.accept(&[]).await;
    old.request().await;
    drop(old);
    let mut new = arrivals.accept(&[]).await;
    let (id, fields, body) = new.request().await;
    assert_eq!((previous(&fields), &body[5..]), (Some("1"), &b"again"[..]));
    new.answer(id, b"done").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "done");
}

#[tokio::test(start_paused = true)]
async fn no_connection_at_all_is_a_failure_like_others() {
    let (endpoint, arrivals) = endpoint();
    drop(arrivals);
    let endpoint = endpoint.connector(|| async {
        Err::<tokio::io::DuplexStream, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
    });
    let endpoint = endpoint.fixed_jitter(0.5).service_config(config(policy())).unwrap();
    let status = call(&Grpc::new(endpoint.connect_lazy()), b"").await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.attempts().len()), (Code::Unavailable, 4));
    assert!(status.attempts().iter().all(|attempt| attempt.peer.is_none()));
    assert!(status.to_string().contains("UNAVAILABLE before it left after"), "{status}");
}

/// Transparent retries: one that the server did not look at is no attempt, the next one is.
#[tokio::test(start_paused = true)]
async fn the_first_refusal_of_the_first_attempt_is_not_counted() {
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let mut seen = vec![];
    for _ in 0..5 {
        let (id, fields, _) = peer.request().await;
        seen.push(previous(&fields).map(ToOwned::to_owned));
        peer.reset(id, ErrorCode::REFUSED_STREAM).await;
    }
    assert_eq!(seen, [None, None, Some("1".into()), Some("2".into()), Some("3".into())]);
    assert_eq!(answer.await.unwrap().unwrap_err().attempts().len(), 4);
    peer.expect_silence().await;
}

/// Who sends a call again because the peer has not acted on it must be able to rely on that.
#[tokio::test(start_paused = true)]
async fn a_call_is_unprocessed_only_if_every_attempt_is() {
    let (grpc, mut arrivals) = client(config(RetryPolicy::new(2, [Code::Unavailable])));
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    refused(&mut peer, Code::Unavailable, &[]).await;
    let (id, ..) = peer.request().await;
    peer.reset(id, ErrorCode::REFUSED_STREAM).await;
    let status = answer.await.unwrap().unwrap_err();
    let processed: Vec<_> = status.attempts().iter().map(|attempt| attempt.processed).collect();
    assert_eq!(processed, [Processed::Maybe, Processed::No]);
    assert_eq!(status.transport().unwrap().processed, Processed::Maybe);
    assert!(!status.message().contains("has not processed"), "{status}");
    let answer = call(&grpc, b"");
    for _ in 0..3 {
        let (id, ..) = peer.request().await;
        peer.reset(id, ErrorCode::REFUSED_STREAM).await;
    }
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.transport().unwrap().processed, Processed::No);
    assert!(status.message().contains("has not processed"), "{status}");
}

/// PROTOCOL-FACTS 15: the time left is what is sent, each time.
#[tokio::test(start_paused = true)]
async fn each_attempt_is_sent_the_time_that_is_left() {
    let (grpc, mut arrivals) = client(config(policy()));
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_secs(10));
    let answer = call_with(&grpc, request);
    let mut peer = arrivals.accept(&[]).await;
    let mut left = vec![];
    for _ in 0..3 {
        let (id, fields, _) = peer.request().await;
        left.push(field(&fields, "grpc-timeout").unwrap().to_owned());
        refuse(&mut peer, id, Code::Unavailable, &[]).await;
    }
    assert_eq!(left, ["10000000u", "9900000u", "9700000u"]);
    answer.abort();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_wait_and_says_what_went_before() {
    let (grpc, mut arrivals) = client(config(policy().initial_backoff(Duration::from_secs(1))));
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(500));
    let began = Instant::now();
    let answer = call_with(&grpc, request);
    let mut peer = arrivals.accept(&[]).await;
    refused(&mut peer, Code::Unavailable, &[]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!((status.code(), began.elapsed()), (Code::DeadlineExceeded, Duration::from_millis(500)));
    let event = &status.transport().unwrap().event;
    assert!(
        matches!(event, TransportEvent::DeadlineExceeded { phase: CallPhase::BackingOff, .. }),
        "{event:?}"
    );
    assert!(status.message().contains("last attempt: UNAVAILABLE: no 1"), "{status}");
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_gives_up_the_attempt_or_the_wait() {
    let (grpc, mut arrivals) = client(config(policy()));
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    let (id, ..) = peer.request().await;
    answer.abort();
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    let answer = call(&grpc, b"");
    refused(&mut peer, Code::Unavailable, &[]).await;
    tokio::time::sleep(50 * MS).await;
    answer.abort();
    tokio::time::sleep(Duration::from_secs(10)).await;
    peer.expect_silence().await;
}

/// Reads a request of messages up to its end, or until as many octets have come.
async fn body_of(peer: &mut Peer, octets: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while body.len() < octets {
        match peer.next().await {
            Frame::Data { octets, end, .. } => {
                body.extend(octets);
                if end {
                    return (body, true);
                }
            }
            other => panic!("want more of the request, got {other:?}"),
        }
    }
    (body, false)
}

/// "Memory Management (Buffering)": what was sent is sent again, then what follows.
#[tokio::test(start_paused = true)]
async fn a_request_stream_is_replayed_and_goes_on() {
    let (grpc, mut arrivals) = client(config(policy()));
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    let mut expected = vec![];
    for (at, message) in ["a", "bb", "ccc"].into_iter().enumerate() {
        let (id, fields) = peer.head().await;
        assert_eq!(previous(&fields), [None, Some("1"), Some("2")][at]);
        feed.send(message.into()).unwrap();
        expected.extend(framed(message.as_bytes()));
        assert_eq!(body_of(&mut peer, expected.len()).await, (expected.clone(), false));
        refuse(&mut peer, id, Code::Unavailable, &[]).await;
        // The answer ends a call whose request goes on (RFC 9113 §8.1).
        assert!(matches!(peer.next().await, Frame::Reset { code: ErrorCode::NO_ERROR, .. }));
    }
    let (id, _) = peer.head().await;
    assert_eq!(body_of(&mut peer, expected.len()).await, (expected, false));
    peer.headers(id, &OK_HEAD, false).await;
    let mut answer = opened.await.unwrap().unwrap().into_inner();
    feed.send("after".into()).unwrap();
    drop(feed);
    assert_eq!(body_of(&mut peer, usize::MAX).await, (framed(b"after"), true));
    peer.data(id, &framed(b"one"), false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "one");
    assert!(answer.message().await.unwrap().is_none());
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_stream_that_ended_ends_again() {
    let (grpc, mut arrivals) = client(config(policy()));
    let (feed, messages) = feed();
    let ended = tokio::spawn({
        let grpc = grpc.clone();
        async move { grpc.client_streaming(Request::new(messages), PATH, BytesCodec).await }
    });
    feed.send("all".into()).unwrap();
    drop(feed);
    let mut peer = arrivals.accept(&[]).await;
    for _ in 0..2 {
        let (id, _, body) = peer.request().await;
        assert_eq!(body, framed(b"all"));
        refuse(&mut peer, id, Code::Unavailable, &[]).await;
    }
    let (id, _, body) = peer.request().await;
    assert_eq!(body, framed(b"all"));
    peer.answer(id, b"thanks").await;
    assert_eq!(ended.await.unwrap().unwrap().into_inner(), "thanks");
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn the_request_stream_is_dropped_when_the_call_is_over_or_given_up() {
    let (grpc, mut arrivals) = client(config(policy()));
    let (feeding, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    let (id, _) = peer.head().await;
    refuse(&mut peer, id, Code::Unavailable, &[]).await;
    tokio::time::sleep(50 * MS).await;
    assert!(!feeding.is_closed(), "another attempt may need it");
    opened.abort();
    feeding.closed().await;
    let (feeding, messages) = feed();
    let opened = chat(&grpc, messages);
    loop {
        match peer.next().await {
            Frame::Headers { id, .. } => break refuse(&mut peer, id, Code::NotFound, &[]).await,
            Frame::Reset { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(opened.await.unwrap().unwrap_err().code(), Code::NotFound);
    feeding.closed().await;
}

/// A request stream that breaks is not the server's failure, and no attempt can go better.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_is_not_tried_again() {
    let all = RetryPolicy::new(4, Code::ALL);
    let (grpc, mut arrivals) = client(config(all));
    let grpc = grpc.max_encoding_message_size(2);
    let (feed, messages) = feed();
    let opened = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    let (id, _) = peer.head().await;
    feed.send("too long".into()).unwrap();
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    assert_eq!(opened.await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    peer.expect_silence().await;
}

async fn end_of(peer: &mut Peer, id: u32) -> Frame {
    refuse(peer, id, Code::Unavailable, &[]).await;
    peer.next().await
}

/// A call that sends more than may be kept is committed to the attempt it is on.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_is_not_sent_again() {
    for (per_call, per_channel, octets, again) in
        [(100, 1000, 95, true), (100, 1000, 96, false), (1000, 100, 95, true), (1000, 100, 96, false)]
    {
        let tune = |endpoint: Endpoint| endpoint.retry_buffer_size(per_call, per_channel);
        let (grpc, mut arrivals) = client_with(config(policy()), tune);
        let message: &'static [u8] = vec![7; octets].leak();
        let answer = call(&grpc, message);
        let mut peer = arrivals.accept(&[]).await;
        refused(&mut peer, Code::Unavailable, &[]).await;
        if again {
            let (id, _, body) = peer.request().await;
            assert_eq!(body, framed(message));
            peer.answer(id, b"").await;
        }
        assert_eq!(answer.await.unwrap().is_ok(), again, "{per_call} {per_channel} {octets}");

        let (feed, messages) = feed();
        let opened = chat(&grpc, messages);
        let (id, _) = peer.head().await;
        feed.send(Bytes::from_static(message)).unwrap();
        assert_eq!(body_of(&mut peer, octets + 5).await.0, framed(message));
        assert!(matches!(end_of(&mut peer, id).await, Frame::Reset { .. }));
        if again {
            let (id, _) = peer.head().await;
            assert_eq!(body_of(&mut peer, octets + 5).await.0, framed(message));
            peer.headers(id, &OK_HEAD, false).await;
            assert!(opened.await.unwrap().is_ok());
        } else {
            assert_eq!(opened.await.unwrap().unwrap_err().attempts().len(), 1);
            feed.closed().await;
        }
    }
}

/// What is kept is kept until the response begins and no longer: calls that had theirs leave room for others.
#[tokio::test(start_paused = true)]
async fn room_comes_back_when_a_response_begins() {
    let tune = |endpoint: Endpoint| endpoint.retry_buffer_size(100, 100);
    let (grpc, mut arrivals) = client_with(config(policy()), tune);
    let (first_feed, messages) = feed();
    let first = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    let (id, _) = peer.head().await;
    first_feed.send(Bytes::from_static(&[1; 90])).unwrap();
    body_of(&mut peer, 95).await;
    let second = call(&grpc, b"six");
    refused(&mut peer, Code::Unavailable, &[]).await;
    assert_eq!(second.await.unwrap().unwrap_err().attempts().len(), 1, "there was no room for it");
    peer.headers(id, &OK_HEAD, false).await;
    let _streaming = first.await.unwrap().unwrap();
    let third = call(&grpc, b"six");
    refused(&mut peer, Code::Unavailable, &[]).await;
    let (id, ..) = peer.request().await;
    peer.answer(id, b"").await;
    assert!(third.await.unwrap().is_ok());
}

/// "Throttling Retry Attempts and Hedged RPCs": the tokens are the channel's.
#[tokio::test(start_paused = true)]
async fn a_channel_whose_calls_fail_stops_sending_them_again() {
    let throttled = |config: ServiceConfig| config.retry_throttling(RetryThrottling::new(4.0, 0.5));
    let (grpc, mut arrivals) = client(throttled(config(policy())));
    let fail = async |peer: &mut Peer, answer: tokio::task::JoinHandle<_>, times| -> Status {
        for _ in 0..times {
            refused(peer, Code::Unavailable, &[]).await;
        }
        let answer: Result<clearway::Response<Bytes>, Status> = answer.await.unwrap();
        answer.unwrap_err()
    };
    let answer = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    assert_eq!(fail(&mut peer, answer, 2).await.attempts().len(), 2, "four tokens, three, two: half");
    let answer = call(&grpc, b"");
    assert_eq!(fail(&mut peer, answer, 1).await.attempts().len(), 1, "one");
    for _ in 0..4 {
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.answer(id, b"").await;
        assert!(answer.await.unwrap().is_ok());
    }
    let answer = call(&grpc, b"");
    assert_eq!(fail(&mut peer, answer, 1).await.attempts().len(), 1, "three, then two");
    for _ in 0..3 {
        let stream = listen(&grpc);
        let (id, ..) = peer.request().await;
        peer.headers(id, &OK_HEAD, false).await;
        peer.trailers(id, &[("grpc-status", "0")]).await;
        let mut stream = stream.await.unwrap().unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_none());
    }
    let answer = call(&grpc, b"");
    assert_eq!(fail(&mut peer, answer, 2).await.attempts().len(), 2, "streams that end well earn, too: 3.5");
    peer.expect_silence().await;
}

/// The same section: whatever its method, a call that ends well earns.
#[tokio::test(start_paused = true)]
async fn calls_without_a_policy_earn_tokens_for_those_with_one() {
    let method = MethodConfig::for_method("test.Service", "Method").retry(policy());
    let throttling = RetryThrottling::new(4.0, 0.5);
    let (grpc, mut arrivals) = client(ServiceConfig::new().method(method).retry_throttling(throttling));
    let failing = call(&grpc, b"");
    let mut peer = arrivals.accept(&[]).await;
    for _ in 0..2 {
        refused(&mut peer, Code::Unavailable, &[]).await;
    }
    assert_eq!(failing.await.unwrap().unwrap_err().attempts().len(), 2, "half is left");
    for _ in 0..3 {
        let plain = grpc.clone();
        let plain = tokio::spawn(async move {
            let path = MethodPath::from_static("/test.Service/Plain");
            plain.unary(Request::new(Bytes::new()), path, BytesCodec).await
        });
        let (id, ..) = peer.request().await;
        peer.answer(id, b"").await;
        assert!(plain.await.unwrap().is_ok());
    }
    let failing = call(&grpc, b"");
    for _ in 0..2 {
        refused(&mut peer, Code::Unavailable, &[]).await;
    }
    assert_eq!(failing.await.unwrap().unwrap_err().attempts().len(), 2);
    peer.expect_silence().await;
}

/// gRPC's service config page: of several limits the smallest counts.
#[tokio::test(start_paused = true)]
async fn deadlines_and_sizes_come_from_the_method_too() {
    let method = MethodConfig::for_service("test.Service")
        .timeout(Duration::from_secs(3))
        .max_request_message_size(8)
        .max_response_message_size(4);
    let (grpc, mut arrivals) = client(ServiceConfig::new().method(method));
    let mut request = Request::new(Bytes::from_static(b"12345678"));
    request.set_timeout(Duration::from_secs(5));
    let answer = call_with(&grpc, request);
    let mut peer = arrivals.accept(&[]).await;
    let (id, fields, _) = peer.request().await;
    assert_eq!(field(&fields, "grpc-timeout"), Some("3000000u"));
    peer.answer(id, b"12345").await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("limit of 4"), "{status}");
    let status = call(&grpc, b"123456789").await.unwrap().unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains("limit of 8"), "{status}");
}
