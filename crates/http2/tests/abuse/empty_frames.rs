//! CVE-2019-9518: frames without content and without END_STREAM.

use clearway_http2::Config;
use clearway_testkit::{Answer, Peer, data, headers};

#[test]
fn empty_data_in_a_row_ends_the_connection() {
    for frame in [data(1, b""), data(1, b"").padded(0), data(1, b"").padded(200)] {
        let mut peer = Peer::of_server(Config::default());
        peer.send(headers(1).request());
        let sent = crate::flood(&mut peer, 100_000, "empty_frames", |_| frame.clone());
        assert_eq!(sent, 11);
    }
}

#[test]
fn interim_responses_in_a_row_end_the_connection() {
    let mut peer = Peer::of_client(Config::default());
    peer.open(true);
    peer.drain();
    let sent = crate::flood(&mut peer, 100_000, "empty_frames", |_| headers(1).field(":status", "103"));
    assert_eq!(sent, 11);
}

/// Some peers end every call with an empty DATA frame, and some send one now and then.
#[test]
fn empty_frames_between_others_are_fine() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Echo;
    for n in 0..1000 {
        let id = 2 * n + 1;
        peer.send(headers(id).request());
        for _ in 0..3 {
            peer.send(data(id, b""));
            peer.send(data(id, b"x"));
        }
        peer.send(data(id, b"").end_stream());
        peer.drain();
    }
    peer.expect_alive();
}
