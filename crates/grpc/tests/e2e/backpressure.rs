//! A slow reader slows the writer down: what is between them stays bounded, everything arrives in the end, and nobody else
//! on the connection notices.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Request, Response, Status, Streaming};
use tokio::sync::Notify;

use crate::{Client, socket_endpoint, text};

const MESSAGE: usize = 16 * 1024;
const MESSAGES: usize = 4096;
/// What may be between a writer and a reader that sleeps: the stream's window, its backlog, the queue, the pipe.
const BETWEEN: usize = 1024 * 1024;
/// Long enough for everything that can move to have moved, when time is virtual.
const QUIET: Duration = Duration::from_secs(60);
/// The same for a socket, whose time is real.
const SOCKET_QUIET: Duration = Duration::from_millis(200);

/// How many messages were taken from a stream.
type Taken = Arc<AtomicUsize>;

fn messages(taken: &Taken) -> impl Iterator<Item = Bytes> + Send + use<> {
    let taken = Arc::clone(taken);
    let message = Bytes::from(vec![7; MESSAGE]);
    (0..MESSAGES).map(move |_| {
        taken.fetch_add(1, Ordering::Relaxed);
        message.clone()
    })
}

/// Serves downloads, and uploads that are read once `go` says so.
fn router(taken: &Taken, go: &Arc<Notify>) -> Router {
    let (taken, go) = (Arc::clone(taken), Arc::clone(go));
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .server_streaming("Download", BytesCodec, move |_: Request<Bytes>| {
            let messages = messages(&taken).map(Ok);
            async move { Ok(Response::new(tokio_stream::iter(messages))) }
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let go = Arc::clone(&go);
            async move {
                let mut uploaded = request.into_inner();
                let mut octets = uploaded.message().await?.map_or(0, |first| first.len());
                go.notified().await;
                while let Some(message) = uploaded.message().await? {
                    octets += message.len();
                }
                Ok(Response::new(Bytes::from(octets.to_string())))
            }
        });
    Server::builder().add_service(service)
}

/// Waits until nothing moves, and checks that it stopped early, while other calls went on.
async fn assert_stopped(client: &Client, taken: &Taken, quiet: Duration) -> Result<(), Status> {
    tokio::time::sleep(quiet).await;
    let stopped = taken.load(Ordering::Relaxed);
    assert!(stopped >= 2, "it did not start");
    assert!(stopped * MESSAGE <= BETWEEN, "{} octets are on their way", stopped * MESSAGE);
    for _ in 0..10 {
        assert_eq!(client.unary("Echo", text("m")).await?.into_inner(), "m");
    }
    tokio::time::sleep(quiet).await;
    assert_eq!(taken.load(Ordering::Relaxed), stopped, "it creeps on");
    Ok(())
}

async fn download(client: &Client, taken: &Taken, quiet: Duration) -> Result<(), Status> {
    let mut stream = client.download("Download", text("")).await?.into_inner();
    assert_eq!(stream.message().await?.map(|first| first.len()), Some(MESSAGE));
    assert_stopped(client, taken, quiet).await?;
    let mut seen = 1;
    while let Some(message) = stream.message().await? {
        assert_eq!(message.len(), MESSAGE);
        seen += 1;
        let ahead = taken.load(Ordering::Relaxed).saturating_sub(seen) * MESSAGE;
        // A reader that keeps up earns larger windows, out of a budget.
        assert!(ahead <= 24 * BETWEEN, "{ahead} octets are on their way");
    }
    assert_eq!((seen, taken.load(Ordering::Relaxed)), (MESSAGES, MESSAGES));
    Ok(())
}

async fn upload(client: &Client, taken: &Taken, go: &Notify, quiet: Duration) -> Result<(), Status> {
    let call = tokio::spawn({
        let (client, request) = (client.clone(), Request::new(tokio_stream::iter(messages(taken))));
        async move { client.upload("Upload", request).await }
    });
    assert_stopped(client, taken, quiet).await?;
    go.notify_one();
    let sum = call.await.expect("no panic")?.into_inner();
    assert_eq!(sum, (MESSAGES * MESSAGE).to_string());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_slows_the_server_down() {
    let (taken, go) = (Taken::default(), Arc::default());
    download(&Client::of(router(&taken, &go)), &taken, QUIET).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_slows_the_client_down() {
    let (taken, go) = (Taken::default(), Arc::default());
    upload(&Client::of(router(&taken, &go)), &taken, &go, QUIET).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_slows_the_writer_down_over_a_socket() {
    let (taken, go) = (Taken::default(), Arc::default());
    let client = Client::at(socket_endpoint(router(&taken, &go)).await);
    download(&client, &taken, SOCKET_QUIET).await.unwrap();
    taken.store(0, Ordering::Relaxed);
    upload(&client, &taken, &go, SOCKET_QUIET).await.unwrap();
}
