//! What the server answers, and the status it becomes.

use clearway::Code;
use clearway::transport::{Processed, TransportEvent};
use clearway_http2::{By, ErrorCode};

use crate::peer::{Frame, OK_HEAD, call, chat, connected, feed, framed, listen};

/// The status of a unary call that is answered by one HEADERS frame.
async fn answered_by(fields: &[(&str, &str)]) -> clearway::Status {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, fields, true).await;
    answer.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn head_and_trailers_are_one_map_for_a_unary_call() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &[OK_HEAD[0], OK_HEAD[1], ("x-head", "1")], false).await;
    let wire = framed(b"whole");
    peer.data(id, &wire[..3], false).await;
    peer.data(id, &wire[3..], false).await;
    peer.trailers(id, &[("grpc-status", "0"), ("x-tail", "2")]).await;
    let response = answer.await.unwrap().unwrap();
    assert_eq!(response.metadata().get("x-head").unwrap(), "1");
    assert_eq!(response.metadata().get("x-tail").unwrap(), "2");
    assert_eq!(response.into_inner(), "whole");
}

#[tokio::test(start_paused = true)]
async fn head_and_trailers_are_one_map_for_a_unary_call_that_fails_too() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &[OK_HEAD[0], OK_HEAD[1], ("x-both", "1")], false).await;
    peer.trailers(id, &[("grpc-status", "9"), ("x-both", "2")]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let values: Vec<_> = status.metadata().get_all("x-both").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(values, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_skipped() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &[(":status", "100")], false).await;
    peer.headers(id, &[(":status", "103"), ("link", "</a>")], false).await;
    peer.answer(id, b"x").await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_trailers_only_response_is_a_status_with_trailers() {
    let status = answered_by(&[
        OK_HEAD[0],
        OK_HEAD[1],
        ("grpc-status", "5"),
        ("grpc-message", "no %E2%98%BA"),
        ("x-why", "gone"),
    ])
    .await;
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no ☺"));
    assert_eq!(status.metadata().get("x-why").unwrap(), "gone");
    assert!(status.transport().is_none(), "the server said so, not the transport");
}

#[tokio::test(start_paused = true)]
async fn without_grpc_status_the_http_status_decides() {
    for (http, code) in [
        ("400", Code::Internal),
        ("401", Code::Unauthenticated),
        ("403", Code::PermissionDenied),
        ("404", Code::Unimplemented),
        ("429", Code::Unavailable),
        ("502", Code::Unavailable),
        ("503", Code::Unavailable),
        ("504", Code::Unavailable),
        ("500", Code::Unknown),
    ] {
        let status = answered_by(&[(":status", http), ("content-type", "text/html")]).await;
        assert_eq!(status.code(), code, "{http}");
        assert!(status.message().contains(http) && status.message().contains("text/html"), "{status}");
    }
    let status = answered_by(&[(":status", "503"), OK_HEAD[1], ("grpc-status", "9")]).await;
    assert_eq!(status.code(), Code::FailedPrecondition, "only when grpc-status is absent");
    let status = answered_by(&OK_HEAD).await;
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("no grpc-status"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_grpc_fails_by_name_and_is_cancelled() {
    for (fields, code, text) in [
        (vec![(":status", "200"), ("content-type", "text/html")], Code::Unknown, "text/html"),
        (vec![(":status", "200")], Code::Unknown, "no content-type"),
        (vec![(":status", "200"), ("content-type", "application/grpc-web")], Code::Unknown, "grpc-web"),
        (vec![(":status", "502"), ("content-type", "text/html")], Code::Unavailable, "502"),
        (vec![OK_HEAD[0], OK_HEAD[1], ("grpc-encoding", "gzip")], Code::Internal, "gzip"),
    ] {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.headers(id, &fields, false).await;
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(text), "{status}");
        assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    }
}

#[tokio::test(start_paused = true)]
async fn content_types_with_a_suffix_are_grpc() {
    for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.headers(id, &[(":status", "200"), ("content-type", content_type)], false).await;
        peer.data(id, &framed(b""), false).await;
        peer.trailers(id, &[("grpc-status", "0")]).await;
        assert!(answer.await.unwrap().is_ok(), "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn anything_but_one_message_in_a_unary_response_is_unimplemented() {
    for count in [0usize, 2, 3, 100] {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.headers(id, &OK_HEAD, false).await;
        peer.data(id, &framed(b"m").repeat(count), false).await;
        peer.trailers(id, &[("grpc-status", "0")]).await;
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{count}: {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_error_stands_whatever_messages_came_before_it() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"m").repeat(2), false).await;
    peer.data(id, &[0, 0], false).await;
    peer.trailers(id, &[("grpc-status", "10"), ("grpc-message", "stop")]).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "stop"));
}

#[tokio::test(start_paused = true)]
async fn an_end_in_the_middle_of_a_message_is_internal() {
    let cut = &framed(b"message")[..8];
    for by_trailers in [true, false] {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.headers(id, &OK_HEAD, false).await;
        peer.data(id, cut, !by_trailers).await;
        if by_trailers {
            peer.trailers(id, &[("grpc-status", "0")]).await;
        }
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("middle of a message"), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_without_trailers_is_unknown() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"m"), true).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("no grpc-status"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_message_above_the_limit_fails_at_its_prefix_and_cancels() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc.clone().max_decoding_message_size(1000), b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &[0, 0, 0, 0x03, 0xe9], false).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    for text in ["1001", "1000", "max_decoding_message_size"] {
        assert!(status.message().contains(text), "{status}");
    }
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
}

