//! A connection for every call: each pays for TCP, TLS and SETTINGS before its first octet.

use std::sync::Arc;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Address, Endpoint, Listener, Server};
use clearway::{Request, Response};
use tokio::sync::Notify;

use crate::log::Log;
use crate::service::Client;

/// However many clients and tasks share a channel, and however many calls there are at once: one connection.
#[tokio::test]
async fn all_calls_of_a_channel_share_one_connection() {
    let server = Server::builder();
    let counters = server.counters();
    let (address, _serving) = crate::service::listen(server).await;
    let channel = Endpoint::new(format!("http://{address}")).unwrap().connect_lazy();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let client = Client::new(channel.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    assert_eq!(client.echo("hello").await.unwrap(), "hello");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(counters.connections(), 1);
}

/// A program that makes a channel for every call is told, on both sides.
#[tokio::test]
async fn a_channel_for_every_call_is_told_on_both_sides() {
    let log = Log::default();
    let _guard = log.listen();
    let server = Server::builder();
    let counters = server.counters();
    let (address, _serving) = crate::service::listen(server).await;
    for _ in 0..100 {
        let channel = Endpoint::new(format!("http://{address}")).unwrap().connect_lazy();
        assert_eq!(Client::new(channel).echo("hello").await.unwrap(), "hello");
    }
    log.until("the last 100 connections carried one call each at most").await;
    log.until(&format!("this program closed the last 20 channels to {address} after one call")).await;
    assert!(log.text().contains("make one Channel and clone it"));
    assert_eq!((counters.connections(), counters.connections_for_one_call()), (100, 100));
}

/// A server that ends every connection after one call makes its clients connect for each; they go on, and say so.
#[tokio::test]
async fn a_server_that_takes_one_call_a_connection_is_told() {
    let log = Log::default();
    let _guard = log.listen();
    let listener = Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        for _ in 0..30 {
            let stream = listener.accept().await.unwrap();
            let answered = Arc::new(Notify::new());
            let told = Arc::clone(&answered);
            let echo =
                GenericService::new("t.S").unary("Echo", BytesCodec, move |request: Request<Bytes>| {
                    told.notify_one();
                    async move { Ok(Response::new(request.into_inner())) }
                });
            let router = Server::builder().add_service(echo);
            router.serve_connection_with_shutdown(stream, async move { answered.notified().await }).await;
        }
    });
    let client = Client::new(Endpoint::new(format!("http://{address}")).unwrap().connect_lazy());
    for _ in 0..30 {
        assert_eq!(client.echo("hello").await.unwrap(), "hello");
        // Until the server has ended the connection nothing is to be seen.
        tokio::task::yield_now().await;
    }
    serving.await.unwrap();
    log.until(&format!("{address} ended the last 20 connections after one call each")).await;
}
