//! Why a call failed, from the transport's side: for every way, the code, the typed cause, whether the server can have acted on
//! the call, and the line that a person reads (PROTOCOL-FACTS 99 is this table). Where a setting is the cause its name is in the
//! line. TLS has its own table in `tests/tls`, keepalive in `keepalive.rs` and `probing.rs`, policies of retries in `retries.rs`.

use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::observe::BlockedOn;
use clearway::transport::{
    CallPhase, CloseReason, ConnectFault, ConnectPhase, Endpoint, Oversized, Processed, Spoken,
    TransportEvent,
};
use clearway::{Code, Request, Status};
use clearway_http2::{By, ErrorCode};
use tokio::io::AsyncWriteExt as _;

use crate::peer::{
    Frame, OK_HEAD, PATH, Peer, call, call_with, chat, connected, connected_with, endpoint, feed, framed,
    listen,
};

const SECOND: Duration = Duration::from_secs(1);
const MAX_CONCURRENT_STREAMS: u16 = 3;
const MAX_HEADER_LIST_SIZE: u16 = 6;
/// The codes of RFC 9113 §7, and one that is not among them.
const CODES: [u32; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 77];

/// Checks what a status says of itself, and gives what happened. How old the connection was is left out of the line.
#[track_caller]
fn expect(status: &Status, code: Code, processed: Processed, line: &str) -> TransportEvent {
    let cause = status.transport().unwrap_or_else(|| panic!("no cause: {status:?}"));
    assert_eq!(status.message(), cause.to_string());
    let mut said = status.message().to_owned();
    if let Some(at) = said.find(", up ") {
        let rest = said[at + 2..].find(';').map_or(said.len(), |rest| at + 2 + rest);
        said.replace_range(at..rest, "");
    }
    assert_eq!((status.code(), cause.processed, said.as_str()), (code, processed, line));
    cause.event.clone()
}

/// The same, where it is known on which connection that was.
#[track_caller]
fn expect_on(status: &Status, code: Code, line: &str) -> TransportEvent {
    assert!(status.transport().is_some_and(|cause| cause.connection.is_some()), "{status:?}");
    expect(status, code, Processed::Maybe, &format!("{line}; connection to in-process peer"))
}

/// The status of a unary call that `peer` has got, after what it does with it.
async fn after<F: AsyncFnOnce(&mut Peer, u32)>(act: F) -> Status {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"m");
    let (id, ..) = peer.request().await;
    act(&mut peer, id).await;
    answer.await.unwrap().unwrap_err()
}

/// The same, after a head.
async fn after_head<F: AsyncFnOnce(&mut Peer, u32)>(act: F) -> Status {
    after(async |peer, id| {
        peer.headers(id, &OK_HEAD, false).await;
        act(peer, id).await;
    })
    .await
}

fn within(timeout: Duration) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    request.set_timeout(timeout);
    request
}

