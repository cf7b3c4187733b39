//! E6: keepalive abuse, a PING every millisecond, with calls and without (gRFC A8). CVE-2019-9512 with the answers unread is in
//! `control_frames`.

use std::time::Duration;

use clearway_http2::frame::Flags;
use clearway_http2::{Config, PingPolicy};
use clearway_testkit::{Answer, Peer, headers, ping};

fn server() -> Peer {
    Peer::of_server(Config { ping_policy: Some(PingPolicy::default()), ..Config::default() })
}

/// Sends a thousand, or what the connection bears; says how many.
fn every_millisecond(peer: &mut Peer) -> usize {
    let mut sent = 0;
    while sent < 1000 && peer.failure().is_none() {
        peer.send(ping([7; 8]));
        peer.advance(Duration::from_millis(1));
        sent += 1;
    }
    sent
}

#[test]
fn without_calls_the_fourth_ends_the_connection() {
    let mut peer = server();
    assert_eq!(every_millisecond(&mut peer), 4);
    peer.expect_last_goaway(clearway_http2::ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
}

/// A call that is open and silent excuses nothing.
#[test]
fn with_a_silent_call_the_fourth_ends_the_connection() {
    let mut peer = server();
    peer.send(headers(1).request());
    assert_eq!(every_millisecond(&mut peer), 4);
    peer.expect_last_goaway(clearway_http2::ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
    assert!(peer.app.reset(1).is_none(), "the end of the connection is the driver's to tell");
}

/// Calls that are answered buy three PINGs each and no more, so that the work a PING makes is bounded by work that was asked for.
#[test]
fn answered_calls_buy_three_pings_each() {
    let mut peer = server();
    peer.app.answer = Answer::Ok;
    for call in 0..1000 {
        peer.send(headers(2 * call + 1).request().end_stream());
        for _ in 0..3 {
            peer.send(ping([7; 8]));
        }
        peer.advance(Duration::from_millis(1));
    }
    peer.drain();
    assert_eq!(every_millisecond(&mut peer), 1);
}

/// What it costs is bounded: a thousand in one read make no more than the answers to four.
#[test]
fn what_follows_the_last_strike_is_not_looked_at() {
    let mut peer = server();
    peer.send_all((0..1000).map(|_| ping([7; 8])));
    let answers = peer.drain().into_iter().filter(|frame| *frame == ping([7; 8]).flags(Flags::ACK)).count();
    assert_eq!(answers, 4);
}
