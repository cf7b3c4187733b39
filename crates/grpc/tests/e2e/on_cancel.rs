//! What becomes of handlers whose call is cancelled: dropped, told, or left alone; and that those which run on are counted and
//! named.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::{CallEnd, GenericService, OnCancel, Overrun, Service};
use clearway::transport::{Server, ServerCounters};
use clearway::{CallContext, Code, Request, Response, Status, Streaming};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::raw::{RawConnection, framed, grpc, with};
use crate::{Client, Keeping, Teller, Told, endpoint, raw_connection, story, text};

const SECOND: Duration = Duration::from_secs(1);

fn service(teller: &Teller) -> GenericService {
    let (unary, long, upload, download) = (teller.clone(), teller.clone(), teller.clone(), teller.clone());
    GenericService::new("t.S")
        .unary("Clean", BytesCodec, move |request: Request<Bytes>| {
            let teller = unary.clone();
            async move {
                let _over = teller.on_drop("dropped");
                teller.tell("started");
                request.cancelled().await;
                assert!(CallContext::current().is_cancelled() && request.cancellation_token().is_cancelled());
                tokio::time::sleep(SECOND / 2).await;
                teller.tell("cleaned up");
                Ok(Response::new(Bytes::new()))
            }
        })
        .unary("Long", BytesCodec, move |request: Request<Bytes>| {
            let teller = long.clone();
            async move {
                let _over = teller.on_drop("dropped");
                if &request.get_ref()[..] == b"chosen in the handler" {
                    CallContext::current().on_cancel(OnCancel::Detached);
                }
                teller.tell("started");
                tokio::time::sleep(10 * SECOND).await;
                request.cancelled().await;
                teller.tell(format!("done, cancelled: {}", CallContext::current().is_cancelled()));
                Ok(Response::new(Bytes::new()))
            }
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = upload.clone();
            async move {
                let _over = teller.on_drop("dropped");
                let mut messages = request.into_inner();
                loop {
                    match messages.message().await {
                        Ok(Some(message)) => teller.tell(format!("read {}", message.len())),
                        Ok(None) => return Ok(Response::new(Bytes::new())),
                        Err(status) => {
                            teller.tell(format!("read failed with {:?}", status.code()));
                            tokio::time::sleep(SECOND).await;
                            teller.tell("put away what had come");
                            return Err(status);
                        }
                    }
                }
            }
        })
        .server_streaming("Download", BytesCodec, move |request: Request<Bytes>| {
            let teller = download.clone();
            async move {
                let token = request.cancellation_token();
                let feed = tokio_stream::iter(core::iter::repeat(())).then(|()| tokio::time::sleep(SECOND));
                let feed = feed.map_while(move |_| {
                    let go_on = !token.is_cancelled();
                    go_on.then(|| Ok(Bytes::from_static(b"tick")))
                });
                Ok(Response::new(Keeping(Box::pin(feed), teller.on_drop("stream dropped"))))
            }
        })
}

/// A client of the service, what its server counts, and what it reports.
fn served(on_cancel: OnCancel, teller: &Teller) -> (Client, Arc<ServerCounters>, Arc<Mutex<Vec<Overrun>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&seen);
    let server = Server::builder().on_overrun(move |overrun| report.lock().unwrap().push(overrun.clone()));
    let counters = server.counters();
    (Client::of(server.add_service(service(teller).on_cancel(on_cancel))), counters, seen)
}