#[tokio::test(start_paused = true)]
async fn resets_of_the_peer_by_their_code() {
    for number in CODES {
        let code = ErrorCode(number);
        // PROTOCOL-FACTS 46.
        let expected = match number {
            0..=4 | 6 | 9 | 10 => Code::Internal,
            7 => Code::Unavailable,
            8 => Code::Cancelled,
            11 => Code::ResourceExhausted,
            12 => Code::PermissionDenied,
            _ => Code::Unknown,
        };
        let reset = TransportEvent::Reset { code, by: By::Peer, rule: None };
        let line = format!("stream reset by the peer with {code}");
        if code != ErrorCode::REFUSED_STREAM {
            let status = after(async |peer, id| peer.reset(id, code).await).await;
            assert_eq!(expect_on(&status, expected, &line), reset);
            continue;
        }
        // It was not looked at, and is sent again, once.
        let status = after(async |peer, id| {
            peer.reset(id, code).await;
            let (again, ..) = peer.request().await;
            peer.reset(again, code).await;
        })
        .await;
        let line = format!("{line}; connection to in-process peer; the peer has not processed the call");
        assert_eq!(expect(&status, expected, Processed::No, &line), reset);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_under_a_call_by_the_code_of_their_goaway() {
    for code in CODES.map(ErrorCode) {
        let (grpc, mut peer) = connected().await;
        let answer = call(&grpc, b"m");
        let (id, ..) = peer.request().await;
        peer.goaway(id, code, "why\n").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(peer);
        let status = answer.await.unwrap().unwrap_err();
        let line = format!("connection lost: peer sent GOAWAY({code}, \"why\\n\")");
        let TransportEvent::ConnectionClosed(CloseReason::GoAway { code: given, .. }) =
            expect_on(&status, Code::Unavailable, &line)
        else {
            panic!("{status:?}")
        };
        assert_eq!(given, code);
    }
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"m");
    peer.request().await;
    drop(peer);
    let line = "connection lost: closed by the peer without GOAWAY";
    let event = expect_on(&answer.await.unwrap().unwrap_err(), Code::Unavailable, line);
    assert_eq!(event, TransportEvent::ConnectionClosed(CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_goaway_leaves_out_by_its_code() {
    for code in CODES.map(ErrorCode) {
        let (endpoint, mut arrivals) = endpoint();
        let answer = call(&Grpc::new(endpoint.connect_lazy()), b"m");
        let mut peers = Vec::new();
        // It goes again once; the second time it stands.
        for _ in 0..2 {
            let mut peer = arrivals.accept(&[]).await;
            peer.request().await;
            peer.goaway(0, code, "full").await;
            peers.push(peer);
        }
        let line = format!(
            "peer sent GOAWAY({code}, last stream 0, \"full\"); connection to in-process peer; the peer has not processed the call"
        );
        let status = answer.await.unwrap().unwrap_err();
        let event = expect(&status, Code::Unavailable, Processed::No, &line);
        assert_eq!(event, TransportEvent::GoAway { code, debug: "full".into(), last_stream_id: 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_grpc_by_what_is_wrong() {
    let other = "a proxy, or a server of something else, may have answered";
    let html = r#"content-type is "text/html", want application/grpc,"#;
    for (http, content_type, code, line) in [
        ("200", Some("text/html"), Code::Unknown, format!("{html} in a response with HTTP status 200")),
        (
            "502",
            Some("text/html"),
            Code::Unavailable,
            format!("{html} in a response with HTTP status 502; {other}"),
        ),
        (
            "404",
            None,
            Code::Unimplemented,
            format!("no content-type in a response with HTTP status 404; {other}"),
        ),
        (
            "401",
            None,
            Code::Unauthenticated,
            format!("no content-type in a response with HTTP status 401; {other}"),
        ),
        (
            "403",
            None,
            Code::PermissionDenied,
            format!("no content-type in a response with HTTP status 403; {other}"),
        ),
        ("400", None, Code::Internal, format!("no content-type in a response with HTTP status 400; {other}")),
    ] {
        let fields: Vec<_> =
            [(":status", http)].into_iter().chain(content_type.map(|it| ("content-type", it))).collect();
        for end in [true, false] {
            let status = after(async |peer, id| peer.headers(id, &fields, end).await).await;
            let event = expect_on(&status, code, &line);
            let TransportEvent::NotGrpc { http_status, .. } = event else { panic!("{event:?}") };
            assert_eq!(http_status.to_string(), http);
        }
    }
    let status = after_head(async |peer, id| peer.data(id, &framed(b"x"), true).await).await;
    expect_on(&status, Code::Unknown, "no grpc-status in a response with HTTP status 200");
}

#[tokio::test(start_paused = true)]
async fn messages_that_cannot_be_used_by_what_is_wrong() {
    for (octets, line) in [
        (&[0, 0, 0, 0, 3, b'x'][..], "the response ended in the middle of a message"),
        (&[7, 0, 0, 0, 0], "message prefix has flag 7, want 0 or 1"),
        (&[1, 0, 0, 0, 0], "message is flagged as compressed, but grpc-encoding names no compression"),
    ] {
        let status = after_head(async |peer, id| peer.data(id, octets, true).await).await;
        assert_eq!(
            expect_on(&status, Code::Internal, line),
            TransportEvent::BadMessage { what: line.to_owned() }
        );
    }
    let status = after(async |peer, id| {
        peer.headers(id, &[OK_HEAD[0], OK_HEAD[1], ("grpc-encoding", "lzma")], false).await;
    })
    .await;
    expect_on(
        &status,
        Code::Internal,
        "response is compressed by \"lzma\", which this client does not accept",
    );
    for (count, which) in [(0, "no message"), (2, "more than one message")] {
        let status = after_head(async |peer, id| {
            for _ in 0..count {
                peer.data(id, &framed(b"x"), false).await;
            }
            peer.trailers(id, &[("grpc-status", "0")]).await;
        })
        .await;
        let line = format!("the response has {which}, want exactly one");
        let event = expect(&status, Code::Unimplemented, Processed::Maybe, &line);
        assert_eq!(event, TransportEvent::MessageCount { none: count == 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_names_the_limit() {
    let status = after_head(async |peer, id| peer.data(id, &[0, 0, 0x50, 0, 0], false).await).await;
    let line =
        "response message of 5242880 bytes exceeds the client's limit of 4194304 (max_decoding_message_size)";
    let event = expect_on(&status, Code::ResourceExhausted, line);
    let (octets, limit) = (5 << 20, 4 << 20);
    assert_eq!(event, TransportEvent::MessageTooLarge { message: Oversized::Response, octets, limit });

    let (grpc, _peer) = connected_with(|endpoint| endpoint, &[(MAX_HEADER_LIST_SIZE, 300)]).await;
    let mut request = Request::new(Bytes::new());
    request.metadata_mut().insert("k", "v".repeat(400).parse().unwrap());
    let status = call_with(&grpc, request).await.unwrap().unwrap_err();
    let TransportEvent::HeaderListTooLarge { octets, limit: 300 } = status.transport().unwrap().event else {
        panic!("{status:?}")
    };
    let line = format!(
        "request headers of {octets} octets exceed the peer's limit of 300 (send less metadata, or raise \
         SETTINGS_MAX_HEADER_LIST_SIZE there); connection to in-process peer; the peer has not processed the call"
    );
    expect(&status, Code::ResourceExhausted, Processed::No, &line);

    let small = grpc.max_encoding_message_size(3);
    let status = small.unary(Request::new(Bytes::from_static(b"four")), PATH, BytesCodec).await.unwrap_err();
    let line = "message to send of 4 bytes exceeds the limit of 3 (max_encoding_message_size); the peer has not processed the call";
    let event = expect(&status, Code::ResourceExhausted, Processed::No, line);
    assert_eq!(event, TransportEvent::MessageTooLarge { message: Oversized::Sent, octets: 4, limit: 3 });
}

#[tokio::test(start_paused = true)]
async fn rules_that_the_peer_broke_by_name() {
    for (fields, rule) in [
        (&[OK_HEAD[0], OK_HEAD[1], ("Bad", "x")][..], "malformed field name"),
        (&[OK_HEAD[0], OK_HEAD[1], ("connection", "close")], "connection-specific field"),
        (&[OK_HEAD[1]], "required pseudo-header field missing or malformed"),
    ] {
        let status = after(async |peer, id| peer.headers(id, fields, false).await).await;
        let Some(TransportEvent::Reset { rule: Some(broken), .. }) =
            status.transport().map(|cause| cause.event.clone())
        else {
            panic!("{status:?}")
        };
        assert_eq!(broken, rule, "{fields:?}");
        let line = format!("stream reset by us with PROTOCOL_ERROR: the peer broke a rule: {broken}");
        let event = expect_on(&status, Code::Internal, &line);
        assert_eq!(
            event,
            TransportEvent::Reset { code: ErrorCode::PROTOCOL_ERROR, by: By::Us, rule: Some(rule) }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_by_what_the_call_was_doing() {
    let phase_of = |event| match event {
        TransportEvent::DeadlineExceeded { phase, blocked_on, after } => {
            assert!(after <= SECOND + Duration::from_millis(2), "{after:?}");
            (phase, blocked_on.map(|blocked| (blocked.on, blocked.allowed)))
        }
        other => panic!("{other:?}"),
    };
    let late = Code::DeadlineExceeded;
    let (silent, mut arrivals) = endpoint();
    let answer = call_with(&Grpc::new(silent.connect_lazy()), within(SECOND));
    let _raw = arrivals.raw().await;
    let line =
        "deadline passed after 1.0s while waiting for a connection; the peer has not processed the call";
    let event = expect(&answer.await.unwrap().unwrap_err(), late, Processed::No, line);
    assert_eq!(phase_of(event), (CallPhase::Connecting, None));

    let one = |endpoint: Endpoint| endpoint.max_connections_per_address(1);
    let (grpc, mut peer) = connected_with(one, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let first = call(&grpc, b"");
    peer.request().await;
    let line = "deadline passed after 1.0s while waiting for a free stream (it waited for a free stream for 1.0s: the peer allows 1 at \
                once on a connection; raise SETTINGS_MAX_CONCURRENT_STREAMS there, or the number of connections here); the peer has \
                not processed the call";
    let event =
        expect(&call_with(&grpc, within(SECOND)).await.unwrap().unwrap_err(), late, Processed::No, line);
    assert_eq!(phase_of(event), (CallPhase::Queued, Some((BlockedOn::StreamLimit, Some(1)))));
    first.abort();

    let (grpc, mut peer) = connected().await;
    let answer = call_with(&grpc, within(SECOND));
    peer.request().await;
    let line = "deadline passed after 1.0s while waiting for the response to begin (it waited for the peer's answer for 1.0s)";
    let event = expect_on(&answer.await.unwrap().unwrap_err(), late, line);
    assert_eq!(phase_of(event), (CallPhase::AwaitingHeaders, Some((BlockedOn::Peer, None))));

    let (grpc, mut peer) = connected().await;
    let answer = call_with(&grpc, within(SECOND));
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let line =
        "deadline passed after 1.0s in the middle of the response (it waited for the peer's answer for 1.0s)";
    let event = expect_on(&answer.await.unwrap().unwrap_err(), late, line);
    assert_eq!(phase_of(event), (CallPhase::Streaming, Some((BlockedOn::Peer, None))));
    assert_eq!(peer.next().await, Frame::Reset { id, code: ErrorCode::CANCEL });

    let line =
        "deadline passed after 0.0ns while waiting for a connection; the peer has not processed the call";
    expect(&call_with(&grpc, within(Duration::ZERO)).await.unwrap().unwrap_err(), late, Processed::No, line);
}

/// The server's clock may be a little ahead of ours: it reset the call since its deadline passed there.
#[tokio::test(start_paused = true)]
async fn a_cancel_right_before_the_deadline_is_the_deadline() {
    for (early, code) in [(5, Code::DeadlineExceeded), (500, Code::Cancelled)] {
        let (grpc, mut peer) = connected().await;
        let answer = call_with(&grpc, within(SECOND));
        let (id, ..) = peer.request().await;
        peer.headers(id, &OK_HEAD, false).await;
        tokio::time::sleep(SECOND - Duration::from_millis(early)).await;
        peer.reset(id, ErrorCode::CANCEL).await;
        assert_eq!(answer.await.unwrap().unwrap_err().code(), code, "{early} ms before it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_names_its_limit() {
    let small = |endpoint: Endpoint| endpoint.max_connections_per_address(1).max_queued_calls(1);
    let (grpc, mut peer) = connected_with(small, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let first = call(&grpc, b"");
    peer.request().await;
    let second = call(&grpc, b"");
    peer.expect_silence().await;
    let line =
        "1 calls wait for a stream already (limit: max_queued_calls); the peer has not processed the call";
    let event =
        expect(&call(&grpc, b"").await.unwrap().unwrap_err(), Code::ResourceExhausted, Processed::No, line);
    assert_eq!(event, TransportEvent::QueueFull { limit: 1 });
    drop((first, second));
}

#[tokio::test(start_paused = true)]
async fn streams_of_messages_fail_with_the_same_causes() {
    let (grpc, mut peer) = connected().await;
    let answer = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let mut stream = answer.await.unwrap().unwrap().into_inner();
    peer.data(id, &framed(b"x"), false).await;
    peer.reset(id, ErrorCode::INTERNAL_ERROR).await;
    assert_eq!(stream.message().await.unwrap().unwrap(), "x");
    let status = stream.message().await.unwrap_err();
    expect_on(&status, Code::Internal, "stream reset by the peer with INTERNAL_ERROR");

    let (grpc, mut peer) = connected().await;
    let (say, said) = feed();
    let answer = chat(&grpc, said);
    let (id, _) = peer.head().await;
    peer.headers(id, &[(":status", "503"), ("content-type", "text/plain")], false).await;
    let line = "content-type is \"text/plain\", want application/grpc, in a response with HTTP status 503; a proxy, or a server of \
                something else, may have answered";
    expect_on(&answer.await.unwrap().unwrap_err(), Code::Unavailable, line);
    drop(say);
}

#[tokio::test(start_paused = true)]
async fn others_that_answer_are_named() {
    for (said, named, who) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            ConnectFault::WrongProtocol(Spoken::Http1),
            "the peer speaks HTTP/1",
        ),
        (b"\x15\x03\x01\x00\x02\x02\x46", ConnectFault::WrongProtocol(Spoken::Tls), "the peer speaks TLS"),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            ConnectFault::Ended,
            "first frame is not SETTINGS (PROTOCOL_ERROR); it may be a port",
        ),
    ] {
        let (other, mut arrivals) = endpoint();
        let answer = call(&Grpc::new(other.connect_lazy()), b"");
        let mut raw = arrivals.raw().await;
        raw.write_all(said).await.unwrap();
        let status = answer.await.unwrap().unwrap_err();
        let cause = status.transport().unwrap();
        let TransportEvent::Connect { phase, fault, .. } = &cause.event else { panic!("{status:?}") };
        assert_eq!(
            (status.code(), *phase, cause.processed),
            (Code::Unavailable, ConnectPhase::Settings, Processed::No)
        );
        assert_eq!(*fault, named, "{status}");
        assert!(status.message().contains(who), "{status}");
    }
}

#[tokio::test]
async fn connections_that_cannot_be_made_by_the_step_that_failed() {
    // A port that was free a moment ago.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = Grpc::new(Endpoint::new(format!("http://{nobody}")).unwrap().connect_lazy());
    let status = call(&refused, b"").await.unwrap().unwrap_err();
    let line = format!(
        "connecting failed for {nobody}: Connection refused (os error 111); the peer has not processed the call"
    );
    let TransportEvent::Connect { phase, fault, .. } =
        expect(&status, Code::Unavailable, Processed::No, &line)
    else {
        panic!("{status:?}")
    };
    assert_eq!(phase, ConnectPhase::Tcp);
    assert!(matches!(fault, ConnectFault::Io(std::io::ErrorKind::ConnectionRefused)), "{fault:?}");

    // RFC 6761 §6.4: there is no such name, and never will be.
    let unknown = Grpc::new(Endpoint::from_static("http://nobody.invalid:1").connect_lazy());
    let status = call(&unknown, b"").await.unwrap().unwrap_err();
    let cause = status.transport().unwrap();
    let TransportEvent::Connect { phase, .. } = &cause.event else { panic!("{status:?}") };
    assert_eq!(
        (status.code(), *phase, cause.processed),
        (Code::Unavailable, ConnectPhase::Resolve, Processed::No)
    );
    assert!(status.message().starts_with("resolving the name failed for nobody.invalid:1: "), "{status}");
}
