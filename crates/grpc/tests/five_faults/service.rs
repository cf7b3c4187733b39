//! The service all of them call: octets for messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Address, Channel, Listener, Router, Server};
use clearway::{Request, Response, Status, Streaming};
use tokio::task::JoinSet;
use tokio_stream::Stream;

/// Octets of one message of a download.
pub(crate) const PIECE: usize = 64 * 1024;

/// `Echo` answers what it is sent; `Download` sends as many pieces as the request has octets; `Upload` reads
/// everything; `Stuck` never answers.
pub(crate) fn service() -> GenericService {
    GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Stuck", BytesCodec, |_: Request<Bytes>| core::future::pending())
        .server_streaming("Download", BytesCodec, |request: Request<Bytes>| async move {
            let pieces = request.into_inner().len();
            Ok(Response::new(tokio_stream::iter(
                (0..pieces).map(|_| Ok::<_, Status>(Bytes::from(vec![7; PIECE]))),
            )))
        })
        .client_streaming("Upload", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut messages = request.into_inner();
            let mut octets = 0;
            while let Some(message) = messages.message().await? {
                octets += message.len();
            }
            Ok(Response::new(Bytes::from(octets.to_string())))
        })
}

/// A client of [`service`].
#[derive(Clone)]
pub(crate) struct Client(Grpc<Channel>);

impl Client {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Grpc::new(channel))
    }

    pub(crate) async fn echo(&self, text: &'static str) -> Result<Bytes, Status> {
        let request = Request::new(Bytes::from_static(text.as_bytes()));
        Ok(self.0.unary(request, path("Echo"), BytesCodec).await?.into_inner())
    }

    /// A call that is never answered.
    pub(crate) async fn stuck(&self) -> Result<Bytes, Status> {
        let answer = self.0.unary(Request::new(Bytes::new()), path("Stuck"), BytesCodec).await?;
        Ok(answer.into_inner())
    }

    /// The octets of a download of so many pieces.
    pub(crate) async fn download(&self, pieces: usize) -> Result<usize, Status> {
        let request = Request::new(Bytes::from(vec![0; pieces]));
        let mut messages = self.0.server_streaming(request, path("Download"), BytesCodec).await?.into_inner();
        let mut octets = 0;
        while let Some(message) = messages.message().await? {
            octets += message.len();
        }
        Ok(octets)
    }

    pub(crate) async fn upload<S>(&self, request: Request<S>) -> Result<Bytes, Status>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        Ok(self.0.client_streaming(request, path("Upload"), BytesCodec).await?.into_inner())
    }
}

fn path(method: &str) -> MethodPath {
    MethodPath::new(&format!("/t.S/{method}")).unwrap()
}

/// As [`service`], without streams; counts the calls.
pub(crate) fn counting(calls: Arc<AtomicUsize>) -> GenericService {
    GenericService::new("t.S").unary("Echo", BytesCodec, move |request: Request<Bytes>| {
        calls.fetch_add(1, Ordering::Relaxed);
        async move { Ok(Response::new(request.into_inner())) }
    })
}

/// Serves `server` on a free port of loopback until what is returned beside its address is dropped.
pub(crate) async fn listen(server: Server) -> (SocketAddr, JoinSet<()>) {
    listen_at(([127, 0, 0, 1], 0).into(), server.add_service(service())).await
}

/// As [`listen`], at an address.
pub(crate) async fn listen_at(address: SocketAddr, router: Router) -> (SocketAddr, JoinSet<()>) {
    let listener = Listener::bind(&Address::Tcp(address)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        router.serve_with_listener(listener, core::future::pending()).await.unwrap();
    });
    (address, serving)
}
