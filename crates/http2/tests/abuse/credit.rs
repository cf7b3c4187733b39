//! Windows misused: above 2^31 - 1, below zero, beyond what was given; and padding whose credit leaked in others.

use clearway_http2::frame::SettingId;
use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, data, headers, rst_stream, settings, window_update};

const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
const WINDOW: SettingId = SettingId::INITIAL_WINDOW_SIZE;

#[test]
fn a_window_has_a_top() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(window_update(1, 0x7fff_ffff));
    peer.expect(rst_stream(1, FLOW));
    peer.expect_alive();
    peer.send(window_update(0, 0x7fff_ffff));
    peer.expect_goaway(FLOW, "connection window above");
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    peer.send(window_update(1, 0x7fff_ffff - 65_535));
    peer.send(settings(&[(WINDOW, 65_536)]));
    peer.expect_last_goaway(FLOW, "lifts a window");
}

/// A window that goes up and down with thousands of SETTINGS stays what it is; nothing goes while it is not above zero, but
/// the end does.
#[test]
fn a_window_that_swings_loses_nothing() {
    let mut peer = Peer::of_server_with(Config::default(), &[(WINDOW, 65_535)]);
    peer.send(headers(1).request().end_stream());
    peer.respond(1, false);
    peer.write(1, &[0; 100_000], false);
    assert_eq!(peer.take_data(1), 65_535);
    for _ in 0..2_000 {
        peer.send(settings(&[(WINDOW, 0)]));
        peer.send(settings(&[(WINDOW, 65_535)]));
    }
    assert_eq!(peer.take_data(1), 0);
    peer.send(settings(&[(WINDOW, 0)]));
    peer.send(window_update(0, 100_000));
    peer.send(window_update(1, 65_535));
    assert_eq!(peer.take_data(1), 0, "it is zero now");
    peer.send(window_update(1, 34_465));
    assert_eq!(peer.take_data(1), 34_465);
}

#[test]
fn data_beyond_the_window_is_never_held() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.keeps_data = true;
    peer.send(headers(1).request());
    for _ in 0..4 {
        peer.send(data(1, &[0; 16_384]));
    }
    peer.send(data(1, b"x"));
    assert_eq!(peer.app.body(1).len(), 65_536, "not an octet more");
    peer.drain();
    peer.expect_alive();
    assert_eq!(peer.app.reset(1).map(|reset| reset.code), Some(FLOW));
}

/// h2 0.4.13 to 0.4.15 kept the connection's credit for padding until nothing went any more.
#[test]
fn a_hundred_thousand_padded_frames_leak_no_credit() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request());
    for n in 0..100_000u32 {
        peer.send(data(1, b"x").padded(255));
        if n % 100 == 0 {
            assert_eq!(peer.failure(), None, "{n}");
            peer.app.events.clear();
        }
        peer.drain();
    }
    peer.send(headers(3).request());
    for _ in 0..4 {
        peer.send(data(3, &[0; 16_384]));
    }
    assert_eq!(peer.app.body(3).len(), 65_536, "a normal upload goes as before");
    peer.expect_alive();
}
