//! Connections that are idle or old, and servers that end with calls left: nobody loses a call that could finish, and whoever
//! does learns why.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{
    CloseReason, DrainReport, Endpoint, Router, Server, ServerCounters, Stream, TransportEvent, pair,
};
use clearway::{Code, Request, Response, Status, Streaming};
use clearway_http2::connection::PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{Client, Teller, Told, story, text};

const SECOND: Duration = Duration::from_secs(1);

/// A server in memory that takes any number of connections, and what it tells of its end.
struct Scene {
    connect: mpsc::UnboundedSender<Stream>,
    shut_down: oneshot::Sender<()>,
    task: JoinHandle<Result<(), clearway::Error>>,
    reports: Arc<Mutex<Vec<DrainReport>>>,
    counters: Arc<ServerCounters>,
    told: Told,
}

fn scene(server: Server) -> Scene {
    let (connect, incoming) = mpsc::unbounded_channel();
    let (shut_down, asked) = oneshot::channel::<()>();
    let (teller, told) = story();
    let reports = Arc::<Mutex<Vec<DrainReport>>>::default();
    let keep = Arc::clone(&reports);
    let server = server.on_calls_cut_off(move |report| keep.lock().unwrap().push(report.clone()));
    let counters = server.counters();
    let router = router(server, &teller);
    let incoming = UnboundedReceiverStream::new(incoming).map(Ok::<_, Status>);
    let task = tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
        asked.await.ok();
    }));
    Scene { connect, shut_down, task, reports, counters, told }
}

fn router(server: Server, teller: &Teller) -> Router {
    let (forever, upload) = (teller.clone(), teller.clone());
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Response::new(request.into_inner()))
        })
        .unary("Forever", BytesCodec, move |_: Request<Bytes>| {
            let gone = forever.on_drop("Forever is gone");
            async move {
                core::future::pending::<()>().await;
                drop(gone);
                Ok(Response::new(Bytes::new()))
            }
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = upload.clone();
            async move {
                let _gone = teller.on_drop("Upload is gone");
                teller.tell("Upload began");
                let mut messages = request.into_inner();
                while messages.message().await?.is_some() {}
                Ok(Response::new(Bytes::new()))
            }
        });
    server.add_service(service)
}

impl Scene {
    fn endpoint(&self) -> Endpoint {
        let connect = self.connect.clone();
        Endpoint::from_static("http://in-memory").connector(move || {
            let (ours, theirs) = pair();
            let sent = connect.send(theirs);
            core::future::ready(sent.map(|()| ours).map_err(std::io::Error::other))
        })
    }

    fn client(&self) -> Client {
        Client::at(self.endpoint())
    }

    fn report(&self) -> Vec<DrainReport> {
        core::mem::take(&mut self.reports.lock().unwrap())
    }
}

/// A call that waits for ever, on a task of its own.
fn forever(client: &Client) -> JoinHandle<Result<Response<Bytes>, Status>> {
    let client = client.clone();
    tokio::spawn(async move { client.unary("Forever", text("m")).await })
}

