//! The four kinds of call, whatever is around them.

use bytes::Bytes;
use clearway::client::{Grpc, GrpcService};
use clearway::codec::BytesCodec;
use clearway::{Code, Request};

use crate::service::{collect, path, text, texts, unary};

pub(crate) async fn all_kinds<T: GrpcService>(client: &Grpc<T>) {
    for method in ["Echo", "Later"] {
        assert_eq!(unary(client, method, text("hi")).await.unwrap().into_inner(), "hi");
        assert_eq!(unary(client, method, text("")).await.unwrap().into_inner(), "");
    }
    let status = unary(client, "Echo", text("fail")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "nothing here"));

    let letters = client.server_streaming(text("abc"), path("Letters"), BytesCodec).await.unwrap();
    assert_eq!(collect(letters.into_inner()).await.unwrap(), ["a", "b", "c"]);
    let nothing = client.server_streaming(text(""), path("Letters"), BytesCodec).await.unwrap();
    assert!(collect(nothing.into_inner()).await.unwrap().is_empty());

    let word = client.client_streaming(texts(&["ab", "", "c"]), path("Join"), BytesCodec).await.unwrap();
    assert_eq!(word.into_inner(), "abc");
    let nothing = client.client_streaming(texts(&[]), path("Join"), BytesCodec).await.unwrap();
    assert_eq!(nothing.into_inner(), "");

    // One word at a time: nothing on the way may wait for the next.
    let (say, said) = tokio::sync::mpsc::channel(1);
    let words = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut answers =
        client.bidi_streaming(Request::new(words), path("Chat"), BytesCodec).await.unwrap().into_inner();
    for word in ["one", "two", ""] {
        say.send(Bytes::from_static(word.as_bytes())).await.unwrap();
        assert_eq!(answers.message().await.unwrap().as_deref(), Some(word.as_bytes()));
    }
    drop(say);
    assert_eq!(answers.message().await.unwrap(), None);

    let large = Bytes::from((0..2_500_000_u32).map(|at| at.to_le_bytes()[1]).collect::<Vec<u8>>());
    assert_eq!(unary(client, "Echo", Request::new(large.clone())).await.unwrap().into_inner(), large);
    let twice = Request::new(tokio_stream::iter([large.clone(), large.clone()]));
    let chat = client.bidi_streaming(twice, path("Chat"), BytesCodec).await.unwrap();
    assert_eq!(collect(chat.into_inner()).await.unwrap(), [large.clone(), large]);

    let status = unary(client, "Unknown", text("hi")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
