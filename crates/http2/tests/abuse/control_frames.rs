//! CVE-2019-9512, CVE-2019-9515: frames that need an answer, while the peer does not read the answers; and SETTINGS with
//! too many entries (CVE-2020-11080).

use clearway_http2::frame::{Flags, SettingId};
use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{FrameSpec, Peer, ping, settings, settings_ack};

fn unread_answers_stop_the_reader(frame: &FrameSpec, answer: &FrameSpec) {
    let mut peer = Peer::of_server(Config::default());
    peer.pause_reading();
    let octets = peer.encode(frame);
    for _ in 0..100 {
        peer.send_octets(&octets.repeat(100));
    }
    assert_eq!(peer.untaken(), 9_000 * octets.len(), "a thousand answers wait, and no more is read");
    assert!(peer.engine.pending_output() <= 1000 * 17);
    peer.resume_reading();
    assert_eq!(peer.untaken(), 0, "once they are read, it goes on");
    let answers = peer.drain();
    assert_eq!(answers.len(), 10_000);
    assert!(answers.iter().all(|frame| frame == answer));
    peer.expect_alive();
}

#[test]
fn unread_ping_answers_stop_the_reader() {
    unread_answers_stop_the_reader(&ping([7; 8]), &ping([7; 8]).flags(Flags::ACK));
}

#[test]
fn unread_settings_answers_stop_the_reader() {
    unread_answers_stop_the_reader(&settings(&[]), &settings_ack());
}

/// A connection that always has something to write answers for ever, as long as the peer reads.
#[test]
fn answers_that_are_read_do_not_add_up() {
    let mut peer = Peer::of_server(Config::default());
    peer.pause_reading();
    let octets = peer.encode(&ping([7; 8]));
    for _ in 0..5_000 {
        peer.send_octets(&octets);
        // All but the last octets are written each time.
        let pending = peer.engine.pending_output();
        peer.engine.wrote(pending.saturating_sub(5));
    }
    assert_eq!(peer.untaken(), 0);
}

#[test]
fn oversized_settings_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(settings(&[(SettingId(0x99), 1); 32]));
    peer.expect(settings_ack());
    peer.send(settings(&[(SettingId(0x99), 1); 33]));
    peer.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "settings_entries");
}

/// Answers nobody asked for are ignored, and that is not free.
#[test]
fn unasked_ping_answers_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    let sent = crate::flood(&mut peer, 100_000, "glitches", |_| ping([1; 8]).flags(Flags::ACK));
    assert_eq!(sent, 10_001);
    assert_eq!(peer.app.events, [], "nor does the program hear of them");
}

/// CVE-2019-9515, with the answers read: each may move the window of every stream.
#[test]
fn settings_without_end_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    let sent = crate::flood(&mut peer, 100_000, "glitches", |n| {
        settings(&[(SettingId::INITIAL_WINDOW_SIZE, 65_535 - (n as u32 % 2))])
    });
    assert_eq!(sent, 10_001);
}

/// A peer that measures and tunes its windows sends some now and then.
#[test]
fn a_few_settings_a_second_are_ordinary() {
    let mut peer = Peer::of_server(Config::default());
    for n in 0..20_000 {
        peer.send(settings(&[(SettingId::INITIAL_WINDOW_SIZE, 65_535 + n)]));
        peer.advance(std::time::Duration::from_millis(10));
    }
    peer.expect_alive();
}
