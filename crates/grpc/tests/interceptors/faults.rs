//! Faults on purpose, on either side, over a connection in memory.

use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::faults::{Fault, Faults};
use clearway::intercept::InterceptedService;
use clearway::server::{GenericService, OnCancel};
use clearway::transport::{Channel, Server, TransportEvent};
use clearway::{Code, Request, Response, Status};
use clearway_http2::ErrorCode;

use crate::service::{collect, path, service, text, texts, unary};

type Client = Grpc<InterceptedService<Channel, Faults>>;

/// A client of a server that has these faults, and a client that has them itself.
fn both(faults: impl Fn() -> Faults) -> [(Client, Faults); 2] {
    let (theirs, ours) = (faults(), faults());
    let served = Server::builder().interceptor(theirs.clone()).add_service(service()).in_process();
    let plain = Server::builder().add_service(service()).in_process();
    [
        (Grpc::new(InterceptedService::new(served, Faults::seeded(0))), theirs),
        (Grpc::new(InterceptedService::new(plain, ours.clone())), ours),
    ]
}

#[tokio::test(start_paused = true)]
async fn calls_are_delayed_and_failed_by_method() {
    let faults = || {
        Faults::seeded(1)
            .on("/t.S/Echo", Fault::delay(Duration::from_secs(3)))
            .on("/t.S/L*", Fault::fail(Status::data_loss("injected")))
    };
    for (client, faults) in both(faults) {
        let began = tokio::time::Instant::now();
        assert_eq!(unary(&client, "Echo", text("hi")).await.unwrap().into_inner(), "hi");
        assert_eq!(began.elapsed().as_secs(), 3);
        assert_eq!(unary(&client, "Later", text("hi")).await.unwrap_err().code(), Code::DataLoss);
        let letters = client.server_streaming(text("hi"), path("Letters"), BytesCodec).await;
        assert_eq!(letters.unwrap_err().message(), "injected");
        let word = client.client_streaming(texts(&["a"]), path("Join"), BytesCodec).await.unwrap();
        assert_eq!(word.into_inner(), "a", "no rule is for it");
        let told: Vec<_> = faults.injected().into_iter().map(|one| (one.path, one.call, one.fault)).collect();
        assert_eq!(
            told,
            [
                ("/t.S/Echo".to_owned(), 0, "delay 3s".to_owned()),
                ("/t.S/Later".to_owned(), 0, "fail DATA_LOSS: injected".to_owned()),
                ("/t.S/Letters".to_owned(), 0, "fail DATA_LOSS: injected".to_owned()),
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_reset_and_their_callers_are_told_by_what() {
    for (client, _) in both(|| Faults::seeded(1).on("*", Fault::reset(ErrorCode::ENHANCE_YOUR_CALM))) {
        for method in ["Echo", "Later"] {
            let status = unary(&client, method, text("hi")).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            let event = status.transport().map(|cause| cause.event.clone());
            let code = ErrorCode::ENHANCE_YOUR_CALM;
            assert!(
                matches!(&event, Some(TransportEvent::Reset { code: seen, .. }) if *seen == code),
                "{event:?}"
            );
        }
        let chat = client.bidi_streaming(texts(&["a"]), path("Chat"), BytesCodec).await.unwrap_err();
        assert_eq!(chat.code(), Code::ResourceExhausted, "{chat}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_calls_end_by_their_deadline() {
    for (client, _) in both(|| Faults::seeded(1).on("*", Fault::lose())) {
        let mut request = text("hi");
        request.set_timeout(Duration::from_secs(2));
        let began = tokio::time::Instant::now();
        let status = unary(&client, "Echo", request).await.unwrap_err();
        assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 2));
    }
}

/// A call that has got no further than its interceptors is called off with its handler's, too.
#[tokio::test(start_paused = true)]
async fn a_lost_call_ends_with_the_call_it_is_made_for() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |request: Request<Bytes>| {
        let tell = tell.clone();
        async move {
            let faults = Faults::seeded(1).on("*", Fault::lose());
            let plain = Server::builder().add_service(service()).in_process();
            let client = Grpc::new(InterceptedService::new(plain, faults));
            let status = unary(&client, "Echo", request).await.unwrap_err();
            tell.send(status.code()).unwrap();
            Err::<Response<Bytes>, _>(status)
        }
    };
    let service =
        GenericService::new("t.S").when_cancelled(OnCancel::Token).unary("Ask", BytesCodec, handler);
    let outer = Grpc::new(Server::builder().add_service(service).in_process());
    let call = tokio::spawn(async move { unary(&outer, "Ask", text("hi")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(told.try_recv().is_err());
    call.abort();
    let code = tokio::time::timeout(Duration::from_secs(1), told.recv()).await;
    assert_eq!(code.expect("it is called off"), Some(Code::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn streams_are_cut_in_the_middle() {
    for (client, _) in both(|| Faults::seeded(1).on("*", Fault::cut_after(2))) {
        let letters = client.server_streaming(text("abc"), path("Letters"), BytesCodec).await.unwrap();
        let mut letters = letters.into_inner();
        // A reset overtakes what was not read yet, as it does on any connection.
        let mut seen = Vec::new();
        let status = loop {
            match letters.message().await {
                Ok(Some(letter)) => seen.push(letter),
                Ok(None) => panic!("it has no end"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::Cancelled, "{status}");
        assert!(seen.len() <= 2, "{seen:?}");
        let letters = client.server_streaming(text("ab"), path("Letters"), BytesCodec).await.unwrap();
        assert_eq!(collect(letters.into_inner()).await.unwrap(), ["a", "b"], "two may pass");
        let upload = client.client_streaming(texts(&["a", "b", "c"]), path("Join"), BytesCodec).await;
        assert_eq!(upload.unwrap_err().code(), Code::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_corrupted_by_one_octet() {
    let differs = |got: &Bytes, sent: &[u8]| {
        assert_eq!(got.len(), sent.len());
        got.iter().zip(sent).filter(|(got, sent)| got != sent).count()
    };
    let mut all = Vec::new();
    for _ in 0..2 {
        for (client, _) in both(|| Faults::seeded(1).on("*", Fault::corrupt())) {
            for method in ["Echo", "Later"] {
                let answer = unary(&client, method, text("some words")).await.unwrap().into_inner();
                assert_eq!(differs(&answer, b"some words"), 1);
                all.push(answer);
            }
            let chat =
                client.bidi_streaming(texts(&["some words", ""]), path("Chat"), BytesCodec).await.unwrap();
            let answers = collect(chat.into_inner()).await.unwrap();
            assert_eq!((differs(&answers[0], b"some words"), answers[1].len()), (1, 0));
        }
    }
    assert_eq!(all[..4], all[4..], "the same seed, the same octets");
}

#[tokio::test(start_paused = true)]
async fn a_share_of_calls_fails_and_the_same_again_for_the_same_seed() {
    let run = async |seed| {
        let faults = Faults::seeded(seed).on("/t.S/Echo", Fault::fail(Status::aborted("no")).share(0.2));
        let channel = Server::builder().interceptor(faults.clone()).add_service(service()).in_process();
        let client = Grpc::new(channel);
        let mut failed = Vec::new();
        for call in 0..200_u64 {
            let request: Request<Bytes> = text("hi");
            if unary(&client, "Echo", request).await.is_err() {
                failed.push(call);
            }
        }
        assert_eq!(failed, faults.injected().iter().map(|injected| injected.call).collect::<Vec<_>>());
        failed
    };
    let first = run(11).await;
    assert!((20..60).contains(&first.len()), "{first:?}");
    assert_eq!(first, run(11).await);
    assert_ne!(first, run(12).await);
}
