//! ENHANCE_YOUR_CALM: a client asks for signs of life more often than its server likes, and is thrown out, with all its calls. gRFC A8.

use std::time::Duration;

use clearway::Code;
use clearway::transport::Server;
use tokio::time::sleep;

use crate::far::Network;
use crate::log::Log;
use crate::service::Client;

const ROUND_TRIP: Duration = Duration::from_millis(20);

/// A day of silences and calls of every length: nobody is thrown out.
#[tokio::test(start_paused = true)]
async fn a_default_client_never_asks_a_default_server_too_often() {
    let network = Network::new(ROUND_TRIP);
    let client = Client::new(network.endpoint(Server::builder()).connect().await.unwrap());
    let long = tokio::spawn({
        let client = client.clone();
        async move { client.stuck().await }
    });
    for hour in 0..24 {
        for pause in [1, 20, 31, 45, 61, 100, 299, 301, 331, 900] {
            sleep(Duration::from_secs(pause + hour)).await;
            client.echo("hello").await.unwrap();
        }
    }
    assert!(!long.is_finished());
    assert_eq!(network.connections(), 1);
    long.abort();
}

/// A client that asks too often is told by both sides what to change, and asks less often by itself.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_too_often_is_told_what_to_change() {
    let log = Log::default();
    let _guard = log.listen();
    let network = Network::new(ROUND_TRIP);
    let endpoint = network.endpoint(Server::builder()).http2_keep_alive_interval(Duration::from_secs(10));
    let client = Client::new(endpoint.connect().await.unwrap());
    let status = client.stuck().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let text = status.to_string();
    for words in ["too_many_pings", "new connections wait 20s", "raise http2_keep_alive_interval here"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    // What the server's operator reads.
    log.until("cut off: connection to").await;
    log.until("more often than the limit permits (limit: min_ping_interval)").await;
}
