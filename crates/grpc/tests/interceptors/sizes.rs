//! All four kinds of call, on both sides: every message is told of as it passes, and one end.

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::intercept::InterceptedService;
use clearway::transport::{Channel, Server};

use crate::service::{collect, path, service, text, texts, unary};
use crate::story::{Story, Teller};

fn client(ours: &Story, theirs: &Story) -> Grpc<InterceptedService<Channel, Teller>> {
    let router = Server::builder().interceptor(theirs.teller("server")).add_service(service());
    Grpc::new(InterceptedService::new(router.in_process(), ours.teller("client")))
}

#[tokio::test(start_paused = true)]
async fn unary_calls_are_heard_from_begin_to_end() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    for method in ["Echo", "Later"] {
        assert_eq!(unary(&client, method, text("four")).await.unwrap().into_inner(), "four");
        assert_eq!(
            ours.take(),
            [
                &format!("client begin Client Unary /t.S/{method}"),
                "client sent 4",
                "client head",
                "client received 4",
                "client end OK 1/4 1/4"
            ]
        );
        assert_eq!(
            theirs.take(),
            [
                &format!("server begin Server Unary /t.S/{method}"),
                "server received 4",
                "server head",
                "server sent 4",
                "server end OK 1/4 1/4"
            ]
        );
    }
    let status = unary(&client, "Echo", text("fail")).await.unwrap_err();
    assert_eq!(status.message(), "nothing here");
    assert_eq!(ours.take()[1..], ["client sent 4", "client end NOT_FOUND 1/4 0/0"]);
    assert_eq!(theirs.take()[1..], ["server received 4", "server end NOT_FOUND 0/0 1/4"]);
}

#[tokio::test(start_paused = true)]
async fn downloads_are_heard_message_by_message() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let letters = client.server_streaming(text("abc"), path("Letters"), BytesCodec).await.unwrap();
    assert_eq!(
        ours.take(),
        ["client begin Client ServerStreaming /t.S/Letters", "client sent 3", "client head"]
    );
    assert_eq!(collect(letters.into_inner()).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(
        ours.take(),
        ["client received 1", "client received 1", "client received 1", "client end OK 1/3 3/3"]
    );
    assert_eq!(
        theirs.take(),
        [
            "server begin Server ServerStreaming /t.S/Letters",
            "server received 3",
            "server head",
            "server sent 1",
            "server sent 1",
            "server sent 1",
            "server end OK 3/3 1/3"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn uploads_are_heard_message_by_message() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let word = client.client_streaming(texts(&["ab", "", "c"]), path("Join"), BytesCodec).await.unwrap();
    assert_eq!(word.into_inner(), "abc");
    assert_eq!(
        ours.take(),
        [
            "client begin Client ClientStreaming /t.S/Join",
            "client sent 2",
            "client sent 0",
            "client sent 1",
            "client head",
            "client received 3",
            "client end OK 3/3 1/3"
        ]
    );
    assert_eq!(
        theirs.take(),
        [
            "server begin Server ClientStreaming /t.S/Join",
            "server received 2",
            "server received 0",
            "server received 1",
            "server sent 3",
            "server head",
            "server end OK 1/3 3/3"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn streams_both_ways_are_heard_on_both_sides() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let answers = client.bidi_streaming(texts(&["one", "three"]), path("Chat"), BytesCodec).await.unwrap();
    assert_eq!(collect(answers.into_inner()).await.unwrap(), ["one", "three"]);
    let told = ours.take();
    for line in ["client sent 3", "client sent 5", "client received 3", "client received 5"] {
        assert_eq!(told.iter().filter(|told| *told == line).count(), 1, "{line} in {told:?}");
    }
    assert_eq!(told.last().unwrap(), "client end OK 2/8 2/8");
    let told = theirs.take();
    assert_eq!(told.len(), 7, "{told:?}");
    assert_eq!(told.last().unwrap(), "server end OK 2/8 2/8");
}

#[tokio::test]
async fn large_messages_are_whole_to_those_who_hear_of_them() {
    let (ours, theirs) = (Story::default(), Story::default());
    let client = client(&ours, &theirs);
    let large = Bytes::from(vec![7; 3_000_000]);
    let chat = client.bidi_streaming(
        clearway::Request::new(tokio_stream::iter([large.clone(), large.clone()])),
        path("Chat"),
        BytesCodec,
    );
    assert_eq!(collect(chat.await.unwrap().into_inner()).await.unwrap(), [large.clone(), large]);
    assert_eq!(ours.take().last().unwrap(), "client end OK 2/6000000 2/6000000");
    assert_eq!(theirs.until("server end").await.last().unwrap(), "server end OK 2/6000000 2/6000000");
}
