//! Deadlines and cancellation that travel: from the call a handler works for to the calls it makes.

use core::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::{GenericService, OnCancel};
use clearway::transport::{Endpoint, Router, Server, TransportEvent};
use clearway::{CallContext, Code, Request, Response, Status, Streaming};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

use crate::{Client, OnDrop, Teller, Told, endpoint, path, socket_endpoint, story, text};

const SECOND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// How a handler calls the next server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// As anybody would.
    Plainly,
    /// Out of its context.
    Detached,
    /// From a task, in its context.
    Scoped,
    /// From a task, without one.
    Spawned,
}

/// One server of a chain: says how much time it has, waits a little, and asks the next one.
fn link(name: &'static str, next: Option<Client>, how: How, on_cancel: OnCancel, teller: &Teller) -> Router {
    let teller = teller.clone();
    let handler = move |request: Request<Bytes>| {
        let (teller, next) = (teller.clone(), next.clone());
        async move {
            let _over = OnDrop { teller: teller.clone(), what: name };
            let left = request.remaining().map(|left| left.as_millis());
            assert_eq!(request.deadline(), CallContext::current().deadline());
            teller.tell(format!("{name} has {left:?}"));
            let Some(next) = next else { return core::future::pending().await };
            tokio::time::sleep(PAUSE).await;
            let status = ask(next, how).await.unwrap_err();
            let locally = status.transport().is_some();
            teller.tell(format!("{name} was told {:?}, locally: {locally}", status.code()));
            Err::<Response<Bytes>, _>(status)
        }
    };
    let service = GenericService::new("t.S").when_cancelled(on_cancel).unary("Ask", BytesCodec, handler);
    Server::builder().add_service(service)
}

async fn ask(next: Client, how: How) -> Result<Response<Bytes>, Status> {
    let mut request = text("m");
    if how == How::Detached {
        request.detach_from_context();
    }
    let call = async move { next.unary("Ask", request).await };
    match how {
        How::Plainly | How::Detached => call.await,
        How::Scoped => tokio::spawn(CallContext::current().scope(call)).await.unwrap(),
        How::Spawned => tokio::spawn(call).await.unwrap(),
    }
}

/// A chain of three servers in memory.
fn chain(how: How, on_cancel: OnCancel, teller: &Teller) -> Client {
    let c = Client::of(link("C", None, how, on_cancel, teller));
    let b = Client::of(link("B", Some(c), how, on_cancel, teller));
    Client::of(link("A", Some(b), how, on_cancel, teller))
}

fn within(mut request: Request<Bytes>, timeout: Duration) -> Request<Bytes> {
    request.set_timeout(timeout);
    request
}

