//! CVE-2023-44487 and RUSTSEC-2023-0034 where it hurts: handlers that take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Request, Response, Streaming};

use crate::wire::{Wire, call, frame, reset};

/// Handlers alive now, and at most so far.
#[derive(Clone, Default)]
struct Alive(Arc<[AtomicUsize; 2]>);

struct Life(Alive);

impl Alive {
    fn one(&self) -> Life {
        let now = self.0[0].fetch_add(1, Ordering::Relaxed) + 1;
        self.0[1].fetch_max(now, Ordering::Relaxed);
        Life(self.clone())
    }

    fn counts(&self) -> (usize, usize) {
        (self.0[0].load(Ordering::Relaxed), self.0[1].load(Ordering::Relaxed))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.0[0].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Handlers of 100 ms, as tasks and for streams; 100 at once.
fn slow(alive: &Alive) -> Router {
    let (one, many) = (alive.clone(), alive.clone());
    let service = GenericService::new("t.S")
        .unary("One", BytesCodec, move |request: Request<Bytes>| {
            let life = one.one();
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(life);
                Ok(Response::new(request.into_inner()))
            }
        })
        .client_streaming("Many", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let life = many.one();
            async move {
                let _unread = request;
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(life);
                Ok(Response::new(Bytes::new()))
            }
        });
    Server::builder().max_concurrent_streams(100).add_service(service)
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_pairs_start_no_more_handlers_than_streams() {
    for (path, body) in [("/t.S/One", true), ("/t.S/Many", false)] {
        let alive = Alive::default();
        let mut wire = Wire::to(slow(&alive)).await;
        let mut sent = Vec::new();
        for n in 0..50_000 {
            let id = 2 * n + 1;
            sent.extend(call(id, path, false));
            if body {
                sent.extend(frame(0, 1, id, &[0, 0, 0, 0, 1, 7]));
            }
            sent.extend(reset(id));
        }
        wire.send(&sent).await;
        let (code, text) = wire.goaway().await;
        assert_eq!((code, text.as_str()), (11, "too_many_resets (limit: resets)"), "{path}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (now, most) = alive.counts();
        assert_eq!(now, 0, "{path}: nothing is left");
        assert!(most <= 100, "{path}: {most} handlers at once");
    }
}

/// Calls that are cancelled once their handlers run are ordinary, ten thousand a second: an overloaded backend whose clients
/// give up sees no less.
#[tokio::test(start_paused = true)]
async fn calls_given_up_while_they_are_worked_on_are_ordinary() {
    let alive = Alive::default();
    let mut wire = Wire::to(slow(&alive)).await;
    // 50 each 5 ms, given up 10 ms later: for two seconds of virtual time.
    for round in 0..400u32 {
        let mut sent = Vec::new();
        for n in 0..50 {
            let id = 2 * (50 * round + n) + 1;
            sent.extend(call(id, "/t.S/One", false));
            sent.extend(frame(0, 1, id, &[0, 0, 0, 0, 1, 7]));
            if round >= 2 {
                sent.extend(reset(id - 200));
            }
        }
        wire.send(&sent).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wire.send(&frame(6, 0, 0, b"alive???")).await;
    loop {
        let (kind, _, _, payload) = wire.next().await.expect("the connection goes on");
        assert_ne!(kind, 7, "GOAWAY: {}", String::from_utf8_lossy(&payload));
        if kind == 6 {
            break;
        }
    }
    assert!(alive.counts().1 <= 100);
}
