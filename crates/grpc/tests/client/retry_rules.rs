//! Random servers, random policies: the rules of gRFC A6 as a model in one function, against what the client does. No request
//! is delivered again without permission: the policy's, for how the attempt before ended, or the server's word that it did not
//! look at it.
//!
//! A run is its seed, which a failure prints.

use std::time::Duration;

use bytes::Bytes;
use clearway::client::{Grpc, MethodConfig, RetryPolicy, ServiceConfig};
use clearway::codec::BytesCodec;
use clearway::{Code, Request, Response, Status};
use clearway_http2::ErrorCode;
use clearway_testkit::Random;
use tokio::task::JoinHandle;

use crate::peer::{Arrivals, Frame, OK_HEAD, PATH, Peer, endpoint, feed, framed};
use crate::retries::{previous, refuse};

const SEEDS: u64 = 400;
const CODES: [Code; 4] = [Code::Unavailable, Code::Aborted, Code::Internal, Code::ResourceExhausted];

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Answer,
    /// Trailers-Only, with what it says of another attempt.
    Fail(Code, Option<&'static str>),
    /// A head, and then this.
    BeginAndFail(Code),
    Reset(ErrorCode),
    /// The connection is lost.
    Lose,
    /// GOAWAY that leaves the stream out.
    LeaveOut,
    /// An answer of something that is not gRPC: 503, and with `true` a page to read.
    NotGrpc(bool),
}

fn action(random: &mut Random) -> Action {
    let code = CODES[random.below(CODES.len())];
    match random.below(12) {
        0 => Action::Answer,
        1 => Action::BeginAndFail(code),
        2 | 3 => Action::Reset(ErrorCode::REFUSED_STREAM),
        4 => Action::Reset(ErrorCode::ENHANCE_YOUR_CALM),
        5 => Action::Reset(ErrorCode::INTERNAL_ERROR),
        6 => Action::Lose,
        7 => Action::LeaveOut,
        8 => Action::NotGrpc(random.one_in(2)),
        9 => Action::Fail(code, Some(["0", "20", "-1", "x"][random.below(4)])),
        _ => Action::Fail(code, None),
    }
}

/// What follows an action, by the rules.
#[derive(Debug, PartialEq, Eq)]
enum Follows {
    End(Code),
    /// The same attempt, sent once more.
    Unseen,
    Retry,
}

struct Model {
    most: u32,
    codes: Vec<Code>,
    made: u32,
    refused: bool,
}

impl Model {
    fn follows(&mut self, action: Action) -> Follows {
        let unseen = matches!(action, Action::Reset(ErrorCode::REFUSED_STREAM) | Action::LeaveOut);
        if unseen && self.made == 1 && !self.refused {
            self.refused = true;
            return Follows::Unseen;
        }
        let (code, forbidden) = match action {
            Action::Answer => return Follows::End(Code::Ok),
            Action::BeginAndFail(code) => return Follows::End(code),
            Action::Fail(code, pushback) => (code, matches!(pushback, Some("-1" | "x"))),
            Action::Reset(ErrorCode::ENHANCE_YOUR_CALM) => (Code::ResourceExhausted, false),
            Action::Reset(ErrorCode::INTERNAL_ERROR) => (Code::Internal, false),
            Action::Reset(_) | Action::Lose | Action::LeaveOut | Action::NotGrpc(_) => {
                (Code::Unavailable, false)
            }
        };
        if forbidden || !self.codes.contains(&code) || self.made >= self.most {
            return Follows::End(code);
        }
        self.made += 1;
        Follows::Retry
    }
}

