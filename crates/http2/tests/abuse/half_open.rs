//! Slow bodies: requests that begin and do not go on. Streams on which nobody has anything to say are ordinary in gRPC and may
//! last; what is bounded is their number and what is held for them.

use std::time::Duration;

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, data, headers, rst_stream};

#[test]
fn half_open_requests_are_bounded_by_the_stream_limit() {
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 100, ..Config::default() });
    peer.app.keeps_data = true;
    for n in 0..100 {
        peer.send(headers(2 * n + 1).request());
        peer.send(data(2 * n + 1, b"half"));
    }
    peer.send(headers(201).request());
    peer.expect(rst_stream(201, ErrorCode::REFUSED_STREAM));
    peer.advance(Duration::from_secs(3_600));
    peer.expect_alive();
    assert_eq!(peer.tx().stream_count(), 100);
    assert_eq!(peer.engine.next_timer(), None, "nobody is woken for them");
}

/// Nobody reads, and the peer sends all it may on a thousand streams: what is held stays within the budget.
#[test]
fn unread_bodies_stay_within_the_receive_budget() {
    let config = Config::default();
    let budget = config.receive_budget_octets;
    let mut peer = Peer::of_server(config);
    peer.app.keeps_data = true;
    for n in 0..1_000 {
        peer.send(headers(2 * n + 1).request());
        for _ in 0..4 {
            peer.send(data(2 * n + 1, &[0; 16_384]));
        }
    }
    let keys: Vec<_> = peer.app.keys().map(|(id, _)| id).collect();
    let held: usize =
        keys.iter().filter(|id| peer.app.reset(**id).is_none()).map(|id| peer.app.body(*id).len()).sum();
    assert!(held <= budget, "{held} octets are held of {budget}");
    peer.expect_alive();
}
