//! A service of all four kinds of call, and a client of it.

use bytes::Bytes;
use clearway::client::{Grpc, GrpcService, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::{Request, Response, Status, Streaming};

pub(crate) fn service() -> GenericService {
    GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            if request.get_ref() == "fail" {
                return Err(Status::not_found("nothing here"));
            }
            Ok(Response::new(request.into_inner()))
        })
        .unary("Later", BytesCodec, |request: Request<Bytes>| async move {
            tokio::task::yield_now().await;
            Ok(Response::new(request.into_inner()))
        })
        .unary("Never", BytesCodec, |_: Request<Bytes>| async move {
            core::future::pending::<()>().await;
            Ok(Response::new(Bytes::new()))
        })
        .server_streaming("Letters", BytesCodec, |request: Request<Bytes>| async move {
            let word = request.into_inner();
            let letters = (0..word.len()).map(move |at| Ok(word.slice(at..=at)));
            Ok(Response::new(tokio_stream::iter(letters)))
        })
        .server_streaming("Endless", BytesCodec, |request: Request<Bytes>| async move {
            let word = request.into_inner();
            Ok(Response::new(tokio_stream::iter(core::iter::repeat_with(move || Ok(word.clone())))))
        })
        .client_streaming("Join", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut letters = request.into_inner();
            let mut word = Vec::new();
            while let Some(letter) = letters.message().await? {
                word.extend_from_slice(&letter);
            }
            Ok(Response::new(Bytes::from(word)))
        })
        .bidi_streaming("Chat", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(request.into_inner()))
        })
}

pub(crate) fn path(method: &str) -> MethodPath {
    MethodPath::new(&format!("/t.S/{method}")).unwrap()
}

pub(crate) fn text(message: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(message.as_bytes()))
}

pub(crate) fn texts(
    messages: &'static [&'static str],
) -> Request<impl tokio_stream::Stream<Item = Bytes> + Send + 'static> {
    Request::new(tokio_stream::iter(messages.iter().map(|message| Bytes::from_static(message.as_bytes()))))
}

pub(crate) async fn unary<T: GrpcService>(
    client: &Grpc<T>,
    method: &str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Status> {
    client.unary(request, path(method), BytesCodec).await
}

/// All messages of a response.
pub(crate) async fn collect(mut stream: Streaming<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}
