//! What a client says of compression, and what it makes of a server's answer.

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::CompressionEncoding;
use clearway::{Code, Request};
use clearway_http2::ErrorCode;

use crate::peer::{Frame, OK_HEAD, Peer, call, call_with, connected, connected_with, feed, framed, listen};

const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

async fn reader() -> (Grpc, Peer) {
    let (grpc, peer) = connected().await;
    (grpc.accept_compressed(GZIP), peer)
}

/// A message of these octets that is flagged as compressed.
fn flagged(octets: &[u8]) -> Vec<u8> {
    let mut message = framed(octets);
    message[0] = 1;
    message
}

/// A message that is compressed.
fn zipped(message: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(message).unwrap();
    flagged(&writer.finish().unwrap())
}

fn unzipped(message: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(message).read_to_end(&mut out).unwrap();
    out
}

const HEAD: [(&str, &str); 3] = [OK_HEAD[0], OK_HEAD[1], ("grpc-encoding", "gzip")];

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_says_how_it_is_compressed_and_what_is_read_before_metadata() {
    let (grpc, mut peer) = connected().await;
    let words = Bytes::from(b"the same words ".repeat(100));
    for (grpc, encoding, accepted) in [
        (grpc.clone(), vec![], vec![]),
        (grpc.clone().accept_compressed(GZIP), vec![], vec!["gzip,identity"]),
        (grpc.clone().send_compressed(GZIP), vec!["gzip"], vec![]),
        (grpc.send_compressed(GZIP).accept_compressed(GZIP), vec!["gzip"], vec!["gzip,identity"]),
    ] {
        let mut request = Request::new(words.clone());
        request.metadata_mut().insert("x-a", "1".parse().unwrap());
        let answer = call_with(&grpc, request);
        let (id, fields, body) = peer.request().await;
        assert_eq!(values(&fields, "grpc-encoding"), encoding);
        assert_eq!(values(&fields, "grpc-accept-encoding"), accepted);
        assert_eq!(fields.last().unwrap().0, "x-a", "metadata comes last: {fields:?}");
        let message = if encoding.is_empty() { body[5..].to_vec() } else { unzipped(&body[5..]) };
        assert_eq!((body[0], message), (u8::from(!encoding.is_empty()), words.to_vec()));
        peer.answer(id, b"").await;
        assert!(answer.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_endpoint_says_holds_for_clients_that_say_nothing() {
    let tune =
        |endpoint: clearway::transport::Endpoint| endpoint.accept_compressed(GZIP).send_compressed(GZIP);
    let (grpc, mut peer) = connected_with(tune, &[]).await;
    let _answer = call(&grpc, b"short");
    let (_, fields, body) = peer.request().await;
    assert_eq!(values(&fields, "grpc-encoding"), ["gzip"]);
    assert_eq!(values(&fields, "grpc-accept-encoding"), ["gzip,identity"]);
    assert_eq!(body, framed(b"short"), "it would not get smaller");
}

#[tokio::test(start_paused = true)]
async fn responses_are_read_as_their_flags_say() {
    let (grpc, mut peer) = reader().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &HEAD, false).await;
    let wire = zipped(b"whole");
    peer.data(id, &wire[..7], false).await;
    peer.data(id, &wire[7..], false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "whole");

    let opened = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &HEAD, false).await;
    peer.data(id, &[zipped(b"one"), framed(b"two"), flagged(b""), zipped(b"three")].concat(), false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    let mut messages = opened.await.unwrap().unwrap().into_inner();
    for wanted in ["one", "two", "", "three"] {
        assert_eq!(messages.message().await.unwrap().unwrap(), wanted);
    }
    assert!(messages.message().await.unwrap().is_none());
}

/// grpc-go's server answers as it was asked, whatever is accepted.
#[tokio::test(start_paused = true)]
async fn what_a_client_writes_it_reads() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc.send_compressed(GZIP), b"");
    let (id, fields, _) = peer.request().await;
    assert!(values(&fields, "grpc-accept-encoding").is_empty());
    peer.headers(id, &HEAD, false).await;
    peer.data(id, &zipped(b"m"), false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "m");
}

#[tokio::test(start_paused = true)]
async fn an_encoding_that_was_not_offered_is_internal_and_cancels() {
    let identity = ("grpc-encoding", "identity");
    for (fields, text) in [
        ([OK_HEAD[0], OK_HEAD[1], ("grpc-encoding", "br")], "compressed by \"br\""),
        ([OK_HEAD[0], OK_HEAD[1], identity], "flagged as compressed"),
        ([OK_HEAD[0], OK_HEAD[1], ("x-a", "1")], "flagged as compressed"),
    ] {
        let (grpc, mut peer) = reader().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.headers(id, &fields, false).await;
        peer.data(id, &zipped(b"m"), false).await;
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains(text), "{status}");
        assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_inflates_beyond_the_limit_is_refused() {
    let (grpc, mut peer) = reader().await;
    let grpc = grpc.max_decoding_message_size(1000);
    let large = zipped(&[0; 1001]);
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &HEAD, false).await;
    peer.data(id, &large, false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("client's limit of 1000 (max_decoding_message_size)"), "{status}");

    let opened = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &HEAD, false).await;
    peer.data(id, &[zipped(&[0; 1000]), large].concat(), false).await;
    let mut messages = opened.await.unwrap().unwrap().into_inner();
    assert_eq!(messages.message().await.unwrap().unwrap().len(), 1000);
    assert_eq!(messages.message().await.unwrap_err().code(), Code::ResourceExhausted);
    assert!(messages.message().await.unwrap().is_none());
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_compressed_message_by_message() {
    let (grpc, mut peer) = connected().await;
    let (tell, messages) = feed();
    let opened = crate::peer::chat(&grpc.send_compressed(GZIP), messages);
    let (id, fields) = peer.head().await;
    assert_eq!(values(&fields, "grpc-encoding"), ["gzip"]);
    let words = Bytes::from(b"the same words ".repeat(100));
    for wanted in [&words, &Bytes::from_static(b"short")] {
        tell.send(wanted.clone()).unwrap();
        let Frame::Data { octets, .. } = peer.next().await else { panic!("a message") };
        let message = if octets[0] == 1 { unzipped(&octets[5..]) } else { octets[5..].to_vec() };
        assert_eq!((octets[0] == 1, message), (wanted.len() > 100, wanted.to_vec()));
    }
    drop(tell);
    peer.answer(id, b"").await;
    assert!(opened.await.unwrap().is_ok());
}
