//! RFC 9113 §6.1: DATA is a stream of octets, and how the frames were cut on their way changes nothing. Padding of all lengths, empty
//! frames, ends with and without content, and streams that are reset between two of theirs.

use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_testkit::fuzz;
use proptest::prelude::*;

/// Streams that frames are for.
const STREAMS: u32 = 3;

fn frame(kind: Kind, flags: Flags, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { length: payload.len() as u32, kind, flags, stream_id };
    [&header.encode()[..], payload].concat()
}

/// A request, its fields literal (RFC 7541 §6.2.2).
fn request(stream_id: u32) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")];
    let literal = |(name, value): (&str, &str)| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    frame(Kind::HEADERS, Flags::END_HEADERS, stream_id, &fields.map(literal).concat())
}

/// DATA with content, or with padding and content, which need not fit; now and then a reset.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 1..2),
        prop::collection::vec(any::<u8>(), 0..40)
    ];
    let padding = prop::option::of(prop_oneof![Just(0), Just(1), any::<u8>()]);
    (0..STREAMS, content, padding, 0u8..16).prop_map(|(stream, content, padding, choice)| {
        let stream = 1 + 2 * stream;
        let (mut payload, mut flags) = (content, Flags::default());
        if let Some(octets) = padding {
            flags = flags | Flags::PADDED;
            payload.insert(0, octets);
            // Padding that is longer than the frame is one of the choices.
            payload.resize(payload.len() + if choice == 2 { 0 } else { usize::from(octets) }, 0);
        }
        match choice {
            0 => return frame(Kind::RST_STREAM, Flags::default(), stream, &[0, 0, 0, 8]),
            1 => flags = flags | Flags::END_STREAM,
            _ => {}
        }
        frame(Kind::DATA, flags, stream, &payload)
    })
}

proptest! {
    #[test]
    fn data_may_be_cut_anywhere(
        steps in prop::collection::vec(step(), 1..20),
        cuts in prop::collection::vec(prop_oneof![Just(9u8), Just(10), Just(1), 1u8..60], 0..12),
        choice in 0u8..4,
    ) {
        // A server whose client's preface is there; whether it answers, and gives credit back, is a choice.
        let mut octets = vec![16 | choice << 2, cuts.len() as u8];
        octets.extend(&cuts);
        octets.extend(frame(Kind::SETTINGS, Flags::default(), 0, &[]));
        octets.extend(frame(Kind::SETTINGS, Flags::ACK, 0, &[]));
        (0..STREAMS).for_each(|stream| octets.extend(request(1 + 2 * stream)));
        octets.extend(steps.concat());
        fuzz::splits(&octets);
    }
}
