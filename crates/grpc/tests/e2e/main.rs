//! Our server over real connections: in memory, where time is virtual, and over loopback sockets.

mod raw;
mod trailers;

use clearway::transport::{Router, pair};
use raw::RawConnection;

/// A connection without gRPC to `router`, in memory.
fn raw_connection(router: Router) -> RawConnection {
    let (ours, theirs) = pair();
    tokio::spawn(router.serve_connection(theirs));
    RawConnection::over(ours)
}
