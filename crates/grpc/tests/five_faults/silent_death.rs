//! Silent death after idle: a NAT, a firewall or a load balancer forgets a connection that says nothing, and tells nobody. The next
//! call goes into the void, and waits for its deadline. gRFC A8.

use std::time::Duration;

use clearway::Code;
use clearway::transport::{CloseReason, Server, TransportEvent};
use tokio::time::{Instant, sleep};

use crate::far::Network;
use crate::log::Log;
use crate::service::Client;

const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Nothing is lost but a second, and a line says what to look for.
#[tokio::test(start_paused = true)]
async fn the_first_call_after_a_silence_finds_a_new_connection() {
    let log = Log::default();
    let _guard = log.listen();
    let network = Network::new(ROUND_TRIP);
    let client = Client::new(network.endpoint(Server::builder()).connect().await.unwrap());
    client.echo("hello").await.unwrap();
    sleep(Duration::from_secs(600)).await;
    network.forget();
    let began = Instant::now();
    assert_eq!(client.echo("are you there?").await.unwrap(), "are you there?");
    assert!(began.elapsed() < Duration::from_millis(1_200), "{:?}", began.elapsed());
    assert_eq!(network.connections(), 2);
    log.until("forgets idle connections: raise its idle timeout").await;
    // A connection that lives is used again.
    sleep(Duration::from_secs(600)).await;
    client.echo("and now?").await.unwrap();
    assert_eq!(network.connections(), 2);
}

/// A call that is under way waits for an answer that does not come: it is told in six minutes, not in two hours.
#[tokio::test(start_paused = true)]
async fn a_call_under_way_is_told() {
    let network = Network::new(ROUND_TRIP);
    let client = Client::new(network.endpoint(Server::builder()).connect().await.unwrap());
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.stuck().await }
    });
    sleep(Duration::from_secs(10)).await;
    network.forget();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let event = &status.transport().unwrap().event;
    let expired = TransportEvent::ConnectionClosed(CloseReason::KeepaliveExpired {
        silent: Duration::from_secs(5 * 60 + 30 + 20),
    });
    assert_eq!(*event, expired);
    assert!(status.to_string().contains("a NAT, firewall or load balancer on the way"), "{status}");
    client.echo("hello").await.unwrap();
}
