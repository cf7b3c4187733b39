//! RFC 9113 §10.5, and the rule of what a connection holds: a budget for unread and half-assembled octets, kept by stream
//! windows alone; beyond the initial window nobody gets more than is left, except the oldest message in assembly.

use std::time::Duration;

use clearway_http2::{By, Config, ErrorCode, Reset, Violation};
use clearway_testkit::{Peer, data, headers, rst_stream};

const WINDOW: u32 = 10_000;

/// A server engine with a budget of 100,000 octets and streams of 10,000, whose program keeps what comes.
fn server() -> Peer {
    let config = Config {
        stream_window_octets: WINDOW,
        receive_budget_octets: 100_000,
        max_frame_size: 1 << 20,
        ..Config::default()
    };
    let mut peer = Peer::of_server(config);
    peer.app.keeps_data = true;
    peer
}

fn open(peer: &mut Peer, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        peer.send(headers(id).request());
        peer.send(data(id, b"prefix"));
    }
}

fn expect_message(peer: &mut Peer, id: u32, octets: usize) {
    let key = peer.app.key(id);
    peer.tx().expect_message(key, octets);
    peer.flush();
}

fn complete(peer: &mut Peer, id: u32) {
    let key = peer.app.key(id);
    let held = peer.app.body(id).len();
    peer.tx().message_complete(key);
    peer.tx().release(key, held);
    peer.flush();
}

/// A message larger than the window gets the rest of it in one grant.
#[test]
fn a_message_gets_the_credit_to_finish() {
    let mut peer = server();
    open(&mut peer, [1]);
    expect_message(&mut peer, 1, 50_000);
    assert_eq!(peer.credit(1), 50_006 - u64::from(WINDOW));
    expect_message(&mut peer, 1, 50_000);
    assert_eq!(peer.credit(1), 0, "asking twice gives nothing more");
    peer.send(data(1, &[0; 50_000]));
    complete(&mut peer, 1);
    assert_eq!(peer.credit(1), u64::from(WINDOW), "then the window is what it was");
    expect_message(&mut peer, 1, 100);
    assert_eq!(peer.credit(1), 0);
}

/// A message that fits the window but not what is left of it gets what the program has consumed, at once.
#[test]
fn a_reader_that_waits_is_not_kept_waiting_by_the_quarter_rule() {
    let mut peer = server();
    peer.app.keeps_data = false;
    open(&mut peer, [1]);
    peer.send(data(1, &[0; 1000]));
    assert_eq!(peer.credit(1), 0);
    expect_message(&mut peer, 1, 9_500);
    assert_eq!(peer.credit(1), 1006);
}

/// With the budget spent nobody gets more, in the order of asking; what comes free goes to the next.
#[test]
fn the_budget_is_shared_in_order() {
    let mut peer = server();
    open(&mut peer, [1, 3, 5]);
    expect_message(&mut peer, 1, 69_994);
    expect_message(&mut peer, 3, 69_994);
    expect_message(&mut peer, 5, 30_000);
    assert_eq!(peer.credit(1), 60_000);
    assert_eq!(peer.credit(3), 0, "60,000 of 100,000 are spoken for");
    assert_eq!(peer.credit(5), 20_006, "a small one fits");
    peer.send(data(1, &[0; 69_994]));
    complete(&mut peer, 1);
    assert_eq!(peer.credit(3), 60_000);
}

/// The oldest message always gets the credit to finish, were it larger than the whole budget.
#[test]
fn the_oldest_message_is_always_served() {
    let mut peer = server();
    open(&mut peer, [1, 3, 5]);
    expect_message(&mut peer, 1, 500_000);
    assert_eq!(peer.credit(1), 490_006);
    expect_message(&mut peer, 3, 20_000);
    assert_eq!(peer.credit(3), 0);
    peer.send(data(1, &[0; 500_000]));
    // Others go on within their windows, and nobody is reset for the oldest one's size.
    peer.send(data(5, &[0; 9_000]));
    assert_eq!([1, 3, 5].map(|id| peer.app.reset(id)), [None; 3]);
    complete(&mut peer, 1);
    assert_eq!(peer.credit(3), 10_006, "now it is the oldest");
}

