//! CVE-2016-1546, CVE-2019-9517: answers are asked for and then not taken, for want of credit.

use std::time::Duration;

use clearway_http2::frame::SettingId;
use clearway_http2::limits::Limits;
use clearway_http2::{By, Config, ErrorCode, Reset, Violation};
use clearway_testkit::{Event, Peer, headers, rst_stream, settings, window_update};

const STALLED: Reset =
    Reset { code: ErrorCode::ENHANCE_YOUR_CALM, by: By::Us, violation: Some(Violation::SendStalled) };

/// A client with windows of this size; `streams` requests of it are answered with 100,000 octets each.
fn asked(window: u32, streams: u32) -> Peer {
    asked_of(Config::default(), window, streams)
}

/// What a server is told that does not wait for ever.
fn impatient() -> Config {
    let limits = Limits { send_stall: Duration::from_secs(300), ..Limits::default() };
    Config { limits, ..Config::default() }
}

fn asked_of(config: Config, window: u32, streams: u32) -> Peer {
    let mut peer = Peer::of_server_with(config, &[(SettingId::INITIAL_WINDOW_SIZE, window)]);
    for n in 0..streams {
        let id = 2 * n + 1;
        peer.send(headers(id).request().end_stream());
        peer.respond(id, false);
        peer.write(id, &[0; 100_000], true);
    }
    peer.drain();
    peer.app.events.clear();
    peer
}

/// Whoever announces no window and gives no credit is let go after half a minute; the connection goes on.
#[test]
fn streams_without_a_window_are_reset_after_30_seconds() {
    let mut peer = asked(0, 100);
    peer.advance(Duration::from_secs(29));
    peer.expect_silence();
    assert_eq!(peer.tx().stream_count(), 100);
    peer.advance(Duration::from_secs(1));
    for n in 0..100 {
        peer.expect(rst_stream(2 * n + 1, ErrorCode::ENHANCE_YOUR_CALM));
    }
    assert_eq!(peer.app.reset(1), Some(STALLED), "the program is told why");
    assert_eq!(peer.tx().stream_count(), 0);
    peer.expect_alive();
}

/// Its user went away for a day with half of a page read. What waits is little, and nobody is woken for it.
#[test]
fn a_reader_may_pause_for_as_long_as_it_likes() {
    for window in [10, 1 << 20] {
        let mut peer = asked(window, 3);
        peer.advance(Duration::from_secs(86_400));
        peer.expect_silence();
        assert_eq!(peer.engine.next_timer(), None);
        for id in [1, 3, 5] {
            peer.send(window_update(id, 100_000));
        }
        peer.send(window_update(0, 1 << 20));
        let rest: usize = [1, 3, 5].into_iter().map(|id| peer.take_data(id)).sum();
        assert_eq!(rest, 300_000 - if window == 10 { 30 } else { 65_535 });
    }
}

/// Credit for one read at a time is no attack either, when the reader pauses after the first.
#[test]
fn a_reader_without_initial_windows_may_pause_once_it_took_something() {
    let mut peer = asked(0, 2);
    peer.send(window_update(1, 10));
    assert_eq!(peer.take_data(1), 10);
    peer.advance(Duration::from_secs(30));
    peer.expect(rst_stream(3, ErrorCode::ENHANCE_YOUR_CALM));
    peer.advance(Duration::from_secs(86_400));
    peer.expect_silence();
    peer.send(window_update(1, 10));
    assert_eq!(peer.take_data(1), 10);
}

/// A server that is told to waits for minutes, and no longer.
#[test]
fn a_reader_of_an_impatient_server_may_pause_for_5_minutes() {
    let mut peer = asked_of(impatient(), 10, 1);
    for _ in 0..5 {
        peer.advance(Duration::from_secs(299));
        peer.expect_silence();
        peer.send(window_update(1, 10));
        assert_eq!(peer.take_data(1), 10, "any progress begins it anew");
    }
    peer.advance(Duration::from_secs(300));
    peer.expect(rst_stream(1, ErrorCode::ENHANCE_YOUR_CALM));
    assert_eq!(peer.app.events, [Event::Reset { id: 1, reset: STALLED }]);
}

/// The connection's credit is waited for in the same way; whoever gives it in crumbs is served.
#[test]
fn streams_without_credit_of_the_connection_are_reset_after_5_minutes() {
    let mut peer = asked_of(impatient(), 1 << 20, 3);
    for _ in 0..5 {
        peer.advance(Duration::from_secs(299));
        peer.send(window_update(0, 5));
        assert_eq!((1..6).map(|id| peer.take_data(id)).sum::<usize>(), 5);
    }
    peer.advance(Duration::from_secs(299));
    peer.expect_silence();
    peer.advance(Duration::from_secs(2));
    peer.expect_resets(3, ErrorCode::ENHANCE_YOUR_CALM);
    peer.expect_alive();
}

/// A client that takes its windows back gives none to the streams that come then; those before have taken something.
#[test]
fn taking_the_window_back_counts_for_what_comes_then() {
    for config in [Config::default(), impatient()] {
        let mut peer = asked_of(config, 10, 1);
        peer.advance(Duration::from_secs(60));
        peer.send(settings(&[(SettingId::INITIAL_WINDOW_SIZE, 0)]));
        peer.send(headers(3).request().end_stream());
        peer.respond(3, false);
        peer.write(3, &[0; 100_000], true);
        peer.drain();
        peer.advance(Duration::from_secs(30));
        peer.expect(rst_stream(3, ErrorCode::ENHANCE_YOUR_CALM));
        peer.advance(Duration::from_secs(200));
        peer.expect_silence();
    }
}

/// A stream on which nobody has anything to say may be idle for as long as it likes, whatever its window.
#[test]
fn idle_streams_are_left_alone() {
    let mut peer = Peer::of_server_with(Config::default(), &[(SettingId::INITIAL_WINDOW_SIZE, 0)]);
    for n in 0..100 {
        peer.send(headers(2 * n + 1).request());
        peer.respond(2 * n + 1, false);
    }
    peer.drain();
    peer.advance(Duration::from_secs(86_400));
    peer.expect_silence();
    assert_eq!(peer.tx().stream_count(), 100);
    assert_eq!(peer.engine.next_timer(), None, "nor is anybody woken for them");
}

/// An end that waits behind nothing needs no credit, and is no stall.
#[test]
fn a_timer_is_not_left_behind() {
    let mut peer = asked(0, 1);
    peer.send(window_update(1, 200_000));
    peer.send(window_update(0, 200_000));
    assert_eq!(peer.take_data(1), 100_000);
    peer.advance(Duration::from_secs(400));
    assert_eq!(peer.engine.next_timer(), None);
    peer.expect_alive();
}
