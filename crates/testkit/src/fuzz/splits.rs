//! The bounds of reads mean nothing: the same octets in one piece or in many are the same events and the same verdict.

use clearway_http2::connection::PREFACE;
use clearway_http2::{Config, ConnectionError, Role, Violation};

use super::Input;
use crate::app::{Answer, App, Event};
use crate::peer::Peer;

/// A role, where to cut, and then the octets that come after the handshake (or instead of it).
///
/// # Panics
/// If cutting them changes what happens.
pub fn splits(octets: &[u8]) {
    let mut input = Input::new(octets);
    let choice = input.octet();
    let cuts = input.string();
    let wire = input.rest();
    let whole = run(choice, core::iter::once(wire));
    let pieces = run(choice, cut(wire, cuts));
    assert_eq!(pieces, whole, "cuts {cuts:?}");
}

/// Pieces as long as `cuts` say, over and over; without a word, of one octet each.
fn cut<'a>(wire: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().cycle();
    let mut rest = wire;
    core::iter::from_fn(move || {
        let length = usize::from(*lengths.next().unwrap_or(&1)).clamp(1, rest.len().max(1));
        let (piece, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(piece)
    })
}

/// What came of it: the events in order, DATA apart, the bodies, and how the connection failed.
type Outcome = (Vec<Event>, Vec<(u32, Vec<u8>)>, Option<Violation>);

fn run<'a>(choice: u8, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut config = Config::default();
    let keeps_data = choice & 8 != 0;
    if keeps_data {
        // When credit goes back depends on the pieces; a small window is for those who give none back.
        config.stream_window_octets = 2_000;
    }
    let mut peer = match choice % 4 {
        0 => Peer::of_silent_server(config),
        1 => Peer::of_client(config),
        2 => Peer::of_silent_client(config),
        _ => Peer::of_server(config),
    };
    if peer.engine.role() == Role::Client {
        peer.open(false);
        peer.open(true);
    }
    peer.app.answer = if choice & 4 == 0 { Answer::Nothing } else { Answer::Ok };
    peer.app.keeps_data = keeps_data;
    if choice & 16 != 0 {
        peer.send_octets(PREFACE);
    }
    for piece in pieces {
        peer.send_octets(piece);
        peer.engine.check();
    }
    let (streams, failure) = (peer.engine.stream_count(), peer.failure());
    outcome(peer.app, streams, failure)
}

fn outcome(app: App, streams: usize, failure: Option<ConnectionError>) -> Outcome {
    let is_body = |event: &Event| matches!(event, Event::Data { end_stream: false, .. });
    let mut bodies: Vec<(u32, Vec<u8>)> = app.keys().map(|(id, _)| (id, app.body(id))).collect();
    bodies.push((0, streams.to_be_bytes().to_vec()));
    let mut events = app.events;
    events.retain(|event| !is_body(event));
    for event in &mut events {
        if let Event::Data { data, .. } = event {
            data.clear();
        }
    }
    // Whether somebody speaks HTTP/1.x or TLS is guessed from what of the first line or record has come.
    let failure = failure.map(|error| match error.violation {
        Violation::Http1Request | Violation::TlsHandshake => Violation::BadPreface,
        other => other,
    });
    (events, bodies, failure)
}