/// Credit that was granted and not used yet is a promise, not memory: it costs no other stream its life.
#[test]
fn grants_alone_reset_nobody() {
    let mut peer = server();
    open(&mut peer, [1, 3, 5]);
    expect_message(&mut peer, 1, 59_994);
    expect_message(&mut peer, 3, 49_994);
    assert_eq!((peer.credit(1), peer.credit(3)), (50_000, 40_000));
    // 90,000 granted; small calls come and are kept for a moment by a slow program.
    for n in 0..5 {
        let id = 7 + 2 * n;
        peer.send(headers(id).request());
        peer.send(data(id, &[0; 5_000]).end_stream());
        assert_eq!(peer.app.reset(id), None, "stream {id}");
    }
    assert_eq!([1, 3, 5].map(|id| peer.app.reset(id)), [None; 3]);
    peer.expect_silence();
}

/// What is really held is bounded: when unread octets pass the budget, the greediest unread stream pays, never a message
/// whose credit was granted.
#[test]
fn held_octets_stay_within_the_budget() {
    let mut peer = server();
    open(&mut peer, [1]);
    expect_message(&mut peer, 1, 50_000);
    peer.send(data(1, &[0; 49_000]));
    open(&mut peer, [3]);
    expect_message(&mut peer, 3, 30_000);
    peer.send(data(3, &[0; 29_000]));
    let mut resets = 0;
    for n in 0..30 {
        let id = 5 + 2 * n;
        peer.send(headers(id).request());
        peer.send(data(id, &[0; 9_000]));
        resets += usize::from(peer.app.reset(id).is_some());
    }
    let reset = (0..40).filter_map(|n| peer.app.reset(2 * n + 1));
    let budget =
        Reset { code: ErrorCode::ENHANCE_YOUR_CALM, by: By::Us, violation: Some(Violation::ReceiveBudget) };
    assert!(reset.clone().all(|reset| reset == budget));
    let count = reset.count();
    // 29,006 of stream 3 and 7 x 9,000 fit; the oldest message does not count.
    assert_eq!(count, 23, "{resets} of them by their own last octets");
    assert_eq!((peer.app.reset(1), peer.app.reset(3)), (None, None));
}

/// "if it makes no progress for 10 s while others wait it is reset".
#[test]
fn a_stalled_message_is_reset_while_others_wait() {
    let mut peer = server();
    open(&mut peer, [1, 3]);
    expect_message(&mut peer, 1, 90_000);
    expect_message(&mut peer, 3, 50_000);
    peer.drain();
    peer.advance(Duration::from_secs(9));
    peer.send(data(1, b"progress"));
    peer.advance(Duration::from_secs(9));
    peer.expect_silence();
    peer.advance(Duration::from_secs(1));
    peer.expect(rst_stream(1, ErrorCode::ENHANCE_YOUR_CALM));
    assert_eq!(peer.app.reset(1).unwrap().violation, Some(Violation::AssemblyStalled));
    assert_eq!(peer.credit(3), 40_006);
    // The next one has its own ten seconds.
    open(&mut peer, [5]);
    expect_message(&mut peer, 5, 90_000);
    peer.advance(Duration::from_secs(9));
    assert_eq!(peer.app.reset(3), None);
    peer.advance(Duration::from_secs(1));
    assert!(peer.app.reset(3).is_some());
}

/// A slow message may take its time as long as nobody waits for it; the ten seconds begin when somebody does.
#[test]
fn patience_begins_when_somebody_waits() {
    let mut peer = server();
    open(&mut peer, [1, 3]);
    expect_message(&mut peer, 1, 90_000);
    peer.advance(Duration::from_secs(60));
    assert_eq!(peer.app.reset(1), None);
    expect_message(&mut peer, 3, 50_000);
    peer.advance(Duration::from_secs(1));
    assert_eq!(peer.app.reset(1), None, "it was never in anybody's way until a second ago");
    peer.advance(Duration::from_secs(9));
    assert!(peer.app.reset(1).is_some());
}

/// A message whose stream is gone gives its share back.
#[test]
fn a_reset_stream_gives_its_share_back() {
    let mut peer = server();
    open(&mut peer, [1, 3]);
    expect_message(&mut peer, 1, 90_000);
    expect_message(&mut peer, 3, 50_000);
    peer.credit(3);
    peer.send(rst_stream(1, ErrorCode::CANCEL));
    assert_eq!(peer.credit(3), 40_006);
    assert_eq!(peer.engine.next_timer(), None, "nobody waits any more");
}
