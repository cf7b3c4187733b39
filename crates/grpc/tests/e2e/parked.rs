//! Handlers that run on after their calls are over still count: a call that comes before they have ended is not refused,
//! and does not start before there is room.
//!
//! On one thread a handler whose call was reset ends when its task has its next turn. What the client sent together with
//! the reset is seen before that.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::{GenericService, OnCancel, Service};
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Streaming};
use clearway_http2::ErrorCode;
use tokio::time::Instant;

use crate::raw::{RawCall, RawConnection, framed, grpc};
use crate::{Teller, Told, raw_connection, story};

const STREAMS: usize = 2;
/// How long a handler runs on.
const LONG: Duration = Duration::from_secs(10);

/// How many handlers live, and how many did at most.
#[derive(Clone, Default)]
struct Alive(Arc<[AtomicUsize; 2]>);

impl Alive {
    fn one(&self) -> Life {
        let now = self.0[0].fetch_add(1, Ordering::Relaxed) + 1;
        self.0[1].fetch_max(now, Ordering::Relaxed);
        Life(self.clone())
    }

    fn most(&self) -> usize {
        self.0[1].load(Ordering::Relaxed)
    }
}

struct Life(Alive);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.0[0].fetch_sub(1, Ordering::Relaxed);
    }
}

fn router(teller: &Teller, alive: &Alive) -> Router {
    let (teller, never, echo, sum) = (teller.clone(), alive.clone(), alive.clone(), alive.clone());
    let service = GenericService::new("t.S")
        .unary("Never", BytesCodec, move |_: Request<Bytes>| {
            let life = never.one();
            teller.tell("started");
            async move {
                let _life = life;
                core::future::pending().await
            }
        })
        .unary("Echo", BytesCodec, move |request: Request<Bytes>| {
            let life = echo.one();
            async move {
                let _life = life;
                Ok(Response::new(request.into_inner()))
            }
        })
        .client_streaming("Sum", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let life = sum.one();
            async move {
                let _life = life;
                let mut uploaded = request.into_inner();
                let mut octets = 0;
                while let Some(message) = uploaded.message().await? {
                    octets += message.len();
                }
                Ok(Response::new(Bytes::from(octets.to_string())))
            }
        });
    Server::builder().max_concurrent_streams(u32::try_from(STREAMS).unwrap()).add_service(service)
}

/// As many calls as there may be, all of them running.
async fn full(connection: &RawConnection, told: &mut Told) -> Vec<RawCall> {
    let mut calls = Vec::new();
    for _ in 0..STREAMS {
        let call = connection.open(grpc("/t.S/Never"), false).await;
        call.send(&framed(b"m"), true);
        assert_eq!(told.next().await, "started");
        calls.push(call);
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_with_the_reset_of_others_waits_for_their_handlers() {
    for (method, body, answer) in [
        ("Echo", framed(b"abc"), "abc"),
        ("Sum", [framed(b"abc"), framed(b"de")].concat(), "5"),
        // The end is all that comes.
        ("Sum", Vec::new(), "0"),
    ] {
        let ((teller, mut told), alive) = (story(), Alive::default());
        let connection = raw_connection(router(&teller, &alive));
        for call in full(&connection, &mut told).await {
            call.reset(ErrorCode::CANCEL);
        }
        let got = connection.exchange(grpc(&format!("/t.S/{method}")), &body).await;
        assert_eq!(got.reset, None, "{method}: the client had kept to the limit");
        assert_eq!((got.code(), got.body), (Code::Ok, framed(answer.as_bytes())), "{method}");
        assert_eq!(alive.most(), STREAMS, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn resetting_calls_starts_no_more_handlers_than_there_may_be_streams() {
    let ((teller, mut told), alive) = (story(), Alive::default());
    let connection = raw_connection(router(&teller, &alive));
    // Fewer than make a flood (RFC 9113 §10.5), which would end the connection.
    for _ in 0..20 {
        for call in full(&connection, &mut told).await {
            call.reset(ErrorCode::CANCEL);
        }
    }
    assert_eq!(alive.most(), STREAMS);
    let answer = connection.exchange(grpc("/t.S/Echo"), &framed(b"m")).await;
    assert_eq!((answer.code(), answer.body), (Code::Ok, framed(b"m")));
}

/// A handler that runs on for long must not keep a parked call waiting when another call made room: by its reset before it had a
/// handler, or by the last octet of its answer.
#[tokio::test(start_paused = true)]
async fn a_parked_call_starts_when_there_is_room_whoever_made_it() {
    for (method, body, reset) in [("Echo", Vec::new(), true), ("Big", framed(b""), false)] {
        let (teller, mut told) = story();
        let service = GenericService::new("t.S")
            .unary("Long", BytesCodec, move |_: Request<Bytes>| {
                teller.tell("started");
                async {
                    tokio::time::sleep(LONG).await;
                    Ok(Response::new(Bytes::new()))
                }
            })
            .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
                Ok(Response::new(request.into_inner()))
            })
            .unary("Big", BytesCodec, |_: Request<Bytes>| async {
                Ok(Response::new(vec![1; 1 << 20].into()))
            })
            .on_cancel(OnCancel::Detached);
        let server = Server::builder().max_concurrent_streams(u32::try_from(STREAMS).unwrap());
        let connection = raw_connection(server.add_service(service));
        let began = Instant::now();
        let long = connection.open(grpc("/t.S/Long"), false).await;
        long.send(&framed(b""), true);
        assert_eq!(told.next().await, "started");
        long.reset(ErrorCode::CANCEL);
        let other = connection.open(grpc(&format!("/t.S/{method}")), false).await;
        let parked = connection.open(grpc("/t.S/Echo"), false).await;
        parked.send(&framed(b"m"), true);
        other.send(&body, !reset);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if reset {
            other.reset(ErrorCode::CANCEL);
        } else {
            assert_eq!(other.answer().await.code(), Code::Ok);
        }
        assert_eq!(parked.answer().await.body, framed(b"m"), "{method}");
        assert!(began.elapsed() < LONG, "{method}: it waited for a handler that had room beside it");
    }
}
