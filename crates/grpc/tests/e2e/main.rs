//! Our client and our server, and our server against a scripted client, over real connections: in memory, where time is
//! virtual, and over loopback sockets.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

mod backpressure;
mod cancellation;
#[cfg(feature = "gzip")]
mod compression;
mod context;
mod credit;
mod deadlines;
mod keepalive;
mod kinds;
mod life;
mod limits;
mod many_calls;
mod metadata;
mod on_cancel;
mod panics;
mod parked;
mod placement;
mod raw;
mod refusals;
mod retries;
mod shutdown;
mod storm;
mod trailers;
mod visits;

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::transport::{Address, Channel, Endpoint, Listener, Router, Stream, pair};
use clearway::{Request, Response, Status, Streaming};
use raw::RawConnection;
use tokio::sync::mpsc;
use tokio_stream::Stream as MessageStream;

/// A connection without gRPC to `router`, in memory.
fn raw_connection(router: Router) -> RawConnection {
    let (ours, theirs) = pair();
    tokio::spawn(router.serve_connection(theirs));
    RawConnection::over(ours)
}

/// Serves `router` on a free port of loopback, until the runtime ends.
async fn listen(router: Router) -> SocketAddr {
    let listener = listener().await;
    let address = listener.local_addr().expect("TCP has an address");
    tokio::spawn(router.serve_with_listener(listener, std::future::pending()));
    address
}

async fn listener() -> Listener {
    let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    Listener::bind(&any).await.expect("loopback can be listened on")
}

/// An endpoint of `router`, in memory: for one connection.
fn endpoint(router: Router) -> Endpoint {
    let router = Arc::new(Mutex::new(Some(router)));
    Endpoint::from_static("http://in-memory").connector(move || {
        let router = router.lock().expect("nobody panics here").take();
        core::future::ready(match router {
            Some(router) => {
                let (ours, theirs) = pair();
                tokio::spawn(router.serve_connection(theirs));
                Ok(ours)
            }
            None => Err(io::Error::other("there is one connection only")),
        })
    })
}

/// An endpoint at the other end of `stream`: for one connection.
fn over(stream: Stream) -> Endpoint {
    let stream = Mutex::new(Some(stream));
    Endpoint::from_static("http://in-memory").connector(move || {
        let stream = stream.lock().expect("nobody panics here").take();
        core::future::ready(stream.ok_or_else(|| io::Error::other("there is one connection only")))
    })
}

/// An endpoint of `router`, over loopback.
async fn socket_endpoint(router: Router) -> Endpoint {
    Endpoint::new(format!("http://{}", listen(router).await)).expect("an address is a target")
}

/// Calls of any method, with octets for messages.
#[derive(Clone)]
struct Client(Grpc<Channel>);

impl Client {
    /// A client of `router`, in memory.
    fn of(router: Router) -> Self {
        Self::at(endpoint(router))
    }

    fn at(endpoint: Endpoint) -> Self {
        Self(Grpc::new(endpoint.connect_lazy()))
    }

    async fn unary(&self, method: &str, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.0.unary(request, path(method), BytesCodec).await
    }

    async fn download(
        &self,
        method: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.0.server_streaming(request, path(method), BytesCodec).await
    }

    async fn upload<S>(&self, method: &str, request: Request<S>) -> Result<Response<Bytes>, Status>
    where
        S: MessageStream<Item = Bytes> + Send + 'static,
    {
        self.0.client_streaming(request, path(method), BytesCodec).await
    }

    async fn duplex<S>(&self, method: &str, request: Request<S>) -> Result<Response<Streaming<Bytes>>, Status>
    where
        S: MessageStream<Item = Bytes> + Send + 'static,
    {
        self.0.bidi_streaming(request, path(method), BytesCodec).await
    }
}

fn path(method: &str) -> MethodPath {
    MethodPath::new(&format!("/t.S/{method}")).expect("a method's name")
}

fn text(message: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(message.as_bytes()))
}

/// What handlers and streams have to tell a test, in order.
#[derive(Clone)]
struct Teller(mpsc::UnboundedSender<String>);

/// The test's end of [`Teller`].
struct Told(mpsc::UnboundedReceiver<String>);

fn story() -> (Teller, Told) {
    let (teller, told) = mpsc::unbounded_channel();
    (Teller(teller), Told(told))
}

impl Teller {
    fn tell(&self, what: impl Into<String>) {
        // The test may be over.
        let _ = self.0.send(what.into());
    }

    /// Tells when what it is given to was dropped.
    fn on_drop(&self, what: &'static str) -> OnDrop {
        OnDrop { teller: self.clone(), what }
    }
}

impl Told {
    async fn next(&mut self) -> String {
        let told = tokio::time::timeout(Duration::from_secs(30), self.0.recv()).await;
        told.expect("nothing is told").expect("somebody is left to tell")
    }

    /// True if nothing was told that was not listened to.
    fn is_silent(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

struct OnDrop {
    teller: Teller,
    what: &'static str,
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.teller.tell(self.what);
    }
}

/// A stream that keeps something for as long as it lives.
struct Keeping<S, T>(S, T);

impl<S: MessageStream + Unpin, T: Unpin> MessageStream for Keeping<S, T> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}