/// A call of one of the four kinds, with what its request is on the wire.
fn begin(grpc: &Grpc, kind: usize, random: &mut Random) -> (JoinHandle<Result<(), Status>>, Vec<u8>) {
    let grpc = grpc.clone();
    let messages: Vec<Bytes> = (0..=random.below(4)).map(|_| vec![7; random.below(5000)].into()).collect();
    let first = messages[0].clone();
    let whole: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
    let fed = || {
        let (sender, feed) = feed();
        messages.iter().for_each(|message| sender.send(message.clone()).unwrap());
        feed
    };
    let unit = |_: Response<Bytes>| ();
    match kind {
        0 => {
            let body = framed(&first);
            (
                tokio::spawn(
                    async move { grpc.unary(Request::new(first), PATH, BytesCodec).await.map(unit) },
                ),
                body,
            )
        }
        1 => {
            let messages = fed();
            let request = Request::new(messages);
            let call = async move { grpc.client_streaming(request, PATH, BytesCodec).await.map(unit) };
            (tokio::spawn(call), whole)
        }
        2 => {
            let body = framed(&first);
            let call = async move {
                let response = grpc.server_streaming(Request::new(first), PATH, BytesCodec).await?;
                let mut messages = response.into_inner();
                while messages.message().await?.is_some() {}
                Ok(())
            };
            (tokio::spawn(call), body)
        }
        _ => {
            let messages = fed();
            let call = async move {
                let response = grpc.bidi_streaming(Request::new(messages), PATH, BytesCodec).await?;
                let mut messages = response.into_inner();
                while messages.message().await?.is_some() {}
                Ok(())
            };
            (tokio::spawn(call), whole)
        }
    }
}

/// Does to a request what was chosen; the connection if it goes on.
async fn act(mut peer: Peer, id: u32, action: Action) -> Option<Peer> {
    match action {
        Action::Answer => peer.answer(id, b"done").await,
        Action::Fail(code, pushback) => {
            let pushback = pushback.map(|value| ("grpc-retry-pushback-ms", value));
            refuse(&mut peer, id, code, pushback.as_slice()).await;
        }
        Action::BeginAndFail(code) => {
            peer.headers(id, &OK_HEAD, false).await;
            peer.trailers(id, &[("grpc-status", &(code as i32).to_string())]).await;
        }
        Action::Reset(code) => peer.reset(id, code).await,
        Action::Lose => return None,
        Action::LeaveOut => {
            peer.goaway(id.saturating_sub(1), ErrorCode::NO_ERROR, "").await;
            return None;
        }
        Action::NotGrpc(false) => peer.headers(id, &[(":status", "503")], true).await,
        Action::NotGrpc(true) => {
            peer.headers(id, &[(":status", "503"), ("content-type", "text/html")], false).await;
            assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
        }
    }
    Some(peer)
}

async fn run(seed: u64) {
    let mut random = Random::new(seed);
    let codes: Vec<Code> = CODES.into_iter().filter(|_| random.below(3) > 0).chain([Code::Aborted]).collect();
    let most = 2 + u32::try_from(random.below(4)).unwrap();
    let policy = RetryPolicy::new(most, codes.clone()).initial_backoff(Duration::from_millis(10));
    let config = ServiceConfig::new().method(MethodConfig::for_all().retry(policy));
    let (endpoint, mut arrivals): (_, Arrivals) = endpoint();
    let grpc = Grpc::new(endpoint.service_config(config).unwrap().connect_lazy());
    let mut peer: Option<Peer> = None;
    for _ in 0..3 {
        let (kind, mut model) =
            (random.below(4), Model { most, codes: codes.clone(), made: 1, refused: false });
        let (call, body) = begin(&grpc, kind, &mut random);
        let mut trail = vec![];
        let code = loop {
            let mut at = match peer.take() {
                Some(peer) => peer,
                None => arrivals.accept(&[]).await,
            };
            let (id, fields, seen) = at.request().await;
            at.credit(0, u32::try_from(seen.len()).unwrap()).await;
            let counted = previous(&fields).map_or(1, |text| text.parse::<u32>().unwrap() + 1);
            assert_eq!(counted, model.made, "seed {seed}: {kind} {trail:?}");
            assert_eq!(seen, body, "seed {seed}: {kind} {trail:?}");
            let action = action(&mut random);
            peer = act(at, id, action).await;
            trail.push(action);
            if let Follows::End(code) = model.follows(action) {
                break code;
            }
        };
        let ended = call.await.unwrap().err().map_or(Code::Ok, |status| status.code());
        assert_eq!(ended, code, "seed {seed}: {kind} {codes:?} {most} {trail:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(arrivals.is_quiet(), "seed {seed}: {kind} connects again after {trail:?}");
        if let Some(peer) = &mut peer {
            peer.expect_silence().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_delivered_again_without_permission() {
    for seed in 0..SEEDS {
        run(seed).await;
    }
}
