//! A connection for every call: each pays for TCP, TLS and SETTINGS before its first octet.

use clearway::transport::{Endpoint, Server};

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
