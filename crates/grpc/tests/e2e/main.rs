//! Our client and our server, and either of them against a scripted peer, over real connections: in memory, where time is
//! virtual, and over loopback sockets.

mod raw;
mod refusals;
mod trailers;

use std::net::SocketAddr;

use clearway::transport::{Address, Listener, Router, pair};
use raw::RawConnection;

/// A connection without gRPC to `router`, in memory.
fn raw_connection(router: Router) -> RawConnection {
    let (ours, theirs) = pair();
    tokio::spawn(router.serve_connection(theirs));
    RawConnection::over(ours)
}

/// Serves `router` on a free port of loopback, until the runtime ends.
async fn listen(router: Router) -> SocketAddr {
    let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&any).await.expect("loopback can be listened on");
    let address = listener.local_addr().expect("TCP has an address");
    tokio::spawn(router.serve_with_listener(listener, std::future::pending()));
    address
}