async fn next(told: &mut Told, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(told.next().await);
    }
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn each_server_of_a_chain_has_less_time_and_each_ends_its_own_call() {
    for how in [How::Plainly, How::Scoped] {
        let (teller, mut told) = story();
        let client = chain(how, OnCancel::Token, &teller);
        let start = Instant::now();
        let status = client.unary("Ask", within(text("m"), SECOND)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.transport().is_some(), "made here: {status:?}");
        assert!(start.elapsed() <= SECOND + Duration::from_millis(3));
        let left = next(&mut told, 3).await;
        let millis: Vec<u64> =
            left.iter().map(|line| line.split(['(', ')']).nth(1).unwrap().parse().unwrap()).collect();
        assert!(millis.windows(2).all(|pair| pair[0] >= pair[1] + 49 && pair[0] <= pair[1] + 60), "{left:?}");
        let ends = next(&mut told, 4).await;
        let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
        let expected = [
            "A",
            "A was told DeadlineExceeded, locally: true",
            "B",
            "B was told DeadlineExceeded, locally: true",
        ];
        assert_eq!(ends, expected, "{how:?}; C ignores its token, and runs on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_end_of_a_chain() {
    for how in [How::Plainly, How::Scoped] {
        for on_cancel in [OnCancel::Drop, OnCancel::Token] {
            let (teller, mut told) = story();
            let client = chain(how, on_cancel, &teller);
            let call = tokio::spawn(async move { client.unary("Ask", text("m")).await });
            assert_eq!(next(&mut told, 3).await, ["A has None", "B has None", "C has None"]);
            call.abort();
            let ends = match on_cancel {
                OnCancel::Drop => &["A", "B", "C"][..],
                _ => {
                    &["A", "A was told Cancelled, locally: true", "B", "B was told Cancelled, locally: true"]
                }
            };
            assert_eq!(next(&mut told, ends.len()).await, ends, "{how:?} {on_cancel:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_knows_neither_deadline_nor_cancel_and_nor_does_a_task_without_scope() {
    for how in [How::Detached, How::Spawned] {
        let (teller, mut told) = story();
        let client = chain(how, OnCancel::Token, &teller);
        let call = tokio::spawn(async move { client.unary("Ask", within(text("m"), SECOND)).await });
        let begun = next(&mut told, 3).await;
        assert!(begun[0].starts_with("A has Some("), "{begun:?}");
        assert_eq!(begun[1..], ["B has None", "C has None"], "{how:?}");
        call.abort();
        tokio::time::sleep(60 * SECOND).await;
        assert!(told.is_silent(), "{how:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_detached_handler_are_its_own() {
    let (teller, mut told) = story();
    let c = Client::of(link("C", None, How::Plainly, OnCancel::Drop, &teller));
    let client = Client::of(link("B", Some(c), How::Plainly, OnCancel::Detached, &teller));
    let status = client.unary("Ask", within(text("m"), SECOND)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let begun = next(&mut told, 2).await;
    assert!(begun[0].starts_with("B has Some("), "{begun:?}");
    assert_eq!(begun[1], "C has None");
    tokio::time::sleep(60 * SECOND).await;
    assert!(told.is_silent());
}

#[tokio::test(start_paused = true)]
async fn the_sooner_of_a_calls_own_deadline_and_its_handlers_counts() {
    for (own, handlers) in [(SECOND, 5 * SECOND), (5 * SECOND, SECOND)] {
        let (teller, mut told) = story();
        let last = Client::of(link("C", None, How::Plainly, OnCancel::Drop, &teller));
        let handler = move |_: Request<Bytes>| {
            let last = last.clone();
            async move { last.unary("Ask", within(text("m"), own)).await }
        };
        let service = GenericService::new("t.S").unary("Ask", BytesCodec, handler);
        let client = Client::of(Server::builder().add_service(service));
        let start = Instant::now();
        let status = client.unary("Ask", within(text("m"), handlers)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!((SECOND..=SECOND + Duration::from_millis(3)).contains(&start.elapsed()));
        assert!(["C has Some(1000)", "C has Some(999)"].contains(&told.next().await.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_made_in_a_context_that_is_over_are_not_sent() {
    let (teller, mut told) = story();
    let other = Client::of(link("C", None, How::Plainly, OnCancel::Drop, &teller));
    let asks = teller.clone();
    let handler = move |request: Request<Bytes>| {
        let (teller, other) = (asks.clone(), other.clone());
        async move {
            teller.tell("waits");
            request.cancelled().await;
            let status = ask(other.clone(), How::Plainly).await.unwrap_err();
            assert!(
                matches!(status.transport().unwrap().event, TransportEvent::ContextOver { .. }),
                "{status}"
            );
            teller.tell(format!("{status}"));
            ask(other, How::Detached).await
        }
    };
    let service =
        GenericService::new("t.S").when_cancelled(OnCancel::Token).unary("Ask", BytesCodec, handler);
    let client = Client::of(Server::builder().add_service(service));
    let call = tokio::spawn(async move { client.unary("Ask", text("m")).await });
    assert_eq!(told.next().await, "waits");
    call.abort();
    let why = told.next().await;
    assert!(why.contains("its client gave it up") && why.contains("detach_from_context"), "{why}");
    assert_eq!(told.next().await, "C has None", "cleaning up may call, if it says so");
}

/// A download that a handler started and gave to a task ends with the handler's call, although nobody drops it.
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_moved_to_a_task_is_cut_with_its_call() {
    let (teller, mut told) = story();
    let feed = teller.clone();
    let service =
        GenericService::new("t.S").server_streaming("Feed", BytesCodec, move |_: Request<Bytes>| {
            let one = tokio_stream::once(Ok(Bytes::from_static(b"one"))).chain(tokio_stream::pending());
            let messages = crate::Keeping(one, feed.on_drop("feed dropped"));
            async move { Ok(Response::new(messages)) }
        });
    let feed = Client::of(Server::builder().add_service(service));
    let reads = teller.clone();
    let handler = move |_: Request<Bytes>| {
        let (feed, teller) = (feed.clone(), reads.clone());
        async move {
            let stream = feed.download("Feed", text("m")).await?.into_inner();
            tokio::spawn(read(stream, teller));
            core::future::pending::<Result<Response<Bytes>, Status>>().await
        }
    };
    let service = GenericService::new("t.S").unary("Ask", BytesCodec, handler);
    let client = Client::of(Server::builder().add_service(service));
    let call = tokio::spawn(async move { client.unary("Ask", text("m")).await });
    assert_eq!(told.next().await, "read one");
    call.abort();
    assert_eq!(next(&mut told, 2).await, ["feed dropped", "read failed with Cancelled"]);
}

async fn read(mut stream: Streaming<Bytes>, teller: Teller) {
    loop {
        match stream.message().await {
            Ok(Some(message)) => teller.tell(format!("read {}", String::from_utf8_lossy(&message))),
            Ok(None) => return teller.tell("read to the end"),
            Err(status) => return teller.tell(format!("read failed with {:?}", status.code())),
        }
    }
}

/// The context of one call is not seen by the next one on the same thread, whatever the first one did.
#[tokio::test(start_paused = true)]
async fn a_panic_leaves_no_context_behind() {
    let service = GenericService::new("t.S")
        .unary("Panic", BytesCodec, |request: Request<Bytes>| async move {
            assert!(CallContext::current().deadline().is_some());
            if !request.get_ref().is_empty() {
                tokio::task::yield_now().await;
            }
            assert!(CallContext::current().deadline().is_none(), "which it is not");
            Ok(Response::new(Bytes::new()))
        })
        .unary("Look", BytesCodec, |_: Request<Bytes>| async move {
            let context = CallContext::current();
            Ok(Response::new(Bytes::from(format!("{:?} {}", context.deadline(), context.is_cancelled()))))
        });
    let client = Client::of(Server::builder().add_service(service));
    for message in ["", "later"] {
        let status = client.unary("Panic", within(text(message), SECOND)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown, "{status}");
        assert_eq!(CallContext::current().deadline(), None);
        assert_eq!(client.unary("Look", text("")).await.unwrap().into_inner(), "None false");
    }
}

/// Over sockets and in real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_over_sockets_keeps_the_deadline_of_its_first_call() {
    let (teller, mut told) = story();
    let mut next_endpoint: Option<Endpoint> = None;
    for name in ["C", "B", "A"] {
        let next = next_endpoint.take().map(Client::at);
        let router = link(name, next, How::Plainly, OnCancel::Drop, &teller);
        next_endpoint = Some(socket_endpoint(router).await);
    }
    let client = Client::at(next_endpoint.unwrap());
    let status = client.unary("Ask", within(text("m"), 30 * PAUSE)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let begun = next(&mut told, 3).await;
    let ends = next(&mut told, 3).await;
    // B and C may be told by their client before their own clock says so, or the other way around.
    assert!(begun.iter().all(|line| line.contains("has Some(")), "{begun:?}");
    assert!(ends.iter().all(|line| !line.contains("has")), "{ends:?}");
}

/// A program's own scope: a deadline for several calls, outside of any handler.
#[tokio::test(start_paused = true)]
async fn a_scope_can_be_made_outside_of_a_handler() {
    let (teller, mut told) = story();
    let client = Client::at(endpoint(link("C", None, How::Plainly, OnCancel::Drop, &teller)));
    let start = Instant::now();
    let call = client.0.unary(text("m"), path("Ask"), BytesCodec);
    let status = CallContext::default().with_timeout(SECOND).scope(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!((SECOND..=SECOND + Duration::from_millis(3)).contains(&start.elapsed()));
    assert!(told.next().await.starts_with("C has Some("));
}

/// A call with a policy that waits to be sent again is called off like one that is under way.
#[cfg(feature = "service-config")]
#[tokio::test(start_paused = true)]
async fn a_call_between_two_attempts_is_called_off_too() {
    let (teller, mut told) = story();
    let attempts = teller.clone();
    let service = GenericService::new("t.S").unary("Ask", BytesCodec, move |_: Request<Bytes>| {
        attempts.tell("attempt");
        async { Err::<Response<Bytes>, _>(Status::unavailable("not now")) }
    });
    let policy = r#"{"methodConfig": [{"name": [{"service": "t.S"}], "retryPolicy": {"maxAttempts": 2,
        "initialBackoff": "1000s", "maxBackoff": "1000s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#;
    let endpoint = endpoint(Server::builder().add_service(service));
    let next = Client::at(endpoint.service_config(policy).expect("it can be read"));
    let handler = move |_: Request<Bytes>| {
        let (teller, next) = (teller.clone(), next.clone());
        async move {
            let status = ask(next, How::Plainly).await.unwrap_err();
            teller.tell(format!("{:?} after {} attempts", status.code(), status.attempts().len()));
            Err::<Response<Bytes>, _>(status)
        }
    };
    let service =
        GenericService::new("t.S").when_cancelled(OnCancel::Token).unary("Ask", BytesCodec, handler);
    let client = Client::of(Server::builder().add_service(service));
    let call = tokio::spawn(async move { client.unary("Ask", text("m")).await });
    assert_eq!(told.next().await, "attempt");
    tokio::time::sleep(SECOND).await;
    let cancelled = Instant::now();
    call.abort();
    assert_eq!(told.next().await, "Cancelled after 1 attempts");
    assert!(cancelled.elapsed() < SECOND, "it does not wait for the next attempt");
}

/// The stream that a handler's request is made of is polled by a task of ours, and is the handler's all the same.
#[tokio::test(start_paused = true)]
async fn calls_made_by_a_request_stream_are_its_handlers_too() {
    let (teller, mut told) = story();
    let last = Client::of(link("C", None, How::Plainly, OnCancel::Drop, &teller));
    let takes = GenericService::new("t.S").client_streaming(
        "Take",
        BytesCodec,
        |request: Request<Streaming<Bytes>>| async move {
            let mut messages = request.into_inner();
            while messages.message().await?.is_some() {}
            Ok(Response::new(Bytes::new()))
        },
    );
    let takes = Client::of(Server::builder().add_service(takes));
    let handler = move |_: Request<Bytes>| {
        let (last, takes) = (last.clone(), takes.clone());
        async move {
            let messages =
                tokio_stream::once(()).then(move |()| {
                    let last = last.clone();
                    async move {
                        ask(last, How::Plainly).await.map_or_else(|_| Bytes::new(), Response::into_inner)
                    }
                });
            takes.upload("Take", Request::new(messages)).await
        }
    };
    let service = GenericService::new("t.S").unary("Ask", BytesCodec, handler);
    let client = Client::of(Server::builder().add_service(service));
    let status = client.unary("Ask", within(text("m"), SECOND)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(told.next().await.starts_with("C has Some("));
    assert_eq!(told.next().await, "C");
}
