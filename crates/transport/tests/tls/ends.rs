//! How a TLS connection ends: close_notify is an end, a bare FIN is a cut.

use std::time::Duration;

use clearway_http2::ErrorCode;
use clearway_transport::CloseReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::WIDE;
use super::connected;
use super::support::{Peer, Reply, request, serve};

#[tokio::test(start_paused = true)]
async fn close_notify_ends_the_connection_though_the_socket_stays_open() {
    let (server, client) = connected(WIDE).await;
    let server = serve(server, Reply::Body(1));
    let mut peer = Peer::greeted(client).await;
    let began = tokio::time::Instant::now();
    // Shuts the writing side of TLS and of the pipe under it; the pipe's other direction stays open.
    peer.io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    peer.io.read_to_end(&mut rest).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    drop(peer);
    assert_eq!(server.closed().await.0.reason, CloseReason::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn a_fin_without_close_notify_is_a_cut() {
    let (server, client) = connected(WIDE).await;
    let server = serve(server, Reply::Body(1));
    let mut peer = Peer::greeted(client).await;
    peer.write(&request(1, false)).await;
    drop(peer);
    match server.closed().await.0.reason {
        CloseReason::Io(error) => assert!(error.contains("without close_notify"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn our_last_words_end_with_close_notify() {
    let (server, client) = connected(WIDE).await;
    let server = serve(server, Reply::Body(1));
    let mut peer = Peer::greeted(client).await;
    // DATA on an idle stream is an error of the connection.
    peer.write(&super::support::end(7)).await;
    let (_, code, _) = peer.expect_goaway().await;
    assert_eq!(code, ErrorCode::PROTOCOL_ERROR);
    // An end without close_notify would be an error here.
    assert_eq!(peer.io.read(&mut [0; 1]).await.unwrap(), 0);
    drop(peer);
    assert!(matches!(server.closed().await.0.reason, CloseReason::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn octets_after_close_notify_do_not_count() {
    let (server, client) = connected(WIDE).await;
    let server = serve(server, Reply::Body(1));
    let mut peer = Peer::greeted(client).await;
    peer.io.shutdown().await.unwrap();
    // More in the pipe than the session reads at once would be read as records, if it still were.
    assert!(peer.io.write_all(&[0; 10]).await.is_err());
    drop(peer);
    assert_eq!(server.closed().await.0.reason, CloseReason::PeerClosed);
}
