//! The four kinds of call, in memory and over a socket, handlers that are ready at once and handlers that are not.

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Request, Response, Status, Streaming};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{Client, endpoint, socket_endpoint, text};

fn router() -> Router {
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Later", BytesCodec, |request: Request<Bytes>| async move {
            tokio::task::yield_now().await;
            Ok(Response::new(request.into_inner()))
        })
        .server_streaming("Letters", BytesCodec, |request: Request<Bytes>| async move {
            let word = request.into_inner();
            let letters = (0..word.len()).map(move |at| Ok(word.slice(at..=at)));
            Ok(Response::new(tokio_stream::iter(letters)))
        })
        .client_streaming("Join", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut letters = request.into_inner();
            let mut word = Vec::new();
            while let Some(letter) = letters.message().await? {
                word.extend_from_slice(&letter);
            }
            Ok(Response::new(Bytes::from(word)))
        })
        .bidi_streaming("Chat", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(request.into_inner()))
        });
    Server::builder().add_service(service)
}

async fn collect(mut stream: Streaming<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

async fn all_kinds(client: &Client) -> Result<(), Status> {
    for method in ["Echo", "Later"] {
        assert_eq!(client.unary(method, text("hi")).await?.into_inner(), "hi");
    }
    let letters = collect(client.download("Letters", text("abc")).await?.into_inner()).await?;
    assert_eq!(letters, ["a", "b", "c"]);
    assert!(collect(client.download("Letters", text("")).await?.into_inner()).await?.is_empty());

    let parts = ["ab", "", "c"].map(|part| Bytes::from_static(part.as_bytes()));
    let word = client.upload("Join", Request::new(tokio_stream::iter(parts))).await?.into_inner();
    assert_eq!(word, "abc");
    let nothing = client.upload("Join", Request::new(tokio_stream::empty())).await?.into_inner();
    assert_eq!(nothing, "");

    let (say, said) = mpsc::channel(1);
    let mut answers = client.duplex("Chat", Request::new(ReceiverStream::new(said))).await?.into_inner();
    for word in ["one", "two", ""] {
        say.send(Bytes::from_static(word.as_bytes())).await.expect("the call goes on");
        assert_eq!(answers.message().await?.as_deref(), Some(word.as_bytes()));
    }
    drop(say);
    assert_eq!(answers.message().await?, None);
    assert_eq!(answers.message().await?, None, "an end stays an end");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn all_kinds_of_call_in_memory() {
    all_kinds(&Client::at(endpoint(router()))).await.unwrap();
}

#[tokio::test]
async fn all_kinds_of_call_over_a_socket() {
    all_kinds(&Client::at(socket_endpoint(router()).await)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_call_side_by_side_on_several_threads() {
    let client = Client::at(socket_endpoint(router()).await);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { all_kinds(&client).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn messages_larger_than_every_window_arrive_whole() {
    let client = Client::of(router());
    let large: Bytes = (0..3 * 1024 * 1024_u32).map(|at| at.to_le_bytes()[1]).collect::<Vec<u8>>().into();
    for method in ["Echo", "Later"] {
        assert_eq!(client.unary(method, Request::new(large.clone())).await.unwrap().into_inner(), large);
    }
    let twice = [large.slice(..1_500_000), large.slice(1_500_000..)];
    assert_eq!(
        client.upload("Join", Request::new(tokio_stream::iter(twice.clone()))).await.unwrap().into_inner(),
        large
    );
    let chat = client.duplex("Chat", Request::new(tokio_stream::iter(twice.clone()))).await.unwrap();
    assert_eq!(collect(chat.into_inner()).await.unwrap(), twice);
}
