//! Attacks on the layer of gRPC, one file each: what a peer sends is legal HTTP/2, mostly. Each must cost its call or its
//! connection, with the status or the GOAWAY that says why; nothing else, and no more memory than its octets.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

mod drained;
mod ends;
mod metadata;
mod nested;
mod prefixes;
mod rapid_reset;
#[path = "../e2e/raw.rs"]
#[allow(dead_code, reason = "what another test program needs")]
mod raw;
mod status_text;
mod timeouts;
mod wire;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server, pair};
use clearway::{Request, Response, Streaming};
use raw::RawConnection;

/// A connection without gRPC to `router`, in memory.
fn raw_connection(router: Router) -> RawConnection {
    let (ours, theirs) = pair();
    tokio::spawn(router.serve_connection(theirs));
    RawConnection::over(ours)
}

/// Sends back what it is sent, one message or a stream of them.
fn echo() -> GenericService {
    GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .bidi_streaming("Echoes", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(request.into_inner()))
        })
}

fn server() -> Router {
    Server::builder().add_service(echo())
}
