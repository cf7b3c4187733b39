//! Pushes although we announced that there are none.

use clearway_http2::{Config, ErrorCode};
use clearway_testkit::{Peer, push_promise};

#[test]
fn a_push_ends_the_connection() {
    for promised in [2, 4, 3, 0] {
        let mut peer = Peer::of_client(Config::default());
        peer.open(true);
        peer.drain();
        for _ in 0..1_000 {
            peer.send(push_promise(1, promised));
        }
        peer.expect_last_goaway(ErrorCode::PROTOCOL_ERROR, "PUSH_PROMISE is not allowed");
    }
    let mut peer = Peer::of_server(Config::default());
    peer.send(push_promise(1, 2));
    peer.expect_goaway(ErrorCode::PROTOCOL_ERROR, "PUSH_PROMISE is not allowed");
}
