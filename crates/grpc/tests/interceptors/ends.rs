//! One end, whatever happens: refusals, failures, calls that are dropped, deadlines.

use std::time::Duration;

use clearway::Code;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::intercept::{Call, Intercept, InterceptedService, Watch};
use clearway::metadata::MetadataMap;
use clearway::transport::{Channel, Endpoint, Processed, Server};
use clearway::{Request, Status};

use crate::service::{path, service, text, texts, unary};
use crate::story::{Story, Teller};

/// Refuses everything.
struct Refuse;

impl Intercept for Refuse {
    type Watch = ();

    async fn begin(&self, call: &mut Call) -> Result<(), Status> {
        Err(Status::permission_denied(format!("no {}", call.method())))
    }
}

/// Never makes up its mind.
struct Hang;

impl Intercept for Hang {
    type Watch = ();

    async fn begin(&self, _: &mut Call) -> Result<(), Status> {
        core::future::pending().await
    }
}

fn client(ours: &Story, theirs: &Story) -> Grpc<InterceptedService<Channel, Teller>> {
    let router = Server::builder().interceptor(theirs.teller("server")).add_service(service());
    Grpc::new(InterceptedService::new(router.in_process(), ours.teller("client")))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_goes_no_further() {
    let (ours, theirs) = (Story::default(), Story::default());
    let router = Server::builder().interceptor(theirs.teller("server")).add_service(service());
    let inner =
        InterceptedService::new(InterceptedService::new(router.in_process(), ours.teller("inner")), Refuse);
    let client = Grpc::new(InterceptedService::new(inner, ours.teller("outer")));
    let status = unary(&client, "Echo", text("hi")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no Echo"));
    let status = client.bidi_streaming(texts(&["a"]), path("Chat"), BytesCodec).await.unwrap_err();
    assert_eq!(status.message(), "no Chat");
    assert_eq!(
        ours.take(),
        [
            "outer begin Client Unary /t.S/Echo",
            "outer end PERMISSION_DENIED 0/0 0/0",
            "outer begin Client BidiStreaming /t.S/Chat",
            "outer end PERMISSION_DENIED 0/0 0/0"
        ]
    );
    assert!(theirs.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_refuses_before_its_handler_runs() {
    let (ours, theirs) = (Story::default(), Story::default());
    let router = Server::builder()
        .interceptor(theirs.teller("outer"))
        .interceptor(Refuse)
        .interceptor(theirs.teller("inner"))
        .add_service(service());
    let client = Grpc::new(InterceptedService::new(router.in_process(), ours.teller("client")));
    let status = unary(&client, "Never", text("hi")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no Never"));
    let status = client.client_streaming(texts(&["a"]), path("Join"), BytesCodec).await.unwrap_err();
    assert_eq!(status.message(), "no Join");
    assert_eq!(theirs.take().len(), 4);
    assert_eq!(ours.take().last().unwrap(), "client end PERMISSION_DENIED 1/1 0/0");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_was_cancelled_on_both_sides() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let call = unary(&client, "Never", text("hi"));
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    assert_eq!(ours.take().last().unwrap(), "client end CANCELLED cancelled 1/2 0/0");
    assert_eq!(
        theirs.until("server end").await[1..],
        ["server received 2", "server end CANCELLED cancelled 0/0 1/2"]
    );

    let mut stream =
        client.server_streaming(text("x"), path("Endless"), BytesCodec).await.unwrap().into_inner();
    for _ in 0..3 {
        stream.message().await.unwrap();
    }
    ours.take();
    drop(stream);
    assert_eq!(ours.take(), ["client end CANCELLED cancelled 1/1 3/3"]);
    let told = theirs.until("server end").await;
    assert!(told.last().unwrap().starts_with("server end CANCELLED cancelled"), "{told:?}");
    assert_eq!(told.iter().filter(|line| line.starts_with("server end")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_to_its_end_is_not_cancelled_when_it_is_dropped() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let mut stream =
        client.server_streaming(text("x"), path("Letters"), BytesCodec).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    drop(stream);
    let ends = |told: Vec<String>| told.into_iter().filter(|line| line.contains(" end ")).collect::<Vec<_>>();
    assert_eq!(ends(ours.take()), ["client end OK 1/1 1/1"]);
    assert_eq!(ends(theirs.take()), ["server end OK 1/1 1/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_the_end_of_a_call() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let mut request = text("hi");
    request.set_timeout(Duration::from_secs(1));
    let status = unary(&client, "Never", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(ours.take().last().unwrap(), "client end DEADLINE_EXCEEDED 1/2 0/0");
    let told = theirs.until("server end").await;
    assert_eq!(told.last().unwrap(), "server end DEADLINE_EXCEEDED cancelled 0/0 1/2");
}

#[tokio::test(start_paused = true)]
async fn what_an_interceptor_waits_for_counts_against_the_deadline() {
    let ours = Story::default();
    let channel = Endpoint::from_static("http://127.0.0.1:1").timeout(Duration::from_secs(2)).connect_lazy();
    let client =
        Grpc::new(InterceptedService::new(InterceptedService::new(channel, Hang), ours.teller("outer")));
    let began = tokio::time::Instant::now();
    let status = unary(&client, "Echo", text("hi")).await.unwrap_err();
    assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 2));
    assert!(status.message().contains("in an interceptor"), "{status}");
    assert_eq!(ours.take().last().unwrap(), "outer end DEADLINE_EXCEEDED cancelled 0/0 0/0");
}

/// Hangs when it is told the head.
#[derive(Clone)]
struct HangAtHead;

impl Intercept for HangAtHead {
    type Watch = Self;

    async fn begin(&self, _: &mut Call) -> Result<Self, Status> {
        Ok(Self)
    }
}

impl Watch for HangAtHead {
    async fn head(&self, _: &mut MetadataMap) -> Result<(), Status> {
        core::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_interceptor_that_hangs_at_the_head_of_a_response_ends_with_the_call() {
    let channel = Server::builder().add_service(service()).in_process();
    let client = Grpc::new(InterceptedService::new(channel, HangAtHead));
    for method in ["Echo", "Letters"] {
        let mut request: Request<bytes::Bytes> = text("hi");
        request.set_timeout(Duration::from_secs(1));
        let ended = match method {
            "Echo" => unary(&client, method, request).await.err(),
            _ => client.server_streaming(request, path(method), BytesCodec).await.err(),
        };
        let status = ended.unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("in an interceptor"), "{status}");
        assert_eq!(status.transport().unwrap().processed, Processed::Maybe);
    }
}

#[tokio::test(start_paused = true)]
async fn a_servers_interceptor_that_hangs_ends_with_the_call() {
    let theirs = Story::default();
    let router =
        Server::builder().interceptor(theirs.teller("outer")).interceptor(Hang).add_service(service());
    let client = Grpc::new(router.in_process());
    for method in ["Echo", "Letters"] {
        let mut request: Request<bytes::Bytes> = text("hi");
        request.set_timeout(Duration::from_secs(1));
        let ended = match method {
            "Echo" => unary(&client, method, request).await.err(),
            _ => client.server_streaming(request, path(method), BytesCodec).await.err(),
        };
        assert_eq!(ended.unwrap().code(), Code::DeadlineExceeded);
        let told = theirs.until("outer end").await;
        assert_eq!(told.last().unwrap(), "outer end DEADLINE_EXCEEDED cancelled 0/0 0/0");
    }
}
