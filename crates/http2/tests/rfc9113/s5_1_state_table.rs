//! §5.1: the table of docs/stream-states.md against the RFC's figure 2, typed from it, and against the engine, in both roles.

use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{Config, ErrorCode, StreamKey};
use clearway_testkit::{Peer, data, headers, rst_stream};

const PAGE: &str = include_str!("../../../../docs/stream-states.md");

/// Figure 2 and the text of §5.1: from a state, by an input, to a state; what is not here must not be.
/// HEADERS leave every state as it is in which they are legal, but idle, which is not in the table.
const FIGURE_2: &[(&str, &str, &str)] = &[
    ("Open", "SendHeaders", "Open"),
    ("Open", "RecvHeaders", "Open"),
    ("Open", "SendEnd", "HalfClosedLocal"),
    ("Open", "RecvEnd", "HalfClosedRemote"),
    ("Open", "Reset", "Closed"),
    ("HalfClosedLocal", "RecvHeaders", "HalfClosedLocal"),
    ("HalfClosedLocal", "RecvEnd", "Closed"),
    ("HalfClosedLocal", "Reset", "Closed"),
    ("HalfClosedRemote", "SendHeaders", "HalfClosedRemote"),
    ("HalfClosedRemote", "SendEnd", "Closed"),
    ("HalfClosedRemote", "Reset", "Closed"),
];

/// The rows of the page: our half, the peer's half, the state, the input and the next state.
fn rows() -> Vec<[&'static str; 5]> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.try_into().expect("five cells")
    })
    .collect()
}

#[test]
fn the_table_is_the_rfcs() {
    let rows = rows();
    assert_eq!(rows.len(), 8 * 5, "every pair of halves that is not closed, with every input");
    for [send, recv, state, input, next] in rows {
        // §8.1 leaves less: a half begins with its header section, and what comes after it ends the half.
        let half = if input.starts_with("Send") { send } else { recv };
        let out_of_order = matches!(
            (input, half),
            ("SendHeaders" | "RecvHeaders", "Streaming") | ("SendEnd" | "RecvEnd", "AwaitingHeaders")
        );
        let wanted = FIGURE_2.iter().find(|row| (row.0, row.1) == (state, input)).map(|row| row.2);
        let wanted = wanted.filter(|_| !out_of_order).unwrap_or("not legal");
        assert_eq!(next, wanted, "{send}, {recv} ({state}) by {input}");
    }
}

fn status() -> [HeaderField<'static>; 1] {
    [HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert }]
}

/// A stream in the state of these halves, if this role can have one.
fn stream(server: bool, send: &str, recv: &str) -> Option<(Peer, StreamKey)> {
    let ended = |half: &str| half == "Ended";
    if server {
        // A request begins with its headers; a response that is complete before it is followed by a reset.
        if recv == "AwaitingHeaders" || (ended(send) && !ended(recv)) {
            return None;
        }
        let mut peer = Peer::of_server(Config::default());
        let head = headers(1).request();
        peer.send(if ended(recv) { head.end_stream() } else { head });
        let key = peer.app.key(1);
        if send != "AwaitingHeaders" {
            peer.tx().send_headers(key, status(), false).unwrap();
        }
        Some((peer, key))
    } else {
        // Our request goes out when the stream is opened.
        if send == "AwaitingHeaders" {
            return None;
        }
        let mut peer = Peer::of_client(Config::default());
        let key = peer.open(ended(send));
        if recv != "AwaitingHeaders" {
            let head = headers(1).response();
            peer.send(if ended(recv) { head.end_stream() } else { head });
        }
        Some((peer, key))
    }
}

/// What the engine makes of an input: the next state's name, or `not legal`.
fn next(peer: &mut Peer, key: StreamKey, server: bool, input: &str) -> String {
    let refused = match input {
        "SendHeaders" => peer.tx().send_headers(key, status(), false).is_err(),
        "SendEnd" => peer.tx().finish(key).is_err(),
        "RecvHeaders" if server => {
            peer.send(headers(1).field("x", "1"));
            peer.app.reset(1).is_some()
        }
        "RecvHeaders" => {
            peer.send(headers(1).response());
            peer.app.reset(1).is_some()
        }
        "RecvEnd" => {
            peer.send(data(1, b"").end_stream());
            peer.app.reset(1).is_some()
        }
        _ => {
            peer.send(rst_stream(1, ErrorCode::CANCEL));
            false
        }
    };
    if refused { "not legal".to_owned() } else { format!("{:?}", peer.tx().stream_state(key)) }
}

#[test]
fn the_engine_does_what_the_table_says() {
    let mut played = 0;
    for [send, recv, state, input, wanted] in rows() {
        for server in [true, false] {
            let Some((mut peer, key)) = stream(server, send, recv) else { continue };
            assert_eq!(
                format!("{:?}", peer.tx().stream_state(key)),
                state,
                "server: {server}, {send}, {recv}"
            );
            let found = next(&mut peer, key, server, input);
            // §8.1: a server's response that ends first is followed by RST_STREAM(NO_ERROR).
            let early = server && input == "SendEnd" && wanted == "HalfClosedLocal";
            let wanted = if early { "Closed" } else { wanted };
            assert_eq!(found, wanted, "server: {server}, {send}, {recv} ({state}) by {input}");
            assert_eq!(peer.failure(), None);
            played += 1;
        }
    }
    assert_eq!(played, 45);
}
