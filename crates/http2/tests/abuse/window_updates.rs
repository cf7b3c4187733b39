//! CVE-2019-9511: credit in crumbs.

use clearway_http2::Config;
use clearway_http2::frame::SettingId;
use clearway_testkit::{Peer, headers, window_update};

#[test]
fn window_updates_nothing_explains_end_the_connection() {
    for stream in [0, 1] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        let sent = crate::flood(&mut peer, 1_000_000, "window_updates", |_| window_update(stream, 1));
        assert!((10_000..10_100).contains(&sent), "{sent}");
    }
}

/// A receiver that returns every octet by itself is wasteful, not hostile, as long as DATA flows.
#[test]
fn window_updates_for_data_are_explained() {
    let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::INITIAL_WINDOW_SIZE, 10)]);
    peer.send(headers(1).request().end_stream());
    peer.respond(1, false);
    for _ in 0..20_000 {
        peer.write(1, b"0123456789", false);
        assert_eq!(peer.take_data(1), 10);
        for _ in 0..2 {
            peer.send(window_update(1, 5));
            peer.send(window_update(0, 5));
        }
    }
    peer.expect_alive();
}

/// A hundred responses that trickle by an octet at a time hold no more than their backlogs.
#[test]
fn a_dribble_is_bounded() {
    let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::INITIAL_WINDOW_SIZE, 0)]);
    for n in 0..100 {
        let id = 2 * n + 1;
        peer.send(headers(id).request().end_stream());
        peer.respond(id, false);
        peer.write(id, &[0; 100_000], true);
        let key = peer.app.key(id);
        assert!(peer.tx().is_backlogged(key), "its writer is told to pause");
    }
    peer.drain();
    for n in 0..100 {
        peer.send(window_update(2 * n + 1, 1));
        assert_eq!(peer.take_data(2 * n + 1), 1);
    }
    assert_eq!(peer.engine.pending_output(), 0);
}
