//! A server that ends gracefully: calls that run finish, new ones are turned away, and then it is gone.

use core::time::Duration;
use std::net::SocketAddr;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Endpoint, Router, Server};
use clearway::{Code, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::{Client, Teller, listener, story, text};

/// Methods that wait until `go` says so.
fn router(teller: &Teller, go: &watch::Receiver<bool>) -> Router {
    let (unary, unary_go, stream_go) = (teller.clone(), go.clone(), go.clone());
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Wait", BytesCodec, move |request: Request<Bytes>| {
            let (teller, mut go) = (unary.clone(), unary_go.clone());
            async move {
                teller.tell("started");
                let _ = go.wait_for(|go| *go).await;
                Ok(Response::new(request.into_inner()))
            }
        })
        .server_streaming("Stream", BytesCodec, move |request: Request<Bytes>| {
            let mut go = stream_go.clone();
            async move {
                let (say, said) = tokio::sync::mpsc::channel(1);
                tokio::spawn(async move {
                    let _ = say.send(Ok(Bytes::from_static(b"first"))).await;
                    let _ = go.wait_for(|go| *go).await;
                    let _ = say.send(Ok(request.into_inner())).await;
                });
                Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(said)))
            }
        });
    Server::builder().add_service(service)
}

struct Serving {
    address: SocketAddr,
    shut_down: oneshot::Sender<()>,
    task: JoinHandle<Result<(), clearway::Error>>,
}

async fn serve(router: Router) -> Serving {
    let listener = listener().await;
    let address = listener.local_addr().expect("TCP has an address");
    let (shut_down, asked) = oneshot::channel::<()>();
    let task = tokio::spawn(router.serve_with_listener(listener, async move {
        let _ = asked.await;
    }));
    Serving { address, shut_down, task }
}

fn client(address: SocketAddr) -> Client {
    Client::at(Endpoint::new(format!("http://{address}")).expect("an address is a target"))
}

/// Everything here takes milliseconds; nothing may hang.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

#[tokio::test]
async fn running_calls_finish_and_new_ones_are_turned_away() {
    let (teller, mut told) = story();
    let (go, wait) = watch::channel(false);
    let Serving { address, shut_down, task } = serve(router(&teller, &wait)).await;
    let client = client(address);
    let unary = tokio::spawn({
        let client = client.clone();
        async move { client.unary("Wait", text("waited")).await }
    });
    let mut stream = client.download("Stream", text("last")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(told.next().await, "started");

    shut_down.send(()).expect("it is served");
    // Until GOAWAY has come a call may still be taken, and is then answered; from there on none is.
    let refused = in_time(async {
        loop {
            match client.unary("Echo", text("m")).await {
                Ok(answer) => assert_eq!(answer.into_inner(), "m"),
                Err(status) => return status,
            }
        }
    })
    .await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    assert!(!task.is_finished(), "it waits for the calls that run");

    go.send(true).expect("handlers wait");
    assert_eq!(in_time(unary).await.unwrap().unwrap().into_inner(), "waited");
    assert_eq!(in_time(stream.message()).await.unwrap().as_deref(), Some(&b"last"[..]));
    assert_eq!(in_time(stream.message()).await.unwrap(), None);
    in_time(task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_without_calls_ends_at_once() {
    let (teller, _told) = story();
    let (_go, wait) = watch::channel(false);
    let Serving { address, shut_down, task } = serve(router(&teller, &wait)).await;
    let client = client(address);
    client.unary("Echo", text("m")).await.unwrap();
    shut_down.send(()).expect("it is served");
    in_time(task).await.unwrap().unwrap();
    assert_eq!(client.unary("Echo", text("m")).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_channel_finds_the_successor_of_a_server() {
    let (teller, _told) = story();
    let (_go, wait) = watch::channel(false);
    let Serving { address, shut_down, task } = serve(router(&teller, &wait)).await;
    let client = client(address);
    client.unary("Echo", text("m")).await.unwrap();
    shut_down.send(()).expect("it is served");
    in_time(task).await.unwrap().unwrap();
    let again =
        clearway::transport::Listener::bind(&clearway::transport::Address::Tcp(address)).await.unwrap();
    tokio::spawn(router(&teller, &wait).serve_with_listener(again, std::future::pending()));
    in_time(async {
        while let Err(status) = client.unary("Echo", text("m")).await {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            tokio::task::yield_now().await;
        }
    })
    .await;
}
