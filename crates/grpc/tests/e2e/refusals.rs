//! Requests that break a rule, sent to a real server over a socket: each gets the answer of gRPC's tables, and the calls
//! beside it on the same connection go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::codec::{BytesCodec, ProstCodec};
use clearway::server::GenericService;
use clearway::transport::{Address, Router, Server, Stream};
use clearway::{Code, Request, Response, Streaming};
use clearway_http2::ErrorCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::listen;
use crate::raw::{Answer, Fields, RawConnection, framed, grpc, with, without};

const LIMIT: usize = 1000;

/// How many calls reached a handler.
type Started = Arc<AtomicUsize>;

fn router(started: &Started) -> Router {
    let count = Arc::clone(started);
    let service = GenericService::new("t.S")
        .max_decoding_message_size(LIMIT)
        .unary("Echo", BytesCodec, move |request: Request<Bytes>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Response::new(request.into_inner())) }
        })
        .unary("Text", ProstCodec::<String, String>::default(), |request: Request<String>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .client_streaming("Sum", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut uploaded = request.into_inner();
            let mut octets = 0;
            while let Some(message) = uploaded.message().await? {
                octets += message.len();
            }
            Ok(Response::new(Bytes::from(octets.to_string())))
        });
    Server::builder().add_service(service)
}

/// A connection over loopback, with a call in progress on it and its neighbours to come.
struct Scene {
    connection: RawConnection,
    started: Started,
}

impl Scene {
    async fn set() -> Self {
        let started = Started::default();
        let address = listen(router(&started)).await;
        let stream = TcpStream::connect(address).await.expect("the server listens");
        Self { connection: RawConnection::over(Stream::Tcp(stream)), started }
    }

    /// Sends a bad request between two halves of an upload, and a good call after it. Gives what the bad one got.
    async fn refused(&self, head: Fields, body: &[u8]) -> Answer {
        let upload = self.connection.open(grpc("/t.S/Sum"), false).await;
        upload.send(&framed(b"12345"), false);
        let before = self.started.load(Ordering::Relaxed);
        let answer = self.connection.exchange(head, body).await;
        assert_eq!(self.started.load(Ordering::Relaxed), before, "a handler was started for it: {answer:?}");
        upload.send(&framed(b"678"), true);
        let sum = upload.answer().await;
        assert_eq!((sum.code(), sum.body), (Code::Ok, framed(b"8")), "the neighbour after {answer:?}");
        let echo = self.connection.exchange(grpc("/t.S/Echo"), &framed(b"hi")).await;
        assert_eq!((echo.code(), echo.body), (Code::Ok, framed(b"hi")), "the next call after {answer:?}");
        answer
    }

    async fn expect(&self, http: u16, code: Code, text: &str, head: Fields, body: &[u8]) {
        let answer = self.refused(head, body).await;
        assert_eq!((answer.http, answer.code()), (http, code), "{answer:?}");
        assert!(answer.message().contains(text), "{text:?} in {answer:?}");
        assert!(answer.body.is_empty() && answer.reset.is_none(), "{answer:?}");
    }
}

#[tokio::test]
async fn heads_that_are_no_call_get_a_status_and_leave_their_neighbours_alone() {
    let scene = Scene::set().await;
    let echo = || grpc("/t.S/Echo");
    let message = framed(b"m");
    for (http, code, text, head) in [
        (405, Code::Internal, "GET", with(echo(), ":method", "GET")),
        (415, Code::InvalidArgument, "text/plain", with(echo(), "content-type", "text/plain")),
        (415, Code::InvalidArgument, "grpc-web", with(echo(), "content-type", "application/grpc-web")),
        (415, Code::InvalidArgument, "missing", without(echo(), "content-type")),
        (400, Code::Internal, "grpc-timeout", with(echo(), "grpc-timeout", "5")),
        (400, Code::Internal, "grpc-timeout", with(echo(), "grpc-timeout", "-1S")),
        (400, Code::Internal, "grpc-timeout", with(echo(), "grpc-timeout", "123456789S")),
        (400, Code::Internal, "host", with(echo(), "host", "other")),
        (400, Code::Internal, "base64", with(echo(), "x-bin", "a*b")),
        (200, Code::Unimplemented, "unknown method Nope of service t.S", grpc("/t.S/Nope")),
        (200, Code::Unimplemented, "unknown service t.Nope", grpc("/t.Nope/Echo")),
        (200, Code::Unimplemented, "malformed method path", grpc("/t.S")),
        (200, Code::Unimplemented, "snappy", with(echo(), "grpc-encoding", "snappy")),
        (
            200,
            Code::Unimplemented,
            "want proto",
            with(grpc("/t.S/Text"), "content-type", "application/grpc+json"),
        ),
        (200, Code::DeadlineExceeded, "deadline", with(echo(), "grpc-timeout", "0S")),
    ] {
        scene.expect(http, code, text, head, &message).await;
    }
}

#[tokio::test]
async fn an_unknown_encoding_is_answered_with_those_we_know() {
    let scene = Scene::set().await;
    let head = with(grpc("/t.S/Echo"), "grpc-encoding", "br");
    let answer = scene.refused(head, &framed(b"m")).await;
    assert_eq!(answer.head("grpc-accept-encoding"), ["identity"]);
    let identity = with(grpc("/t.S/Echo"), "grpc-encoding", "identity");
    assert_eq!(scene.connection.exchange(identity, &framed(b"m")).await.code(), Code::Ok);
}

