//! CVE-2019-9514, RUSTSEC-2024-0003: requests that make us send RST_STREAM, also while the peer does not read.

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, headers};

#[test]
fn malformed_requests_draw_on_the_reset_budget() {
    let mut peer = Peer::of_server(Config::default());
    let sent = crate::flood(&mut peer, 50_000, "resets", |n| {
        headers(2 * n as u32 + 1).request().field("Upper", "x")
    });
    assert!((1000..1010).contains(&sent), "{sent}");
    assert_eq!(peer.app.requests(), 0);
}

#[test]
fn refused_streams_draw_on_the_reset_budget() {
    let mut peer = Peer::of_server(Config { max_concurrent_streams: 1, ..Config::default() });
    let sent = crate::flood(&mut peer, 50_000, "resets", |n| headers(2 * n as u32 + 1).request());
    assert!((1000..1010).contains(&sent), "{sent}");
}

/// The peer does not read: the resets it provokes must not pile up.
#[test]
fn unread_resets_stop_the_reader() {
    let mut config = Config::default();
    config.limits.resets = 1_000_000;
    let mut peer = Peer::of_server(config);
    peer.pause_reading();
    for n in 0..20_000 {
        peer.send(headers(2 * n + 1).request().field("Upper", "x"));
        if peer.untaken() > 0 {
            break;
        }
    }
    assert!(peer.untaken() > 0, "it reads on and on");
    assert!(peer.engine.pending_output() < 64 * 1024, "{} octets wait", peer.engine.pending_output());
    peer.resume_reading();
    peer.expect_resets(1000, ErrorCode::PROTOCOL_ERROR);
    assert_eq!(peer.untaken(), 0, "it reads again");
}