/// The debug text of the GOAWAY that came before the end of the connection.
fn last_words(status: &Status) -> String {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    match status.transport().map(|cause| cause.event.clone()) {
        Some(TransportEvent::ConnectionClosed(CloseReason::GoAway { debug, .. })) => debug,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_ended_and_the_next_call_makes_another() {
    let scene = scene(Server::builder().max_connection_idle(SECOND));
    let client = scene.client();
    for connections in 1..=3 {
        for _ in 0..5 {
            client.unary("Echo", text("m")).await.unwrap();
            tokio::time::sleep(SECOND / 2).await;
        }
        assert_eq!(scene.counters.connections(), connections);
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(scene.counters.connections_ended(), connections);
    }
    assert!(scene.report().is_empty(), "nothing was cut off");
}

/// What is too short to be meant is raised: a connection is there for the calls it was made for.
#[tokio::test(start_paused = true)]
async fn no_limit_of_a_connections_life_ends_it_at_once() {
    let zero = Duration::ZERO;
    let servers = [
        Server::builder().max_connection_idle(zero),
        Server::builder().max_connection_age(zero).fixed_jitter(0.5),
        Server::builder().http2_keepalive_timeout(Some(zero)).write_timeout(zero),
    ];
    for server in servers {
        let scene = scene(server);
        let endpoint = scene.endpoint().idle_timeout(zero).keep_alive_timeout(zero).write_timeout(zero);
        let client = Client::at(endpoint);
        for _ in 0..9 {
            client.unary("Echo", text("m")).await.unwrap();
            tokio::time::sleep(SECOND / 20).await;
        }
        assert_eq!((scene.counters.connections(), scene.counters.connections_ended()), (1, 0));
    }
}

/// A call every few milliseconds for half a minute, on connections that live a second.
#[tokio::test(start_paused = true)]
async fn no_call_fails_when_connections_are_old() {
    for jitter in [0.0, 1.0] {
        let age = SECOND;
        let server =
            Server::builder().max_connection_age(age).max_connection_age_grace(SECOND).fixed_jitter(jitter);
        let scene = scene(server);
        let client = scene.client();
        let mut calls = JoinSet::new();
        for n in 0..3000 {
            let client = client.clone();
            calls.spawn(async move { client.unary("Echo", text("m")).await.map_err(|status| (n, status)) });
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap().unwrap();
        }
        let used = scene.counters.connections();
        // Thirty seconds, 0.9 or 1.1 s each.
        let expected = if jitter == 0.0 { 32..=34 } else { 27..=29 };
        assert!(expected.contains(&used), "{used} connections");
        assert!(scene.report().is_empty(), "nothing was cut off");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_on_an_old_connection_is_cut_off_and_reported() {
    let server = Server::builder()
        .max_connection_age(10 * SECOND)
        .max_connection_age_grace(5 * SECOND)
        .fixed_jitter(0.5);
    let mut scene = scene(server);
    let client = scene.client();
    client.unary("Echo", text("m")).await.unwrap();
    let (feed, messages) = mpsc::unbounded_channel::<Bytes>();
    let call = forever(&client);
    let upload = tokio::spawn({
        let client = client.clone();
        async move { client.upload("Upload", Request::new(UnboundedReceiverStream::new(messages))).await }
    });
    feed.send(Bytes::from_static(b"first")).unwrap();
    assert_eq!(scene.told.next().await, "Upload began");
    let began = Instant::now();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 14, "an age of 10 s and 5 s of grace");
    let words = "calls were left after max_age (limit: max_connection_age_grace)";
    assert_eq!(last_words(&status), words);
    assert!(status.message().contains(words), "{status}");
    assert_eq!(last_words(&upload.await.unwrap().unwrap_err()), words);
    let mut ends = [scene.told.next().await, scene.told.next().await];
    ends.sort();
    assert_eq!(ends, ["Forever is gone", "Upload is gone"]);
    let [report] = &scene.report()[..] else { panic!("one report") };
    assert_eq!((report.connections, report.calls_cut_off()), (1, 2));
    assert!(report.calls.iter().all(|call| call.age.as_secs() == 14), "{report:?}");
    assert_eq!(
        report.to_string(),
        "2 calls on 1 connections were cut off 5.0s after max_age (limit: max_connection_age_grace): 1 of /t.S/Forever \
         (for 15.0s at most), 1 of /t.S/Upload (for 15.0s at most)"
    );
    assert_eq!((scene.counters.calls_cut_off(), scene.counters.connections_cut_off()), (2, 0));
    // The next call finds another connection.
    client.unary("Echo", text("m")).await.unwrap();
}

/// Attack A16: uploads that never end hold a hundred handlers, until their connection is old.
#[tokio::test(start_paused = true)]
async fn calls_that_never_end_are_bounded_by_age_and_grace() {
    let server = Server::builder().max_connection_age(60 * SECOND).max_connection_age_grace(SECOND);
    let mut scene = scene(server);
    let client = scene.client();
    let mut feeds = Vec::new();
    for _ in 0..100 {
        let (feed, messages) = mpsc::unbounded_channel::<Bytes>();
        feeds.push(feed);
        let client = client.clone();
        tokio::spawn(async move {
            client.upload("Upload", Request::new(UnboundedReceiverStream::new(messages))).await
        });
        assert_eq!(scene.told.next().await, "Upload began");
    }
    tokio::time::sleep(68 * SECOND).await;
    for _ in 0..100 {
        assert_eq!(scene.told.next().await, "Upload is gone");
    }
    assert_eq!(scene.report()[0].calls_cut_off(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_its_grace_and_reports_what_it_cut_off() {
    let scene = scene(Server::builder().shutdown_grace(5 * SECOND));
    let (one, other) = (scene.client(), scene.client());
    let calls = [forever(&one), forever(&one), forever(&other)];
    let quick = other.unary("Echo", text("m")).await;
    assert!(quick.is_ok());
    let began = Instant::now();
    scene.shut_down.send(()).unwrap();
    tokio::time::sleep(4 * SECOND).await;
    assert!(calls.iter().all(|call| !call.is_finished()), "they have a second left");
    scene.task.await.unwrap().unwrap();
    let took = began.elapsed();
    assert!((5 * SECOND..=6 * SECOND).contains(&took), "{took:?}");
    for call in calls {
        let words = last_words(&call.await.unwrap().unwrap_err());
        assert_eq!(words, "calls were left after a graceful shutdown (limit: shutdown_grace)");
    }
    let [report] = &core::mem::take(&mut *scene.reports.lock().unwrap())[..] else { panic!("one report") };
    assert_eq!((report.connections, report.calls_cut_off()), (2, 3));
    let line = report.to_string();
    for part in
        ["3 calls on 2 connections", "5.0s after a graceful shutdown", "3 of /t.S/Forever (for 5.0s at most)"]
    {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_which_every_call_finishes_reports_nothing() {
    let scene = scene(Server::builder().shutdown_grace(5 * SECOND));
    let client = scene.client();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.unary("Echo", text("m")).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    scene.shut_down.send(()).unwrap();
    let began = Instant::now();
    scene.task.await.unwrap().unwrap();
    assert!(began.elapsed() < SECOND);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(scene.reports.lock().unwrap().is_empty());
}

/// A peer that does not answer the PING of a shutdown holds it up for a second, and for another until it closes; no longer.
#[tokio::test(start_paused = true)]
async fn a_peer_that_ignores_the_ping_does_not_hold_up_a_shutdown() {
    let scene = scene(Server::builder());
    let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
    scene.connect.send(theirs.into()).unwrap();
    ours.write_all(PREFACE).await.unwrap();
    // SETTINGS, and the acknowledgement of the server's.
    ours.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    ours.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
    ours.read_u8().await.unwrap();
    tokio::time::sleep(SECOND).await;
    let began = Instant::now();
    scene.shut_down.send(()).unwrap();
    scene.task.await.unwrap().unwrap();
    assert!(began.elapsed() <= 2 * SECOND + SECOND / 10, "{:?}", began.elapsed());
    drop(ours);
}

/// A channel over memory has one connection and cannot have another: it is not ended for its age, nor for having no calls.
#[tokio::test(start_paused = true)]
async fn the_only_connection_of_a_channel_lives_as_long_as_the_channel() {
    let (teller, _told) = story();
    let server = Server::builder().max_connection_idle(SECOND).max_connection_age(SECOND);
    let client = Client(clearway::client::Grpc::new(router(server, &teller).in_process()));
    for _ in 0..3 {
        client.unary("Echo", text("m")).await.unwrap();
        tokio::time::sleep(3600 * SECOND).await;
    }
}