#[tokio::test]
async fn a_head_without_te_or_with_a_codec_is_a_call() {
    let scene = Scene::set().await;
    for head in [
        without(grpc("/t.S/Echo"), "te"),
        with(grpc("/t.S/Echo"), "content-type", "application/grpc+proto"),
        // Octets are octets, whatever they are called.
        with(grpc("/t.S/Echo"), "content-type", "application/grpc+json"),
        with(grpc("/t.S/Echo"), "content-type", "application/grpc;charset=utf-8"),
        with(grpc("/t.S/Echo"), "host", "test"),
        with(grpc("/t.S/Echo"), "grpc-unheard-of", "x"),
        with(grpc("/t.S/Echo"), "x-bin", "qw==,qw"),
    ] {
        let answer = scene.connection.exchange(head.clone(), &framed(b"m")).await;
        assert_eq!((answer.http, answer.code()), (200, Code::Ok), "{head:?}: {answer:?}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_message_get_a_status_and_leave_their_neighbours_alone() {
    let scene = Scene::set().await;
    let echo = || grpc("/t.S/Echo");
    let (two, over) = ([framed(b"a"), framed(b"b")].concat(), framed(&[0; LIMIT + 1]));
    for (code, text, head, body) in [
        // The prefix alone is enough to refuse it; nothing of the size was ever there.
        (Code::ResourceExhausted, "4294967295", echo(), &[0, 255, 255, 255, 255][..]),
        (Code::ResourceExhausted, "max_decoding_message_size", echo(), &over),
        (Code::ResourceExhausted, "1001 bytes exceeds the server's limit of 1000", grpc("/t.S/Sum"), &over),
        (Code::Internal, "middle of a message", echo(), &[0, 0, 0, 0, 9, 1, 2]),
        (Code::Internal, "middle of a message", echo(), &[0, 0, 0]),
        (Code::Internal, "middle of a message", grpc("/t.S/Sum"), &[0, 0, 0, 0, 9, 1, 2]),
        (Code::Internal, "flag 2", echo(), &[2, 0, 0, 0, 1, 0]),
        (Code::Internal, "compressed", echo(), &[1, 0, 0, 0, 1, 0]),
        (Code::Unimplemented, "more than one message", echo(), &two),
        (Code::Unimplemented, "no message", echo(), &[]),
        (Code::Internal, "", grpc("/t.S/Text"), &[0, 0, 0, 0, 1, 0xff]),
    ] {
        scene.expect(200, code, text, head, body).await;
    }
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_and_one_of_nothing_are_messages() {
    let scene = Scene::set().await;
    for message in [&[7; LIMIT][..], &[]] {
        let answer = scene.connection.exchange(grpc("/t.S/Echo"), &framed(message)).await;
        assert_eq!((answer.code(), answer.body), (Code::Ok, framed(message)));
    }
}

#[tokio::test]
async fn oversize_headers_fail_their_stream_alone() {
    let scene = Scene::set().await;
    let head = with(grpc("/t.S/Echo"), "x-large", &"v".repeat(20 * 1024));
    // Before the server's SETTINGS come, which would keep our engine from sending it.
    let (bad, good) =
        tokio::join!(scene.connection.open(head, false), scene.connection.open(grpc("/t.S/Echo"), false));
    bad.send(&framed(b"bad"), true);
    good.send(&framed(b"good"), true);
    let answer = bad.answer().await;
    assert_eq!((answer.http, answer.code()), (431, Code::ResourceExhausted), "{answer:?}");
    assert!(answer.message().contains("limit: header_list_octets"), "{answer:?}");
    assert_eq!(good.answer().await.body, framed(b"good"));
    // HPACK is in step: fields indexed by the bad block are known.
    let again = scene.connection.exchange(grpc("/t.S/Echo"), &framed(b"again")).await;
    assert_eq!((again.code(), again.body), (Code::Ok, framed(b"again")));
}

#[tokio::test]
async fn a_hop_header_makes_the_request_malformed() {
    let scene = Scene::set().await;
    let answer = scene.refused(with(grpc("/t.S/Echo"), "connection", "keep-alive"), &framed(b"m")).await;
    // RFC 9113 §8.2.2.
    assert_eq!(answer.reset, Some(ErrorCode::PROTOCOL_ERROR), "{answer:?}");
}

/// What a fresh connection to the server says to these octets, until it closes it.
async fn reply_to(octets: &[u8]) -> Vec<u8> {
    let address = listen(router(&Started::default())).await;
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    socket.write_all(octets).await.expect("it reads");
    let mut reply = Vec::new();
    // A reset while it reads is an end, too.
    let _ = socket.read_to_end(&mut reply).await;
    reply
}

#[tokio::test]
async fn a_client_of_http_1_is_told_so() {
    let reply = reply_to(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let text = String::from_utf8_lossy(&reply);
    assert!(text.starts_with("HTTP/1.1 ") && text.contains("HTTP/2"), "{text}");
}

#[tokio::test]
async fn garbage_instead_of_a_preface_ends_the_connection() {
    let reply =
        reply_to(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert!(!reply.starts_with(b"HTTP/1.1 200"), "{reply:?}");
}

#[tokio::test]
async fn a_listener_of_a_unix_socket_serves_the_same() {
    let path = std::env::temp_dir().join(format!("clearway-e2e-{}.sock", std::process::id()));
    let address: Address = format!("unix:{}", path.display()).parse().expect("an address");
    let listener = clearway::transport::Listener::bind(&address).await.expect("it can be listened on");
    let server = router(&Started::default()).serve_with_listener(listener, std::future::pending());
    let server = tokio::spawn(server);
    let stream = tokio::net::UnixStream::connect(&path).await.expect("the server listens");
    let answer = RawConnection::over(Stream::Unix(stream)).exchange(grpc("/t.S/Echo"), &framed(b"m")).await;
    assert_eq!(answer.code(), Code::Ok);
    server.abort();
    let _ = std::fs::remove_file(path);
}
