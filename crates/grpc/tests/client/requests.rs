//! What a request looks like on the wire.

use std::time::Duration;

use bytes::Bytes;
use clearway::Code;
use clearway::Request;
use clearway::metadata::MetadataValue;

use crate::peer::{call, call_with, connected, connected_with, framed};

fn names(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|field| field.0.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn fields_go_out_in_the_order_of_the_protocol_page() {
    let (grpc, mut peer) = connected().await;
    let mut request = Request::new(Bytes::from_static(b"hi"));
    request.set_timeout(Duration::from_secs(1));
    request.metadata_mut().insert("x-a", "1".parse().unwrap());
    request.metadata_mut().insert_bin("x-b-bin", MetadataValue::from_bytes(&[0, 255]));
    request.metadata_mut().insert("grpc-timeout", "9H".parse().unwrap());
    let answer = call_with(&grpc, request);
    let (id, fields, body) = peer.request().await;
    let names = names(&fields);
    assert_eq!(
        names,
        [
            ":method",
            ":scheme",
            ":path",
            ":authority",
            "grpc-timeout",
            "te",
            "content-type",
            "user-agent",
            "x-a",
            "x-b-bin"
        ]
    );
    let values: Vec<_> = fields.iter().map(|field| field.1.as_str()).collect();
    assert_eq!(values[..4], ["POST", "http", "/test.Service/Method", "test.example:50051"]);
    assert_eq!(values[5..7], ["trailers", "application/grpc"]);
    assert!(values[7].starts_with("grpc-rust-clearway/"), "{}", values[7]);
    assert_eq!(values[8..], ["1", "AP8"]);
    assert_eq!(body, framed(b"hi"));
    peer.answer(id, b"ho").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "ho");
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_names_the_server_and_the_program() {
    let tune = |endpoint: clearway::transport::Endpoint| {
        endpoint.origin("other.example").unwrap().user_agent("shop/3").unwrap()
    };
    let (grpc, mut peer) = connected_with(tune, &[]).await;
    let _answer = call(&grpc, b"");
    let (_, fields, _) = peer.request().await;
    assert_eq!(fields[3].1, "other.example");
    let agent = &fields.iter().find(|field| field.0 == "user-agent").unwrap().1;
    assert!(agent.starts_with("shop/3 grpc-rust-clearway/"), "{agent}");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_deadline_has_no_grpc_timeout() {
    let (grpc, mut peer) = connected().await;
    let _answer = call(&grpc, b"");
    let (_, fields, body) = peer.request().await;
    assert!(!names(&fields).contains(&"grpc-timeout"));
    assert_eq!(body, [0; 5], "an empty message is a message");
}

#[tokio::test(start_paused = true)]
async fn headers_beyond_the_peers_limit_fail_the_call_by_name_and_no_other() {
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    let (grpc, mut peer) = connected_with(|endpoint| endpoint, &[(MAX_HEADER_LIST_SIZE, 1000)]).await;
    let mut request = Request::new(Bytes::new());
    request.metadata_mut().insert("x-big", "v".repeat(1000).parse().unwrap());
    let status = call_with(&grpc, request).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("peer's limit of 1000"), "{status}");
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.answer(id, b"fine").await;
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_message_above_the_send_limit_is_not_sent() {
    let (grpc, mut peer) = connected().await;
    let small = grpc.clone().max_encoding_message_size(3);
    let status = call(&small, b"four").await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("max_encoding_message_size"), "{status}");
    peer.expect_silence().await;
}
