//! The observer sees every frame, field and octet of content in wire order, in both directions, once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

use std::sync::mpsc::{Receiver, Sender, channel};

use clearway_http2::connection::PREFACE;
use clearway_http2::{Config, Direction, ErrorCode, Instant, Observer, Trace};
use clearway_testkit::{Answer, Peer, data, headers, rst_stream, settings};

/// Writes one line for each trace.
struct Lines(Sender<String>);

impl Observer for Lines {
    fn on_trace(&mut self, _: Instant, trace: &Trace<'_>) {
        let way = |direction: &Direction| if *direction == Direction::Sent { ">" } else { "<" };
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let line = match trace {
            Trace::Preface { direction } => format!("{} preface", way(direction)),
            Trace::Frame { direction, header, .. } => {
                format!("{} {} {} {}", way(direction), header.kind, header.stream_id, header.length)
            }
            Trace::Field { direction, field, .. } => {
                format!(
                    "{} {}: {} ({})",
                    way(direction),
                    text(field.name),
                    text(field.value),
                    field.wire_octets
                )
            }
            Trace::Data { direction, stream_id, data } => {
                format!("{} {stream_id} {:?}", way(direction), text(data))
            }
            Trace::StreamClosed { stream_id, reset } => {
                format!("closed {stream_id} {:?}", reset.map(|reset| reset.code))
            }
            other => format!("{other:?}"),
        };
        self.0.send(line).unwrap();
    }
}

fn lines(receiver: &Receiver<String>) -> Vec<String> {
    receiver.try_iter().collect()
}

#[test]
fn a_server_shows_everything_in_wire_order() {
    let mut peer = Peer::of_silent_server(Config::default());
    let (sender, receiver) = channel();
    peer.engine.observe(Box::new(Lines(sender)));
    peer.send_octets(PREFACE);
    peer.send(settings(&[]));
    assert_eq!(
        lines(&receiver),
        ["< preface", "> SETTINGS 0 30", "> WINDOW_UPDATE 0 4", "< SETTINGS 0 0", "> SETTINGS 0 0"]
    );
    peer.app.answer = Answer::Echo;
    peer.send(headers(1).fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x", "y")]));
    peer.send(data(1, b"hello").padded(3).end_stream());
    assert_eq!(
        lines(&receiver),
        [
            "< HEADERS 1 8",
            "< :method: GET (1)",
            "< :scheme: http (1)",
            "< :path: / (1)",
            "< x: y (5)",
            "> HEADERS 1 1",
            "> :status: 200 (1)",
            "< DATA 1 9",
            "< 1 \"hello\"",
            "> DATA 1 5",
            "> 1 \"hello\"",
            "closed 1 None",
        ]
    );
    peer.app.answer = Answer::Nothing;
    peer.send(headers(3).request());
    lines(&receiver);
    peer.send(rst_stream(3, ErrorCode::CANCEL));
    assert_eq!(lines(&receiver), ["< RST_STREAM 3 4", "closed 3 Some(CANCEL)"]);
}

/// A client's preface and SETTINGS are written before an observer can be set; it is shown them first.
#[test]
fn a_client_shows_its_announcement_to_a_later_observer() {
    let mut engine = clearway_http2::Connection::client(Config::default(), Instant::ZERO);
    let (sender, receiver) = channel();
    engine.observe(Box::new(Lines(sender)));
    assert_eq!(lines(&receiver), ["> preface", "> SETTINGS 0 30", "> WINDOW_UPDATE 0 4"]);
}

/// An observer changes nothing of what is sent.
#[test]
fn a_watched_connection_sends_the_same_octets() {
    let run = |watched: bool| {
        let mut peer = Peer::of_server(Config::default());
        let (sender, _receiver) = channel();
        if watched {
            peer.engine.observe(Box::new(Lines(sender)));
        }
        peer.app.answer = Answer::Echo;
        for n in 0..20 {
            let id = 2 * n + 1;
            peer.send(headers(id).request());
            peer.send(data(id, &[1; 6_000]));
            peer.send(headers(id).field("x", "y").end_stream());
        }
        peer.drain()
    };
    assert_eq!(run(true), run(false));
}
