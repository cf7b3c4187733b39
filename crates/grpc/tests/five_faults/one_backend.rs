//! One backend takes all: a connection lives long, and a channel that has one puts every call on it.

use std::time::Duration;

use clearway::transport::{Channel, Endpoint, LoadBalancing, Server, ServerCounters};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

use crate::service::{Client, counting, listen_at};

/// A backend that counts its calls.
struct Backend {
    address: SocketAddr,
    calls: Arc<std::sync::atomic::AtomicUsize>,
    counters: Arc<ServerCounters>,
    serving: JoinSet<()>,
}

impl Backend {
    async fn at(address: SocketAddr) -> Self {
        let server = Server::builder();
        let (counters, calls) = (server.counters(), Arc::default());
        let (address, serving) = listen_at(address, server.add_service(counting(Arc::clone(&calls)))).await;
        Self { address, calls, counters, serving }
    }

    async fn anywhere() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// Calls since this was last asked.
    fn calls(&self) -> usize {
        self.calls.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}

async fn backends() -> [Backend; 3] {
    [Backend::anywhere().await, Backend::anywhere().await, Backend::anywhere().await]
}

fn target(backends: &[Backend]) -> Endpoint {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.to_string()).collect();
    Endpoint::new(format!("ipv4:{}", addresses.join(","))).unwrap().plaintext()
}

/// Makes calls until there are so many connections.
async fn until_connected(channel: &Channel, client: &Client, connections: usize) {
    for _ in 0..1_000 {
        client.echo("hello").await.unwrap();
        if channel.stats().connections == connections {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", channel.stats());
}

#[tokio::test]
async fn calls_of_a_default_channel_go_to_all_backends() {
    let backends = backends().await;
    let channel = target(&backends).connect_lazy();
    let client = Client::new(channel.clone());
    until_connected(&channel, &client, 3).await;
    let _ = backends.each_ref().map(Backend::calls);
    // One at a time: each in turn.
    for _ in 0..300 {
        client.echo("hello").await.unwrap();
    }
    assert_eq!(backends.each_ref().map(Backend::calls), [100, 100, 100]);
    // Many at a time: about as many each.
    let calls = (0..30).map(|_| {
        let client = client.clone();
        async move {
            for _ in 0..10 {
                client.echo("hello").await.unwrap();
            }
        }
    });
    calls.collect::<JoinSet<()>>().join_all().await;
    let shares = backends.each_ref().map(Backend::calls);
    assert_eq!(shares.iter().sum::<usize>(), 300);
    assert!(shares.iter().all(|share| (70..=130).contains(share)), "{shares:?}");
    assert_eq!(backends.each_ref().map(|backend| backend.counters.connections()), [1, 1, 1]);
}

/// A backend that goes takes no call with it that was not on it, and gets its share again when it is back.
#[tokio::test]
async fn a_backend_may_go_and_come_back() {
    let mut backends = backends().await;
    let channel = target(&backends).connect_lazy();
    let client = Client::new(channel.clone());
    until_connected(&channel, &client, 3).await;
    backends[1].serving.shutdown().await;
    while channel.stats().connections == 3 {
        tokio::task::yield_now().await;
    }
    let _ = backends.each_ref().map(Backend::calls);
    for _ in 0..100 {
        client.echo("hello").await.unwrap();
    }
    let shares = backends.each_ref().map(Backend::calls);
    assert_eq!((shares[0].abs_diff(shares[2]) <= 1, shares[1]), (true, 0), "{shares:?}");
    backends[1] = Backend::at(backends[1].address).await;
    until_connected(&channel, &client, 3).await;
    let _ = backends.each_ref().map(Backend::calls);
    for _ in 0..30 {
        client.echo("hello").await.unwrap();
    }
    assert_eq!(backends.each_ref().map(Backend::calls), [10, 10, 10]);
}

/// Whoever wants gRPC's own default has it.
#[tokio::test]
async fn pick_first_is_for_those_who_ask() {
    let backends = backends().await;
    let client = Client::new(target(&backends).load_balancing(LoadBalancing::PickFirst).connect_lazy());
    for _ in 0..20 {
        client.echo("hello").await.unwrap();
    }
    let mut shares = backends.each_ref().map(Backend::calls);
    shares.sort_unstable();
    assert_eq!(shares, [0, 0, 20]);
}
