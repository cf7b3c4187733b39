//! Compression of messages: who may use what (gRPC's compression page), all four kinds of call, and messages that are not what
//! they say.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::{
    BytesCodec, Codec, Compression, CompressionEncoding, DecompressError, EncodeBuf, Encoder,
};
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};

use crate::raw::{self, Answer, Fields, RawConnection, framed};
use crate::{Client, endpoint, raw_connection, text};

const GZIP: CompressionEncoding = CompressionEncoding::Gzip;
const LIMIT: usize = 100_000;

/// Octets that get smaller.
fn words(octets: usize) -> Bytes {
    Bytes::from(b"the same words again, ".iter().copied().cycle().take(octets).collect::<Vec<u8>>())
}

fn zipped(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Gzipped.compress(message, &mut out).unwrap();
    out
}

fn unzipped(message: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(message).read_to_end(&mut out).unwrap();
    out
}

/// A message of these octets that is flagged as compressed.
fn flagged(octets: &[u8]) -> Vec<u8> {
    let mut message = framed(octets);
    message[0] = 1;
    message
}

/// gzip by another hand than the library's, under a name of its own; counts what it does.
struct Gzipped;

static COMPRESSED: AtomicUsize = AtomicUsize::new(0);

impl Compression for Gzipped {
    fn name(&self) -> &str {
        "x-gzipped"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        use std::io::Write as _;
        COMPRESSED.fetch_add(1, Ordering::Relaxed);
        let mut writer = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
        writer.write_all(message)?;
        writer.finish().map(drop)
    }

    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        let message = unzipped(message);
        if message.len() > limit {
            return Err(DecompressError::TooLarge);
        }
        out.extend_from_slice(&message);
        Ok(())
    }
}

fn methods(service: GenericService) -> GenericService {
    service
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Plain", BytesCodec, |request: Request<Bytes>| async move {
            let mut response = Response::new(request.into_inner());
            response.disable_compression();
            Ok(response)
        })
        .server_streaming("Twice", BytesCodec, |request: Request<Bytes>| async move {
            let message = request.into_inner();
            Ok(Response::new(tokio_stream::iter([Ok(message.clone()), Ok(message)])))
        })
        .client_streaming("Join", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut uploaded = request.into_inner();
            let mut joined = Vec::new();
            while let Some(message) = uploaded.message().await? {
                joined.extend_from_slice(&message);
            }
            Ok(Response::new(Bytes::from(joined)))
        })
        .bidi_streaming("Chat", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(request.into_inner()))
        })
}

/// Reads and writes gzip, up to [`LIMIT`].
fn gzip_service() -> GenericService {
    let service = GenericService::new("t.S").accept_compressed(GZIP).send_compressed(GZIP);
    methods(service.max_decoding_message_size(LIMIT))
}

fn gzip_router() -> Router {
    Server::builder().add_service(gzip_service())
}

/// A client that reads and writes it, too.
fn gzip_client(router: Router) -> Client {
    let Client(grpc) = Client::of(router);
    Client(grpc.accept_compressed(GZIP).send_compressed(GZIP))
}