/// Makes a call, and gives it up when its handler has started.
async fn give_up(client: &Client, method: &'static str, message: &'static str, told: &mut Told) {
    let client = client.clone();
    let call = tokio::spawn(async move { client.unary(method, text(message)).await });
    assert_eq!(told.next().await, "started");
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn a_handler_with_a_token_cleans_up() {
    let (teller, mut told) = story();
    let client = Client::of(Server::builder().add_service(service(&teller).on_cancel(OnCancel::Token)));
    let start = Instant::now();
    give_up(&client, "Clean", "", &mut told).await;
    assert_eq!([told.next().await, told.next().await], ["cleaned up", "dropped"]);
    assert!((SECOND / 2..SECOND).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_chose_nothing_is_dropped() {
    let (teller, mut told) = story();
    let (client, counters, overruns) = served(OnCancel::Drop, &teller);
    give_up(&client, "Clean", "", &mut told).await;
    assert_eq!(told.next().await, "dropped");
    tokio::time::sleep(60 * SECOND).await;
    assert!(told.is_silent());
    assert_eq!((counters.overruns(), overruns.lock().unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_runs_to_its_end_and_is_counted_and_named() {
    for (chosen, message) in [(OnCancel::Detached, ""), (OnCancel::Drop, "chosen in the handler")] {
        let (teller, mut told) = story();
        let (client, counters, overruns) = served(chosen, &teller);
        give_up(&client, "Long", message, &mut told).await;
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!((counters.overruns(), counters.overruns_ended()), (1, 0), "{message}");
        assert_eq!([told.next().await, told.next().await], ["done, cancelled: true", "dropped"]);
        tokio::time::sleep(SECOND).await;
        assert_eq!((counters.overruns(), counters.overruns_ended()), (1, 1));
        let lines: Vec<String> = overruns.lock().unwrap().iter().map(Overrun::to_string).collect();
        let expected = [
            "the handler of /t.S/Long still runs 1.0s after its call was cancelled",
            "the handler of /t.S/Long ended 10.0s after its call was cancelled",
        ];
        assert_eq!(lines, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_runs_on_after_its_deadline_or_its_connection_is_named_too() {
    let (teller, mut told) = story();
    let (client, _, overruns) = served(OnCancel::Token, &teller);
    let mut request = text("");
    request.set_timeout(SECOND);
    let status = client.unary("Long", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!([told.next().await, told.next().await], ["started", "done, cancelled: true"]);
    assert_eq!(told.next().await, "dropped");
    let seen: Vec<_> =
        overruns.lock().unwrap().drain(..).map(|overrun| (overrun.end, overrun.has_ended)).collect();
    assert_eq!(seen, [(CallEnd::DeadlinePassed, false), (CallEnd::DeadlinePassed, true)]);
    let call = tokio::spawn(async move { client.unary("Long", text("")).await });
    assert_eq!(told.next().await, "started");
    // The last handle of the channel goes with the call, and the connection with both.
    call.abort();
    assert_eq!([told.next().await, told.next().await], ["done, cancelled: true", "dropped"]);
    let seen: Vec<_> =
        overruns.lock().unwrap().iter().map(|overrun| (overrun.end, overrun.has_ended)).collect();
    assert_eq!(seen, [(CallEnd::Cancelled, false), (CallEnd::Cancelled, true)]);
}

/// A handler that blocks its thread cannot be dropped; that is what the report is for in most servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_is_named_although_it_was_to_be_dropped() {
    let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
    let (report, mut reported) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let service = GenericService::new("t.S").unary("Block", BytesCodec, move |_: Request<Bytes>| {
        let (started, released) = (started.clone(), Arc::clone(&released));
        async move {
            tokio::task::yield_now().await;
            started.send(()).unwrap();
            // The test may be over.
            let _ = released.lock().unwrap().recv();
            tokio::task::yield_now().await;
            Ok(Response::new(Bytes::new()))
        }
    });
    let server = Server::builder().overrun_after(Duration::from_millis(20)).on_overrun(move |overrun| {
        // The test may be over.
        let _ = report.send(overrun.clone());
    });
    let client = Client::at(endpoint(server.add_service(service)));
    let call = tokio::spawn(async move { client.unary("Block", text("")).await });
    has_started.recv().await.unwrap();
    call.abort();
    let still = reported.recv().await.unwrap();
    assert_eq!((&*still.path, still.has_ended), ("/t.S/Block", false));
    release.send(()).unwrap();
    let ended = reported.recv().await.unwrap();
    assert!(ended.has_ended && ended.since >= still.since, "{ended}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_upload_is_an_error_for_handlers_that_run_on() {
    for on_cancel in [OnCancel::Token, OnCancel::Detached] {
        let (teller, mut told) = story();
        let (client, ..) = served(on_cancel, &teller);
        let (say, said) = tokio::sync::mpsc::channel(1);
        let call =
            tokio::spawn(
                async move { client.upload("Upload", Request::new(ReceiverStream::new(said))).await },
            );
        say.send(Bytes::from_static(b"12345")).await.unwrap();
        assert_eq!(told.next().await, "read 5");
        call.abort();
        for what in ["read failed with Cancelled", "put away what had come", "dropped"] {
            assert_eq!(told.next().await, what, "{on_cancel:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_stream_with_a_token_ends_by_itself() {
    let (teller, mut told) = story();
    let (client, ..) = served(OnCancel::Token, &teller);
    let mut stream = client.download("Download", text("")).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(stream.message().await.unwrap().unwrap(), "tick");
    }
    let cut = Instant::now();
    drop(stream);
    assert_eq!(told.next().await, "stream dropped");
    assert!(cut.elapsed() <= SECOND, "at its next tick");
}

/// Cancelled calls whose handlers run on take up the room of calls: a client cannot start more of them than streams.
#[tokio::test(start_paused = true)]
async fn handlers_that_run_on_count_as_calls() {
    let (teller, mut told) = story();
    let server = Server::builder().max_concurrent_streams(2);
    let connection = raw_connection(server.add_service(service(&teller).on_cancel(OnCancel::Detached)));
    for _ in 0..4 {
        begin_and_reset(&connection).await;
    }
    assert_eq!([told.next().await, told.next().await], ["started", "started"]);
    assert!(told.is_silent(), "no more than streams allowed");
    for _ in 0..2 {
        assert_eq!([told.next().await, told.next().await], ["done, cancelled: true", "dropped"]);
    }
}

async fn begin_and_reset(connection: &RawConnection) {
    let call = connection.open(with(grpc("/t.S/Long"), "grpc-timeout", "60S"), false).await;
    call.send(&framed(b""), true);
    tokio::time::sleep(Duration::from_millis(1)).await;
    call.reset(clearway_http2::ErrorCode::CANCEL);
}

/// A token may be taken wherever the request went, also after its call is over.
#[tokio::test(start_paused = true)]
async fn a_token_of_a_request_that_was_given_away_is_as_good() {
    let (given, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let give = GenericService::new("t.S").unary("Give", BytesCodec, move |request: Request<Bytes>| {
        let (given, answer) = (given.clone(), request.get_ref().clone());
        async move {
            given.send(request).unwrap();
            if answer.is_empty() {
                core::future::pending().await
            } else {
                Ok::<_, Status>(Response::new(answer))
            }
        }
    });
    let client = Client::of(Server::builder().add_service(give));
    let pending = client.clone();
    let call = tokio::spawn(async move { pending.unary("Give", text("")).await });
    let request = taken.recv().await.unwrap();
    let (early, also) = (request.cancellation_token(), request.cancellation_token());
    tokio::task::yield_now().await;
    assert!(!early.is_cancelled());
    call.abort();
    early.cancelled().await;
    also.cancelled().await;
    request.cancelled().await;
    client.unary("Give", text("m")).await.unwrap();
    taken.recv().await.unwrap().cancelled().await;
    drop(client);
    tokio::time::sleep(SECOND).await;
    request.cancelled().await;
}