#[tokio::test(start_paused = true)]
async fn bad_prefixes_are_internal() {
    for prefix in [[2, 0, 0, 0, 0], [1, 0, 0, 0, 0]] {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.headers(id, &OK_HEAD, false).await;
        peer.data(id, &prefix, false).await;
        assert_eq!(answer.await.unwrap().unwrap_err().code(), Code::Internal);
        assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_maps_by_its_code_and_says_who_did_it() {
    for (code, expected) in [
        (ErrorCode::NO_ERROR, Code::Internal),
        (ErrorCode::PROTOCOL_ERROR, Code::Internal),
        (ErrorCode::CANCEL, Code::Cancelled),
        (ErrorCode::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (ErrorCode::INADEQUATE_SECURITY, Code::PermissionDenied),
        (ErrorCode::HTTP_1_1_REQUIRED, Code::Unknown),
        (ErrorCode(0xbeef), Code::Unknown),
    ] {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"");
        let (id, ..) = peer.request().await;
        peer.reset(id, code).await;
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!(status.code(), expected, "{code}");
        let cause = status.transport().unwrap();
        assert_eq!(cause.event, TransportEvent::Reset { code, by: By::Peer, rule: None });
        assert_eq!(cause.processed, Processed::Maybe);
        assert!(cause.connection.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_after_the_trailers_changes_nothing() {
    let (grpc, mut peer) = connected().await;
    let (_feed, messages) = feed();
    let call = chat(&grpc, messages);
    let (id, _) = peer.head().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.trailers(id, &[("grpc-status", "0")]).await;
    peer.reset(id, ErrorCode::NO_ERROR).await;
    let mut stream = call.await.unwrap().unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_rule_the_server_breaks_on_a_stream_is_internal_and_named() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &[("no-status", "1")], false).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let TransportEvent::Reset { by: By::Us, rule: Some(rule), .. } = status.transport().unwrap().event else {
        panic!("{status:?}")
    };
    assert!(rule.contains("pseudo-header"), "{rule}");
}

#[tokio::test(start_paused = true)]
async fn a_header_section_above_our_limit_is_resource_exhausted() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &[OK_HEAD[0], OK_HEAD[1], ("x", &"a".repeat(20_000))], false).await;
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("header_list_octets"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_yields_its_messages_then_its_trailers() {
    let (grpc, mut peer) = connected().await;
    let call = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &[OK_HEAD[0], OK_HEAD[1], ("x-head", "1")], false).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.metadata().get("x-head").unwrap(), "1");
    let mut stream = response.into_inner();
    peer.data(id, &[framed(b"a"), framed(b"b"), framed(b"c")[..4].to_vec()].concat(), false).await;
    assert_eq!(stream.message().await.unwrap().unwrap(), "a");
    assert_eq!(stream.message().await.unwrap().unwrap(), "b");
    peer.data(id, &framed(b"c")[4..], false).await;
    assert_eq!(stream.message().await.unwrap().unwrap(), "c");
    peer.trailers(id, &[("grpc-status", "0"), ("x-tail", "2")]).await;
    assert_eq!(stream.message().await.unwrap(), None);
    assert_eq!(stream.trailers().await.unwrap().unwrap().get("x-tail").unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_yields_what_came_before() {
    let (grpc, mut peer) = connected().await;
    let call = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    peer.data(id, &framed(b"a"), false).await;
    peer.trailers(id, &[("grpc-status", "14"), ("grpc-message", "later")]).await;
    let mut stream = call.await.unwrap().unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap(), "a");
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "later"));
    assert_eq!(stream.message().await.unwrap(), None, "the failure is told once");
}
