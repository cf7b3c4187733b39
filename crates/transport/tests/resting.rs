//! What a connection does when nothing happens: it rests once, and is not woken any more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clearway_http2::frame::Kind;
use clearway_transport::OpQueue;
use support::{App, Peer, Reply, driver, end, request};
use tokio::io::{DuplexStream, duplex};
use tokio::time::sleep;

/// A connection whose task counts its polls.
struct Watched {
    peer: Peer<DuplexStream>,
    rests: Arc<AtomicUsize>,
    polls: Arc<AtomicUsize>,
}

impl Watched {
    async fn new() -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        let (app, _) = App::new(Reply::Headers);
        let (rests, polls) = (Arc::clone(&app.rests), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&polls);
        tokio::spawn(async move {
            let mut driver = pin!(driver(ours, app, &Arc::new(OpQueue::default())));
            poll_fn(|cx| {
                counted.fetch_add(1, Ordering::Relaxed);
                driver.as_mut().poll(cx)
            })
            .await
        });
        Self { peer: Peer::greeted(theirs).await, rests, polls }
    }

    async fn call(&mut self, id: u32) {
        self.peer.write(&request(id, true)).await;
        self.peer.expect(Kind::HEADERS).await;
    }

    fn counts(&self) -> (usize, usize) {
        (self.rests.load(Ordering::Relaxed), self.polls.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_once_after_a_second_of_quiet() {
    let mut connection = Watched::new().await;
    for id in (1..200).step_by(2) {
        connection.call(id).await;
    }
    let (rests, polls) = connection.counts();
    assert!((1..=8).contains(&rests), "{rests} early rests");
    sleep(Duration::from_millis(900)).await;
    assert_eq!(connection.counts(), (rests, polls), "nothing has happened");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(connection.counts(), (rests + 1, polls + 1));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(connection.counts(), (rests + 1, polls + 1), "a quiet connection is left alone");
    connection.call(201).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(connection.counts().0, rests + 2, "after one call it rests at once");
}

#[tokio::test(start_paused = true)]
async fn a_young_connection_rests_after_its_first_call() {
    let mut connection = Watched::new().await;
    let before = connection.counts().0;
    connection.call(1).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(connection.counts().0, before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_does_not_rest_and_is_hardly_woken_for_it() {
    let mut connection = Watched::new().await;
    connection.peer.write(&request(1, false)).await;
    sleep(Duration::from_millis(100)).await;
    let (rests, polls) = connection.counts();
    for id in (3..83).step_by(2) {
        connection.call(id).await;
        sleep(Duration::from_millis(250)).await;
    }
    let (now, later) = connection.counts();
    assert_eq!(now, rests);
    assert!(later <= polls + 40 + 11, "{} polls for 40 calls in ten seconds", later - polls);
    connection.peer.write(&end(1)).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(connection.counts().0, rests + 1);
}
