//! CVE-2022-27664: a fatal error during a drain. A connection that failed says so once, hears nothing more, and is over.

use std::time::Duration;

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, data, headers};

#[test]
fn a_fatal_frame_ends_a_connection_that_goes_away() {
    for announced_only in [true, false] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        peer.tx().shutdown();
        peer.flush();
        if !announced_only {
            peer.advance(Duration::from_secs(10));
        }
        peer.drain();
        assert!(!peer.engine.is_finished(), "a stream is open");
        peer.send(data(0, b"fatal"));
        peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "stream 0");
        assert!(peer.engine.is_finished(), "whatever is open");
        assert_eq!(peer.engine.next_timer(), None);
        peer.send(headers(3).request());
        assert_eq!(peer.app.requests(), 1);
    }
}

/// A drain that nobody answers goes on by its own timer.
#[test]
fn a_drain_goes_on_without_the_peer() {
    let mut peer = Peer::of_server(Config::default());
    peer.tx().shutdown();
    peer.flush();
    assert!(!peer.engine.is_finished());
    peer.advance(Duration::from_secs(10));
    assert!(peer.engine.is_finished());
}
