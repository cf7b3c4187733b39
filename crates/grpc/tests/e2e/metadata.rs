//! Metadata both ways: text, octets, several values of one key, and what failed calls bring.

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::metadata::{MetadataMap, MetadataValue};
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status};

use crate::raw::{framed, grpc};
use crate::{Client, raw_connection, text};

/// Values that a careless encoder would spoil.
const OCTETS: [&[u8]; 4] = [&[], &[0], b"a,b=", &[0xff, 0xfe, 0xfd, 0xfc]];

fn fill(metadata: &mut MetadataMap) {
    for value in ["one", "two, three", "", "~ !"] {
        metadata.append("x-text", value.parse().expect("ASCII"));
    }
    for octets in OCTETS {
        metadata.append_bin("x-octets-bin", MetadataValue::from_bytes(octets));
    }
}

fn assert_filled(metadata: &MetadataMap, whose: &str) {
    let texts: Vec<_> = metadata.get_all("x-text").iter().map(|value| value.as_bytes()).collect();
    assert_eq!(texts, [&b"one"[..], b"two, three", b"", b"~ !"], "{whose}");
    let octets: Vec<_> =
        metadata.get_all_bin("x-octets-bin").iter().map(|value| value.to_bytes().expect("base64")).collect();
    assert_eq!(octets, OCTETS, "{whose}");
}

/// Every method checks what came and sends the same back.
fn router() -> Router {
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            assert_filled(request.metadata(), "request");
            let mut response = Response::new(request.into_inner());
            fill(response.metadata_mut());
            Ok(response)
        })
        .unary("Trailing", BytesCodec, |request: Request<Bytes>| async move {
            let mut response = Response::new(request.into_inner());
            fill(response.trailers_mut());
            Ok(response)
        })
        .server_streaming("Stream", BytesCodec, |request: Request<Bytes>| async move {
            assert_filled(request.metadata(), "request");
            let mut response = Response::new(tokio_stream::iter([Ok(request.into_inner())]));
            fill(response.metadata_mut());
            fill(response.trailers_mut());
            Ok(response)
        })
        .unary("Fail", BytesCodec, |_: Request<Bytes>| async move { Err::<Response<Bytes>, _>(failure()) })
        .server_streaming("FailLate", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(tokio_stream::iter([Ok(request.into_inner()), Err(failure())])))
        });
    Server::builder().add_service(service)
}

const TEXT: &str = "50 % of it,\nand \u{2603}";

fn failure() -> Status {
    let details = Bytes::from_static(&[8, 10, 0xff]);
    let mut metadata = MetadataMap::new();
    fill(&mut metadata);
    Status::with_details_and_metadata(Code::Aborted, TEXT, details, metadata)
}

fn assert_failure(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::Aborted, TEXT));
    assert_eq!(status.details(), [8, 10, 0xff]);
    assert_filled(status.metadata(), "status");
    assert!(status.transport().is_none(), "the handler said it");
}

#[tokio::test(start_paused = true)]
async fn metadata_arrives_as_it_was_put_in() {
    let client = Client::of(router());
    let mut request = text("m");
    fill(request.metadata_mut());
    assert_filled(client.unary("Echo", request).await.unwrap().metadata(), "response");
    assert_filled(client.unary("Trailing", text("m")).await.unwrap().metadata(), "trailers of a unary call");

    let mut request = text("m");
    fill(request.metadata_mut());
    let response = client.download("Stream", request).await.unwrap();
    assert_filled(response.metadata(), "response");
    let trailers = response.into_inner().trailers().await.unwrap().expect("it has ended");
    assert_filled(&trailers, "trailers");
}

#[tokio::test(start_paused = true)]
async fn a_failure_brings_message_details_and_metadata() {
    let client = Client::of(router());
    assert_failure(&client.unary("Fail", text("m")).await.unwrap_err());
    let mut stream = client.download("FailLate", text("m")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().as_deref(), Some(&b"m"[..]));
    assert_failure(&stream.message().await.unwrap_err());
    assert_eq!(stream.message().await.unwrap(), None, "a failure is told once");
}

#[tokio::test(start_paused = true)]
async fn names_of_the_protocol_are_not_the_handlers_to_see_or_the_callers_to_set() {
    let service =
        GenericService::new("t.S").unary("Keys", BytesCodec, |request: Request<Bytes>| async move {
            let metadata = request.metadata();
            let seen = ["grpc-timeout", "content-type", "te", ":path", "grpc-future", "x-own"]
                .into_iter()
                .filter(|key| metadata.contains_key(key))
                .collect::<Vec<_>>()
                .join(" ");
            Ok(Response::new(Bytes::from(seen)))
        });
    let client = Client::of(Server::builder().add_service(service));
    let mut request = text("");
    for key in ["grpc-timeout", "content-type", "te", "grpc-future", "x-own"] {
        let key: clearway::metadata::MetadataKey<_> = key.parse().unwrap();
        request.metadata_mut().insert(key, MetadataValue::from_static("1S"));
    }
    assert_eq!(client.unary("Keys", request).await.unwrap().into_inner(), "x-own");
}

#[tokio::test(start_paused = true)]
async fn binary_values_joined_by_a_proxy_are_taken_apart() {
    let service =
        GenericService::new("t.S").unary("Count", BytesCodec, |request: Request<Bytes>| async move {
            let octets: Vec<_> = request
                .metadata()
                .get_all_bin("x-bin")
                .iter()
                .map(|value| value.to_bytes().expect("base64"))
                .collect();
            Ok(Response::new(Bytes::from(format!("{octets:?}"))))
        });
    let connection = raw_connection(Server::builder().add_service(service));
    let mut head = grpc("/t.S/Count");
    head.push(("x-bin".into(), "YQ,Yg==".into()));
    head.push(("x-bin".into(), "Yw".into()));
    let answer = connection.exchange(head, &framed(b"")).await;
    assert_eq!(answer.body, framed(br#"[b"a", b"b", b"c"]"#), "{answer:?}");
}
