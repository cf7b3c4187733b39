//! CVE-2019-9513: PRIORITY without end. We build no tree; reading is still not free.

use clearway_http2::Config;
use clearway_testkit::{Answer, Peer, headers, priority};

#[test]
fn priority_frames_nothing_explains_end_the_connection() {
    let mut peer = Peer::of_server(Config::default());
    let sent = crate::flood(&mut peer, 1_000_000, "priorities", |n| priority(1, 2 * n as u32 + 3));
    assert_eq!(sent, 101);
}

#[test]
fn some_for_each_stream_are_fine() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Ok;
    for n in 0..100 {
        let id = 2 * n + 1;
        peer.send(headers(id).request().end_stream());
        for _ in 0..50 {
            peer.send(priority(id, 0));
        }
    }
    peer.expect_alive();
}
