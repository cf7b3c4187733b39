//! A server that is far away, in virtual time: every octet takes the same time each way, and as many as like are on their way.

use std::io;
use std::time::Duration;

use clearway::transport::{Endpoint, Router};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Octets that a socket's buffers take.
const BUFFERS: usize = 1024 * 1024;

/// An endpoint of `router`, for one connection; a round trip takes `round_trip`.
pub(crate) fn endpoint(router: Router, round_trip: Duration) -> Endpoint {
    let router = std::sync::Mutex::new(Some(router));
    Endpoint::from_static("http://far-away").connector(move || {
        let router = router.lock().unwrap().take();
        core::future::ready(match router {
            Some(router) => Ok(connect(router, round_trip)),
            None => Err(io::Error::other("there is one connection only")),
        })
    })
}

fn connect(router: Router, round_trip: Duration) -> DuplexStream {
    let (client, client_end) = duplex(BUFFERS);
    let (server, server_end) = duplex(BUFFERS);
    tokio::spawn(router.serve_connection(server.into()));
    let (from_client, to_client) = tokio::io::split(client_end);
    let (from_server, to_server) = tokio::io::split(server_end);
    way(from_client, to_server, round_trip / 2);
    way(from_server, to_client, round_trip / 2);
    client
}

fn way(
    mut from: impl AsyncRead + Send + Unpin + 'static,
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    delay: Duration,
) {
    let (sender, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        loop {
            let mut octets = vec![0; 64 * 1024];
            match from.read(&mut octets).await {
                Ok(read @ 1..) => {
                    octets.truncate(read);
                    if sender.send((Instant::now() + delay, octets)).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, octets)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&octets).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
}
