//! Limits on the size of messages, each way and on each side: the code, the name of the option, and a connection that goes
//! on.

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::metadata::MetadataValue;
use clearway::server::GenericService;
use clearway::transport::{Router, Server, TransportEvent};
use clearway::{Code, Request, Response, Status, Streaming};

use crate::{Client, Teller, story, text};

const LIMIT: usize = 1000;
const MIB: usize = 1024 * 1024;

/// Answers of the size that is asked for.
fn answering(service: GenericService, teller: &Teller) -> Router {
    let (teller, asked) = (teller.clone(), |request: Bytes| -> usize {
        std::str::from_utf8(&request).unwrap().trim_end_matches('.').parse().unwrap()
    });
    let service = service
        .unary("Size", BytesCodec, move |request: Request<Bytes>| {
            teller.tell("started");
            async move { Ok(Response::new(Bytes::from(vec![0; asked(request.into_inner())]))) }
        })
        .server_streaming("Sizes", BytesCodec, move |request: Request<Bytes>| async move {
            let size = asked(request.into_inner());
            Ok(Response::new(tokio_stream::iter([1, size, 1].map(|size| Ok(Bytes::from(vec![0; size]))))))
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

fn ask(size: usize) -> Request<Bytes> {
    Request::new(Bytes::from(size.to_string()))
}

/// A request of so many octets that asks for an empty answer.
fn padded(octets: usize) -> Request<Bytes> {
    Request::new(Bytes::from(format!("0{}", ".".repeat(octets - 1))))
}

fn sizes(sizes: [usize; 2]) -> Request<tokio_stream::Iter<std::vec::IntoIter<Bytes>>> {
    let messages: Vec<_> = sizes.into_iter().map(|size| Bytes::from(vec![0; size])).collect();
    Request::new(tokio_stream::iter(messages))
}

fn assert_over(status: &Status, size: usize, limit: usize, option: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    for part in [&size.to_string(), &limit.to_string(), option] {
        assert!(status.message().contains(part), "{part:?} in {status}");
    }
}

async fn download(client: &Client, size: usize) -> (Vec<usize>, Result<(), Status>) {
    let mut stream = client.download("Sizes", ask(size)).await.expect("it begins").into_inner();
    let mut seen = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => seen.push(message.len()),
            Ok(None) => return (seen, Ok(())),
            Err(status) => return (seen, Err(status)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_refuses_to_receive_what_is_over_its_limit() {
    let (teller, _told) = story();
    let service = GenericService::new("t.S").max_decoding_message_size(LIMIT);
    let client = Client::of(answering(service, &teller));
    assert_eq!(client.unary("Size", padded(LIMIT)).await.unwrap().into_inner(), "");
    let status = client.unary("Size", padded(LIMIT + 1)).await.unwrap_err();
    assert_over(&status, LIMIT + 1, LIMIT, "max_decoding_message_size");
    assert_eq!(client.upload("Sum", sizes([LIMIT, LIMIT])).await.unwrap().into_inner(), "2000");
    let status = client.upload("Sum", sizes([1, LIMIT + 1])).await.unwrap_err();
    assert_over(&status, LIMIT + 1, LIMIT, "max_decoding_message_size");
    assert_eq!(client.unary("Size", ask(1)).await.unwrap().into_inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_refuses_to_send_what_is_over_its_limit() {
    let (teller, _told) = story();
    let service = GenericService::new("t.S").max_encoding_message_size(LIMIT);
    let client = Client::of(answering(service, &teller));
    assert_eq!(client.unary("Size", ask(LIMIT)).await.unwrap().into_inner().len(), LIMIT);
    let status = client.unary("Size", ask(LIMIT + 1)).await.unwrap_err();
    assert_over(&status, LIMIT + 1, LIMIT, "max_encoding_message_size");
    let (seen, end) = download(&client, LIMIT + 1).await;
    assert_eq!(seen, [1]);
    assert_over(&end.unwrap_err(), LIMIT + 1, LIMIT, "max_encoding_message_size");
    assert_eq!(client.unary("Size", ask(1)).await.unwrap().into_inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_refuses_to_receive_what_is_over_its_limit() {
    let (teller, _told) = story();
    let Client(grpc) = Client::of(answering(GenericService::new("t.S"), &teller));
    let client = Client(grpc.max_decoding_message_size(LIMIT));
    assert_eq!(client.unary("Size", ask(LIMIT)).await.unwrap().into_inner().len(), LIMIT);
    let status = client.unary("Size", ask(LIMIT + 1)).await.unwrap_err();
    assert_over(&status, LIMIT + 1, LIMIT, "max_decoding_message_size");
    let (seen, end) = download(&client, LIMIT + 1).await;
    assert_eq!(seen, [1]);
    assert_over(&end.unwrap_err(), LIMIT + 1, LIMIT, "max_decoding_message_size");
    assert_eq!(client.unary("Size", ask(1)).await.unwrap().into_inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_refuses_to_send_what_is_over_its_limit() {
    let (teller, mut told) = story();
    let Client(grpc) = Client::of(answering(GenericService::new("t.S"), &teller));
    let client = Client(grpc.max_encoding_message_size(LIMIT));
    assert_eq!(client.unary("Size", padded(LIMIT)).await.unwrap().into_inner(), "");
    assert_eq!(told.next().await, "started");
    let status = client.unary("Size", padded(LIMIT + 1)).await.unwrap_err();
    assert_over(&status, LIMIT + 1, LIMIT, "max_encoding_message_size");
    let status = client.upload("Sum", sizes([1, LIMIT + 1])).await.unwrap_err();
    assert_over(&status, LIMIT + 1, LIMIT, "max_encoding_message_size");
    assert!(told.is_silent(), "the large request was sent");
    assert_eq!(client.unary("Size", ask(1)).await.unwrap().into_inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn by_default_four_mebibytes_are_received_and_anything_is_sent() {
    let (teller, _told) = story();
    let client = Client::of(answering(GenericService::new("t.S"), &teller));
    assert_eq!(client.unary("Size", ask(4 * MIB)).await.unwrap().into_inner().len(), 4 * MIB);
    let status = client.unary("Size", ask(4 * MIB + 1)).await.unwrap_err();
    assert_over(&status, 4 * MIB + 1, 4 * MIB, "max_decoding_message_size");
    assert_eq!(client.unary("Size", padded(4 * MIB)).await.unwrap().into_inner(), "");
    let status = client.unary("Size", padded(4 * MIB + 1)).await.unwrap_err();
    assert_over(&status, 4 * MIB + 1, 4 * MIB, "max_decoding_message_size");
    assert_eq!(client.unary("Size", text("1")).await.unwrap().into_inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_the_other_side_would_not_accept_is_not_sent() {
    let large = || MetadataValue::try_from("v".repeat(20 * 1024)).expect("ASCII");
    let service = GenericService::new("t.S")
        .unary("Head", BytesCodec, move |request: Request<Bytes>| async move {
            let mut response = Response::new(request.into_inner());
            response.metadata_mut().insert("x-large", large());
            Ok(response)
        })
        .unary("Status", BytesCodec, move |_: Request<Bytes>| async move {
            let mut status = Status::aborted("no");
            status.metadata_mut().insert("x-large", large());
            Err::<Response<Bytes>, _>(status)
        })
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        });
    let client = Client::of(Server::builder().add_service(service));
    // The first call also waits for what the server accepts.
    client.unary("Echo", text("m")).await.unwrap();
    let mut request = text("m");
    request.metadata_mut().insert("x-large", large());
    let status = client.unary("Echo", request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let event = status.transport().map(|cause| cause.event.clone());
    assert!(matches!(event, Some(TransportEvent::HeaderListTooLarge { limit: 16_384, .. })), "{status:?}");

    let status = client.unary("Head", text("m")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("response headers of"), "{status}");
    // The code survives, the metadata does not.
    assert_eq!(client.unary("Status", text("m")).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(client.unary("Echo", text("m")).await.unwrap().into_inner(), "m");
}
