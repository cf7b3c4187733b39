//! What an operator sees of an attack: a line and a counter.

use std::sync::{Arc, Mutex};

use clearway::transport::Server;

use crate::raw::{framed, grpc, without};
use crate::wire::{Wire, call, frame};
use crate::{echo, raw_connection};

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_off_leaves_a_line_and_a_count() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&lines);
    let server = Server::builder().on_connection_end(move |closed| {
        if closed.is_peers_fault() {
            written.lock().unwrap().push(closed.to_string());
        }
    });
    let counters = server.counters();
    let mut wire = Wire::to(server.clone().add_service(echo())).await;
    wire.send(&call(1, "/t.S/Echoes", false)).await;
    wire.send(&frame(0xbe, 0, 0, &[]).repeat(20_000)).await;
    let (_, text) = wire.goaway().await;
    assert_eq!(text, "too many useless frames (limit: glitches)");
    // One that ends by itself is no news.
    let wire = Wire::to(server.add_service(echo())).await;
    drop(wire);
    tokio::time::sleep(core::time::Duration::from_secs(5)).await;
    let lines = lines.lock().unwrap();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in [
        "connection to ",
        "limit: glitches",
        "ENHANCE_YOUR_CALM",
        "1 streams",
        "10001 useless frames",
        "1 open",
    ] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    assert_eq!(counters.connections(), 2);
    assert_eq!(counters.connections_ended(), 2);
    assert_eq!(counters.connections_cut_off(), 1);
}

/// A report that panics is the user's affair, and not the next connection's.
#[tokio::test(start_paused = true)]
async fn a_report_may_panic() {
    let server = Server::builder().on_connection_end(|_| panic!("in the user's code"));
    let counters = server.counters();
    for _ in 0..2 {
        drop(Wire::to(server.clone().add_service(echo())).await);
        tokio::time::sleep(core::time::Duration::from_secs(5)).await;
    }
    assert_eq!(counters.connections_ended(), 2);
}

/// Tolerated, and counted: it is the first sign of a proxy that will lose trailers.
#[tokio::test(start_paused = true)]
async fn requests_without_te_are_counted() {
    let server = Server::builder();
    let counters = server.counters();
    let connection = raw_connection(server.add_service(echo()));
    for n in 0..5u64 {
        connection.exchange(grpc("/t.S/Echo"), &framed(b"m")).await;
        assert_eq!(counters.requests_without_te(), n);
        let answer = connection.exchange(without(grpc("/t.S/Echo"), "te"), &framed(b"m")).await;
        assert_eq!(answer.code(), clearway::Code::Ok);
        assert_eq!(counters.requests_without_te(), n + 1, "also when the section is known by its octets");
    }
}
