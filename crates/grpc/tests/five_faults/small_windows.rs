//! Streaming starved by small windows: a window of 64 KiB lets through one for every round trip, whatever the network could.
//! RFC 9113 §6.9.

use std::time::Duration;

use bytes::Bytes;
use clearway::transport::Server;
use clearway::{Code, Request};
use tokio::time::Instant;

use crate::far::Network;
use crate::service::{Client, PIECE};

const ROUND_TRIP: Duration = Duration::from_millis(100);
/// 32 MiB: 51 s with windows of 64 KiB.
const PIECES: usize = 512;

/// How long it takes through windows that stay as RFC 9113 has them in the beginning.
fn starved() -> Duration {
    let windows = (PIECES * PIECE).div_ceil(65_535);
    ROUND_TRIP * u32::try_from(windows).unwrap()
}

#[tokio::test(start_paused = true)]
async fn downloads_of_a_default_pair_are_not_starved() {
    let endpoint = Network::new(ROUND_TRIP).endpoint(Server::builder());
    let client = Client::new(endpoint.connect().await.unwrap());
    let began = Instant::now();
    assert_eq!(client.download(PIECES).await.unwrap(), PIECES * PIECE);
    let took = began.elapsed();
    assert!(took * 20 < starved(), "{took:?}; with 64 KiB windows {:?}", starved());
}

#[tokio::test(start_paused = true)]
async fn uploads_of_a_default_pair_are_not_starved() {
    let endpoint = Network::new(ROUND_TRIP).endpoint(Server::builder());
    let client = Client::new(endpoint.connect().await.unwrap());
    let pieces = tokio_stream::iter((0..PIECES).map(|_| Bytes::from(vec![7; PIECE])));
    let began = Instant::now();
    assert_eq!(client.upload(Request::new(pieces)).await.unwrap(), (PIECES * PIECE).to_string());
    let took = began.elapsed();
    assert!(took * 20 < starved(), "{took:?}; with 64 KiB windows {:?}", starved());
}

/// A server whose windows are small, and stay so, starves uploads: the call that is late says so, with the figure.
#[tokio::test(start_paused = true)]
async fn an_upload_starved_by_its_server_says_what_to_raise() {
    let starving = Server::builder().initial_stream_window_size(65_535);
    let endpoint = Network::new(ROUND_TRIP).endpoint(starving);
    let client = Client::new(endpoint.connect().await.unwrap());
    let pieces = tokio_stream::iter((0..PIECES).map(|_| Bytes::from(vec![7; PIECE])));
    let mut request = Request::new(pieces);
    // Between two rounds: in the instant in which credit comes, nothing is waited for.
    request.set_timeout(Duration::from_millis(9_970));
    let status = client.upload(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let text = status.to_string();
    assert!(text.contains("it waited for the peer's credit for the stream"), "{text}");
    assert!(text.contains("stream windows of 65535 octets"), "{text}");
    assert!(text.contains("raise SETTINGS_INITIAL_WINDOW_SIZE there"), "{text}");
}
