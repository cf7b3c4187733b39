//! Metadata that follows the messages of a call that ends with OK.

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::metadata::MetadataValue;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};

use crate::raw::{framed, grpc};
use crate::raw_connection;

fn answer<T>(message: T) -> Response<T> {
    let mut response = Response::new(message);
    response.metadata_mut().insert("x-head", MetadataValue::from_static("1"));
    response.trailers_mut().insert_bin("x-sum-bin", MetadataValue::from_bytes(&[0xab]));
    response
}

fn router() -> Router {
    let service = GenericService::new("t.S")
        .unary(
            "Inline",
            BytesCodec,
            |request: Request<Bytes>| async move { Ok(answer(request.into_inner())) },
        )
        .unary("Spawned", BytesCodec, |request: Request<Bytes>| async move {
            tokio::task::yield_now().await;
            Ok(answer(request.into_inner()))
        })
        .client_streaming("Upload", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut uploaded = request.into_inner();
            let mut last = Bytes::new();
            while let Some(message) = uploaded.message().await? {
                last = message;
            }
            Ok(answer(last))
        })
        .server_streaming("Download", BytesCodec, |request: Request<Bytes>| async move {
            Ok(answer(tokio_stream::iter([Ok(request.into_inner())])))
        })
        .server_streaming("LateTrailers", BytesCodec, |request: Request<Bytes>| async move {
            let mut trailers = clearway::metadata::MetadataMap::new();
            trailers.insert_bin("x-sum-bin", MetadataValue::from_bytes(&[0xab]));
            let end = Status::with_metadata(Code::Ok, "", trailers);
            let mut response = Response::new(tokio_stream::iter([Ok(request.into_inner()), Err(end)]));
            response.metadata_mut().insert("x-head", MetadataValue::from_static("1"));
            Ok(response)
        })
        .server_streaming("Fails", BytesCodec, |request: Request<Bytes>| async move {
            Ok(answer(tokio_stream::iter([Ok(request.into_inner()), Err(Status::aborted("no"))])))
        })
        .unary("Huge", BytesCodec, |request: Request<Bytes>| async move {
            let mut response = Response::new(request.into_inner());
            let value = "v".repeat(64 * 1024).parse().expect("ASCII");
            response.trailers_mut().insert("x-huge", value);
            Ok(response)
        });
    Server::builder().add_service(service)
}

#[tokio::test(start_paused = true)]
async fn trailers_follow_the_message_in_every_kind_of_call() {
    let connection = raw_connection(router());
    for method in ["Inline", "Spawned", "Upload", "Download", "LateTrailers"] {
        let answer = connection.exchange(grpc(&format!("/t.S/{method}")), &framed(b"m")).await;
        assert_eq!(answer.body, framed(b"m"), "{method}");
        assert_eq!(answer.head("x-head"), ["1"], "{method}");
        assert!(answer.head("x-sum-bin").is_empty(), "{method}: not in the head");
        let trailers = answer.trailers.as_deref().unwrap_or_default();
        let wanted = [("grpc-status", "0"), ("x-sum-bin", "qw")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(trailers, wanted, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_stream_has_the_metadata_of_its_status_alone() {
    let answer = raw_connection(router()).exchange(grpc("/t.S/Fails"), &framed(b"m")).await;
    assert_eq!((answer.code(), answer.message()), (Code::Aborted, "no"));
    assert_eq!(answer.trailer("x-sum-bin"), None);
}

#[tokio::test(start_paused = true)]
async fn trailers_the_client_would_not_accept_become_a_status() {
    let answer = raw_connection(router()).exchange(grpc("/t.S/Huge"), &framed(b"m")).await;
    assert_eq!(answer.code(), Code::ResourceExhausted);
    assert!(answer.message().contains("exceed the client's limit"), "{}", answer.message());
}
