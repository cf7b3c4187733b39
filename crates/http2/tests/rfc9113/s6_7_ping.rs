//! RFC 9113 §6.7: PING.

use clearway_http2::Config;
use clearway_http2::frame::Flags;
use clearway_testkit::{Event, Peer, headers, ping};

/// "Receivers of a PING frame that does not include an ACK flag MUST send a PING frame with the ACK flag set in
/// response, with an identical frame payload."
#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(ping(*b"12345678"));
    peer.expect(ping(*b"12345678").flags(Flags::ACK));
}

/// "PING responses SHOULD be given higher priority than any other frame": at least they wait for no credit.
#[test]
fn a_ping_is_answered_while_data_waits() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(headers(1).request().end_stream());
    peer.respond(1, false);
    peer.write(1, &[0; 200_000], true);
    peer.drain();
    peer.expect_alive();
}

/// "An endpoint MUST NOT respond to PING frames containing this flag."
#[test]
fn an_answer_is_not_answered() {
    let mut peer = Peer::of_server(Config::default());
    peer.send(ping([9; 8]).flags(Flags::ACK));
    peer.expect_silence();
}

#[test]
fn the_program_hears_of_the_answer_to_its_ping() {
    let mut peer = Peer::of_client(Config::default());
    peer.tx().ping([5; 8]);
    peer.expect(ping([5; 8]));
    peer.send(ping([5; 8]).flags(Flags::ACK));
    assert_eq!(peer.app.events, [Event::Pong([5; 8])]);
}