async fn all(mut stream: Streaming<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

async fn all_kinds(client: &Client) {
    for message in [Bytes::new(), Bytes::from_static(b"short"), words(50_000)] {
        let request = || Request::new(message.clone());
        let stream = || Request::new(tokio_stream::iter([message.clone(), Bytes::new(), message.clone()]));
        assert_eq!(client.unary("Echo", request()).await.unwrap().into_inner(), message);
        let twice = client.download("Twice", request()).await.unwrap().into_inner();
        assert_eq!(all(twice).await.unwrap(), [message.clone(), message.clone()]);
        let joined = client.upload("Join", stream()).await.unwrap().into_inner();
        assert_eq!(joined, [&message[..], &message[..]].concat());
        let chat = client.duplex("Chat", stream()).await.unwrap().into_inner();
        assert_eq!(all(chat).await.unwrap(), [message.clone(), Bytes::new(), message.clone()]);
    }
}

#[tokio::test(start_paused = true)]
async fn all_four_kinds_of_call_carry_compressed_messages() {
    all_kinds(&gzip_client(gzip_router())).await;
}

#[tokio::test]
async fn a_channel_inside_the_program_compresses_as_any_other() {
    let grpc = Grpc::new(gzip_router().in_process());
    all_kinds(&Client(grpc.accept_compressed(GZIP).send_compressed(GZIP))).await;
}

#[tokio::test(start_paused = true)]
async fn server_and_endpoint_say_it_for_all_their_services_and_clients() {
    let server = Server::builder().accept_compressed(GZIP).send_compressed(GZIP);
    let router = server.add_service(methods(GenericService::new("t.S")));
    all_kinds(&Client::at(endpoint(router).accept_compressed(GZIP).send_compressed(GZIP))).await;
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_of_the_programs_own_is_used() {
    let own = CompressionEncoding::custom(Gzipped);
    let service = GenericService::new("t.S").accept_compressed(own).send_compressed(own);
    let Client(grpc) = Client::of(Server::builder().add_service(methods(service)));
    let before = COMPRESSED.load(Ordering::Relaxed);
    all_kinds(&Client(grpc.accept_compressed(own).send_compressed(own))).await;
    assert!(COMPRESSED.load(Ordering::Relaxed) > before);
}

/// What a server says to a request with these fields beside the usual ones, and this body.
async fn ask(connection: &RawConnection, method: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head: Fields = raw::grpc(&format!("/t.S/{method}"));
    head.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    connection.exchange(head, body).await
}

#[tokio::test(start_paused = true)]
async fn a_response_is_compressed_for_those_who_can_read_it() {
    let connection = raw_connection(gzip_router());
    let message = words(2000);
    for (fields, encoding) in [
        (&[][..], None),
        (&[("grpc-accept-encoding", "identity,deflate")][..], None),
        (&[("grpc-accept-encoding", "deflate, gzip")][..], Some("gzip")),
        // A list may come in several fields, and the last one alone says something else.
        (&[("grpc-accept-encoding", "deflate, gzip"), ("grpc-accept-encoding", "br")][..], Some("gzip")),
        (&[("grpc-accept-encoding", "br"), ("grpc-accept-encoding", "identity")][..], None),
    ] {
        for method in ["Echo", "Twice", "Join", "Chat"] {
            let answer = ask(&connection, method, fields, &framed(&message)).await;
            assert_eq!(answer.code(), Code::Ok, "{answer:?}");
            assert_eq!(answer.head("grpc-encoding"), Vec::from_iter(encoding), "{method} {fields:?}");
            assert_eq!(answer.body[0], u8::from(encoding.is_some()), "{method} {fields:?}");
        }
    }
    let answer = ask(&connection, "Echo", &[("grpc-accept-encoding", "gzip")], &framed(&message)).await;
    assert_eq!(unzipped(&answer.body[5..]), message);
}

#[tokio::test(start_paused = true)]
async fn what_would_not_get_smaller_goes_as_it_is() {
    let connection = raw_connection(gzip_router());
    let fields = [("grpc-accept-encoding", "gzip")];
    for message in [&b""[..], b"short"] {
        let answer = ask(&connection, "Echo", &fields, &framed(message)).await;
        assert_eq!(answer.head("grpc-encoding"), ["gzip"], "it was agreed on");
        assert_eq!(answer.body, framed(message));
    }
}

#[tokio::test(start_paused = true)]
async fn small_messages_go_as_they_are_and_what_is_small_is_a_knob() {
    use clearway::codec::DEFAULT_COMPRESSION_THRESHOLD as USUAL;
    for (encoding, threshold) in
        [(GZIP, USUAL), (GZIP.with_threshold(0), 0), (GZIP.with_threshold(9_000), 9_000)]
    {
        let service = GenericService::new("t.S").send_compressed(encoding);
        let connection = raw_connection(Server::builder().add_service(methods(service)));
        for octets in [100, USUAL - 1, USUAL, 8_999, 9_000] {
            let fields = [("grpc-accept-encoding", "gzip")];
            let answer = ask(&connection, "Twice", &fields, &framed(&words(octets))).await;
            let compressed = answer.body[0] == 1;
            assert_eq!(compressed, octets >= threshold, "{octets} octets with a threshold of {threshold}");
        }
    }
}

/// Says of every message how it came: `+` or `-`.
fn flags_service() -> GenericService {
    GenericService::new("t.S")
        .accept_compressed(GZIP)
        .send_compressed(GZIP)
        .unary("One", BytesCodec, |request: Request<Bytes>| async move {
            let came = if request.was_compressed() { "+" } else { "-" };
            Ok(Response::new(Bytes::from(came)))
        })
        .client_streaming("Flags", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut uploaded = request.into_inner();
            let mut came = String::new();
            while uploaded.message().await?.is_some() {
                came.push(if uploaded.was_compressed() { '+' } else { '-' });
            }
            Ok(Response::new(Bytes::from(came)))
        })
        .server_streaming("Wanted", BytesCodec, |request: Request<Bytes>| async move {
            // One message for each octet, compressed where that is a plus.
            let wanted = request.into_inner();
            let messages: Vec<_> = wanted.iter().map(|_| Ok(words(2_000))).collect();
            let mut response = Response::new(tokio_stream::iter(messages));
            let mut marks = wanted.into_iter();
            response.compress_if(move |_: &Bytes| marks.next() == Some(b'+'));
            Ok(response)
        })
}

#[tokio::test(start_paused = true)]
async fn single_messages_of_a_stream_are_chosen_both_ways_and_seen() {
    let client = gzip_client(Server::builder().add_service(flags_service()));
    for marks in ["+-+--", "----", "++", ""] {
        let messages: Vec<Bytes> = marks.chars().map(|_| words(2_000)).collect();
        let mut request = Request::new(tokio_stream::iter(messages));
        let mut wanted = marks.chars();
        request.compress_if(move |_: &Bytes| wanted.next() == Some('+'));
        assert_eq!(client.upload("Flags", request).await.unwrap().into_inner(), marks);

        let mut stream = client.download("Wanted", text(marks)).await.unwrap().into_inner();
        let mut came = String::new();
        while let Some(message) = stream.message().await.unwrap() {
            assert_eq!(message, words(2_000));
            came.push(if stream.was_compressed() { '+' } else { '-' });
        }
        assert_eq!(came, marks);
    }
    // By what is in them.
    let messages = [words(2_000), words(9_000), words(3_000)];
    let mut request = Request::new(tokio_stream::iter(messages));
    request.compress_if(|message: &Bytes| message.len() > 5_000);
    assert_eq!(client.upload("Flags", request).await.unwrap().into_inner(), "-+-");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_say_what_it_is_compressed_by() {
    let Client(grpc) = Client::of(Server::builder().add_service(flags_service()));
    let client = Client(grpc.send_compressed(CompressionEncoding::custom(Gzipped)));
    let request = || Request::new(words(2_000));
    assert_eq!(client.unary("One", request()).await.unwrap_err().code(), Code::Unimplemented);
    let mut other = request();
    other.compress_by(GZIP);
    assert_eq!(client.unary("One", other).await.unwrap().into_inner(), "+");
    let mut none = request();
    none.disable_compression();
    assert_eq!(client.unary("One", none).await.unwrap().into_inner(), "-");
}

/// Encodes octets, and knows those that are not worth it.
#[derive(Clone, Default)]
struct Pictures;

impl Codec for Pictures {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = <BytesCodec as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        BytesCodec.decoder()
    }
}

impl Encoder for Pictures {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut as _;
        out.put(item);
        Ok(())
    }

    fn may_compress(&mut self, item: &Bytes) -> bool {
        !item.starts_with(b"PNG")
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_may_know_what_is_not_worth_it() {
    let Client(grpc) = gzip_client(Server::builder().add_service(flags_service()));
    let picture = Bytes::from([b"PNG", &words(5_000)[..]].concat());
    for (message, came) in [(picture.clone(), "-"), (words(5_000), "+")] {
        let path = MethodPath::from_static("/t.S/One");
        let answer = grpc.unary(Request::new(message), path, Pictures).await.unwrap();
        assert_eq!(answer.into_inner(), came);
    }
    let path = MethodPath::from_static("/t.S/Flags");
    let mut request = Request::new(tokio_stream::iter([words(5_000), picture, words(5_000)]));
    let mut count = 0;
    request.compress_if(move |_: &Bytes| {
        count += 1;
        count < 3
    });
    assert_eq!(grpc.client_streaming(request, path, Pictures).await.unwrap().into_inner(), "+--");
}

#[cfg(all(feature = "deflate", feature = "zstd"))]
#[tokio::test(start_paused = true)]
async fn every_algorithm_of_the_library_carries_all_four_kinds_of_call() {
    for encoding in [
        CompressionEncoding::Deflate,
        CompressionEncoding::Zstd,
        GZIP.with_level(1),
        CompressionEncoding::Zstd.with_level(19),
    ] {
        let server = Server::builder().accept_compressed(encoding).send_compressed(encoding);
        let router = server.add_service(methods(GenericService::new("t.S")));
        all_kinds(&Client::at(endpoint(router).accept_compressed(encoding).send_compressed(encoding))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_response_or_request_can_be_left_as_it_is() {
    let connection = raw_connection(gzip_router());
    let message = words(2000);
    let answer = ask(&connection, "Plain", &[("grpc-accept-encoding", "gzip")], &framed(&message)).await;
    assert_eq!((answer.head("grpc-encoding"), &answer.body), (vec![], &framed(&message)));
    // This server reads nothing that is compressed.
    let client = gzip_client(Server::builder().add_service(methods(GenericService::new("t.S"))));
    let mut request = Request::new(message.clone());
    assert_eq!(
        client.unary("Echo", Request::new(message.clone())).await.unwrap_err().code(),
        Code::Unimplemented
    );
    request.disable_compression();
    assert_eq!(client.unary("Echo", request).await.unwrap().into_inner(), message);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_read_a_request_says_what_it_can() {
    for (router, accepted) in [
        (gzip_router(), "gzip,identity"),
        (Server::builder().add_service(methods(GenericService::new("t.S"))), "identity"),
    ] {
        let connection = raw_connection(router);
        let answer = ask(&connection, "Echo", &[("grpc-encoding", "br")], &flagged(b"m")).await;
        assert_eq!((answer.http, answer.code()), (200, Code::Unimplemented));
        assert_eq!(answer.head("grpc-accept-encoding"), [accepted]);
        assert!(answer.message().contains(accepted), "{}", answer.message());
        let answer = ask(&connection, "Echo", &[("grpc-encoding", "identity")], &framed(b"m")).await;
        assert_eq!(answer.code(), Code::Ok, "the connection goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flag_without_an_encoding_is_an_internal_error() {
    let connection = raw_connection(gzip_router());
    for fields in [&[][..], &[("grpc-encoding", "identity")][..]] {
        for method in ["Echo", "Join"] {
            let answer = ask(&connection, method, fields, &flagged(&zipped(b"m"))).await;
            assert_eq!(answer.code(), Code::Internal, "{method} {fields:?} {answer:?}");
            assert!(answer.message().contains("flagged as compressed"), "{answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_is_what_its_flag_says() {
    let connection = raw_connection(gzip_router());
    let body =
        [framed(b"one "), flagged(&zipped(b"two ")), flagged(b""), framed(b""), flagged(&zipped(b"three"))];
    let answer = ask(&connection, "Join", &[("grpc-encoding", "gzip")], &body.concat()).await;
    assert_eq!((answer.code(), &answer.body), (Code::Ok, &framed(b"one two three")));
    let answer = ask(&connection, "Echo", &[("grpc-encoding", "gzip")], &framed(b"plain")).await;
    assert_eq!(answer.body, framed(b"plain"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_ends_its_call_and_says_why() {
    let connection = raw_connection(gzip_router());
    let whole = zipped(&words(1000));
    let mut wrong_sum = whole.clone();
    let at = whole.len() - 8;
    wrong_sum[at] ^= 1;
    for (message, why) in [
        (&b"no gzip at all"[..], "does not begin as gzip"),
        (&whole[..whole.len() - 9], "cut short"),
        (&[&whole[..], b"more"].concat(), "4 octets follow its end"),
        (&wrong_sum, "checksum"),
    ] {
        for method in ["Echo", "Twice", "Join", "Chat"] {
            let answer = ask(&connection, method, &[("grpc-encoding", "gzip")], &flagged(message)).await;
            assert_eq!(answer.code(), Code::Internal, "{method} {answer:?}");
            assert!(answer.message().contains(why), "{why:?} in {answer:?}");
        }
    }
    let answer = ask(&connection, "Echo", &[("grpc-encoding", "gzip")], &flagged(&whole)).await;
    assert_eq!(answer.code(), Code::Ok, "the connection goes on: {answer:?}");
}

#[tokio::test(start_paused = true)]
async fn several_members_are_one_message() {
    let connection = raw_connection(gzip_router());
    let both = [zipped(b"one "), zipped(b"two")].concat();
    let answer = ask(&connection, "Echo", &[("grpc-encoding", "gzip")], &flagged(&both)).await;
    assert_eq!(unzipped_or_plain(&answer.body), b"one two");
}

fn unzipped_or_plain(body: &[u8]) -> Vec<u8> {
    if body[0] == 1 { unzipped(&body[5..]) } else { body[5..].to_vec() }
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_one_of_what_comes_out_and_of_what_comes_in() {
    let client = gzip_client(gzip_router());
    let is_over = |status: Status, why: &str| {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        for part in [why, "server's limit of 100000", "max_decoding_message_size"] {
            assert!(status.message().contains(part), "{part:?} in {status}");
        }
    };
    let over = || Request::new(words(LIMIT + 1));
    let stream = || Request::new(tokio_stream::iter([words(1), words(LIMIT + 1)]));
    assert_eq!(client.unary("Echo", Request::new(words(LIMIT))).await.unwrap().into_inner().len(), LIMIT);
    is_over(client.unary("Echo", over()).await.unwrap_err(), "inflates to more");
    is_over(client.upload("Join", stream()).await.unwrap_err(), "inflates to more");
    is_over(client.download("Twice", over()).await.unwrap_err(), "inflates to more");
    let connection = raw_connection(gzip_router());
    let large = flagged(&vec![7; LIMIT + 1]);
    let answer = ask(&connection, "Echo", &[("grpc-encoding", "gzip")], &large).await;
    is_over(Status::new(answer.code(), answer.message()), "exceeds");

    let Client(grpc) = client;
    let strict = Client(grpc.clone().max_decoding_message_size(999));
    for status in [
        strict.unary("Echo", Request::new(words(1000))).await.unwrap_err(),
        all(strict.download("Twice", Request::new(words(1000))).await.unwrap().into_inner())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("response message of"), "{status}");
        assert!(status.message().contains("client's limit of 999"), "{status}");
    }
    let sender = Client(grpc.max_encoding_message_size(999));
    let status = sender.unary("Echo", Request::new(words(1000))).await.unwrap_err();
    assert!(status.message().contains("max_encoding_message_size"), "before it is made smaller: {status}");
}

/// Counts messages as they are inflated.
struct Counted(Arc<AtomicUsize>);

impl Compression for Counted {
    fn name(&self) -> &str {
        "x-counted"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        Gzipped.compress(message, out)
    }

    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Gzipped.decompress(message, limit, out)
    }
}

/// What waits for a handler that reads slowly is what came, and not what it inflates to: that would be a thousand times as much
/// as the client's credit.
#[tokio::test(start_paused = true)]
async fn messages_wait_as_they_came() {
    const MESSAGES: usize = 200;
    let inflated = Arc::new(AtomicUsize::new(0));
    let counted = CompressionEncoding::custom(Counted(Arc::clone(&inflated)));
    let service = GenericService::new("t.S").accept_compressed(counted).client_streaming(
        "Slow",
        BytesCodec,
        move |request: Request<Streaming<Bytes>>| {
            let inflated = Arc::clone(&inflated);
            async move {
                let mut uploaded = request.into_inner();
                let mut read = 0;
                while uploaded.message().await?.is_some() {
                    read += 1;
                    assert_eq!(inflated.load(Ordering::Relaxed), read, "those that wait are as they came");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(Response::new(Bytes::from(read.to_string())))
            }
        },
    );
    let connection = raw_connection(Server::builder().add_service(service));
    let call = connection.open(raw::with(raw::grpc("/t.S/Slow"), "grpc-encoding", "x-counted"), false).await;
    let message = flagged(&zipped(&words(10_000)));
    assert!(message.len() < 1000, "{}", message.len());
    for n in 1..=MESSAGES {
        call.send(&message, n == MESSAGES);
    }
    assert_eq!(call.answer().await.body, framed(MESSAGES.to_string().as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_server_may_say_nothing_and_its_client_everything() {
    // The server writes gzip and reads none; the client the other way round.
    let service = GenericService::new("t.S").send_compressed(GZIP);
    let Client(grpc) = Client::of(Server::builder().add_service(methods(service)));
    let reader = Client(grpc.clone().accept_compressed(GZIP));
    assert_eq!(reader.unary("Echo", Request::new(words(1000))).await.unwrap().into_inner(), words(1000));
    let neither = Client(grpc);
    assert_eq!(neither.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}
