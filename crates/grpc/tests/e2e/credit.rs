//! Flow-control credit comes back, whatever becomes of the calls it was spent on.

use core::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Streaming};
use tokio::time::Instant;

use crate::raw::{framed, grpc};
use crate::{Client, raw_connection};

const MIB: usize = 1024 * 1024;

fn router() -> Router {
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .server_streaming("Download", BytesCodec, |_: Request<Bytes>| async move {
            let messages = core::iter::repeat_with(|| Ok(Bytes::from_static(&[7; 16 * 1024])));
            Ok(Response::new(tokio_stream::iter(messages)))
        })
        .client_streaming("Ignore", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            drop(request);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Response::new(Bytes::from_static(b"ignored")))
        });
    Server::builder().add_service(service)
}

/// More than any window that nobody read from lets through.
fn large() -> Bytes {
    (0..3 * MIB / 1024).flat_map(|at| [at.to_le_bytes()[0]; 1024]).collect::<Vec<u8>>().into()
}

async fn assert_flows(client: &Client) {
    let (start, large) = (Instant::now(), large());
    for _ in 0..2 {
        let answer = client.unary("Echo", Request::new(large.clone())).await.expect("it flows");
        assert_eq!(answer.into_inner(), large);
    }
    // Virtual: no timer had to help.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_given_up_half_way_leak_no_credit() {
    let (client, large) = (Client::of(router()), large());
    for round in 0..200 {
        let call = tokio::spawn({
            let (client, large) = (client.clone(), large.clone());
            async move { client.unary("Echo", Request::new(large)).await }
        });
        for _ in 0..round % 20 {
            tokio::task::yield_now().await;
        }
        call.abort();
    }
    assert_flows(&client).await;
}

#[tokio::test(start_paused = true)]
async fn responses_given_up_half_way_leak_no_credit() {
    let client = Client::of(router());
    for round in 0..200 {
        let mut stream =
            client.download("Download", Request::new(Bytes::new())).await.expect("it begins").into_inner();
        for _ in 0..round % 5 {
            assert!(stream.message().await.expect("it goes on").is_some());
        }
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
    }
    assert_flows(&client).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_nobody_wants_is_thrown_away_and_holds_nothing() {
    let client = Client::of(router());
    let pieces = (0..128).map(|_| Bytes::from_static(&[0; 64 * 1024]));
    let upload = client.upload("Ignore", Request::new(tokio_stream::iter(pieces)));
    let (answer, ()) = tokio::join!(upload, assert_flows(&client));
    assert_eq!(answer.unwrap().into_inner(), "ignored");
}

#[tokio::test(start_paused = true)]
async fn messages_that_never_become_whole_starve_nobody() {
    const STUCK: usize = 20;
    let connection = raw_connection(router());
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        let call = connection.open(grpc("/t.S/Echo"), false).await;
        // It promises more than it will ever send.
        let octets = framed(&vec![0; 4 * MIB]);
        call.send(&octets[..2 * MIB], false);
        stuck.push(call);
    }
    let start = Instant::now();
    let whole = connection.exchange(grpc("/t.S/Echo"), &framed(&large())).await;
    assert_eq!((whole.code(), whole.body == framed(&large())), (Code::Ok, true));
    // Each that had the others' credit was given ten seconds to go on.
    assert!(start.elapsed() <= Duration::from_secs(10 * STUCK as u64), "{:?}", start.elapsed());
    let small = connection.exchange(grpc("/t.S/Echo"), &framed(b"m")).await;
    assert_eq!((small.code(), small.body), (Code::Ok, framed(b"m")));
}
