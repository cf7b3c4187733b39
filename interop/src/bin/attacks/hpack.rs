//! HPACK: B1 to B6.

use clearway_http2::ErrorCode;

use crate::floods::id;
use crate::wire::{self, END_STREAM};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "B1", name: "HPACK bomb", server: &[], play: bomb },
    Attack { id: "B2", name: "integers", server: &[], play: integers },
    Attack { id: "B3", name: "literal in 1-octet fragments", server: &[], play: fragments },
    Attack { id: "B4", name: "table size updates", server: &[], play: size_updates },
    Attack { id: "B5", name: "Huffman abuse", server: &[], play: huffman },
    Attack { id: "B6", name: "eviction storms", server: &[], play: evictions },
];

fn bomb(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let entry = wire::indexed_field(b"b", &[b'v'; 4_000]);
    conn.send(&wire::headers(1, END_STREAM, &[wire::call("/bench.Echo/Unary"), entry].concat()), 1);
    // What is in the table after the first is 4 KiB; the others refer to it 16,000 times each.
    for n in 1..100 {
        let block = [wire::call("/bench.Echo/Unary"), vec![0xbe; 16_000]].concat();
        conn.send(&wire::headers(id(n), END_STREAM, &block), 1);
        let answer = conn.expect_answer(id(n))?;
        if answer.field(":status") != Some("431") || answer.field("grpc-status") != Some("8") {
            return Err(format!("want 431, got {answer:?}"));
        }
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "431, RESOURCE_EXHAUSTED, each; the connection goes on"))
}

/// Each block must end its connection with COMPRESSION_ERROR.
fn undecodable(scene: &Scene<'_>, blocks: &[&[u8]]) -> Result<Seen, String> {
    let mut all: Option<Seen> = None;
    for block in blocks {
        let mut conn = scene.connect()?;
        conn.send(&wire::headers(1, END_STREAM, block), 1);
        let seen = scene
            .expect_cut_off(&conn, ErrorCode::COMPRESSION_ERROR, "cannot be decoded")
            .map_err(|failure| format!("{block:02x?}: {failure}"))?;
        all = Some(match all {
            Some(all) => all.and(seen),
            None => seen,
        });
    }
    all.ok_or("nothing was tried".into())
}

fn integers(scene: &Scene<'_>) -> Result<Seen, String> {
    undecodable(
        scene,
        &[
            &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            // Zero octets that go on.
            &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            // Index 0, index 2^32, a length of 2^32 - 1.
            &[0x80],
            &[0xff, 0x81, 0xff, 0xff, 0xff, 0x0f],
            &[0x00, 0x01, b'a', 0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f],
        ],
    )
}

fn fragments(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    // A literal whose value is to be of 1 MiB.
    conn.send(&wire::frame(wire::HEADERS, 0, 1, &[0x00, 0x01, b'a', 0x7f, 0x81, 0xff, 0x3f]), 1);
    conn.flood(1_048_576, |_| wire::frame(wire::CONTINUATION, 0, 1, b"v"));
    scene.expect_cut_off(&conn, ErrorCode::ENHANCE_YOUR_CALM, "limit: continuations")
}

fn size_updates(scene: &Scene<'_>) -> Result<Seen, String> {
    let call = wire::call("/bench.Echo/Unary");
    let with = |before: &[u8], after: &[u8]| [before, &call, after].concat();
    undecodable(
        scene,
        &[
            // 4,097 where 4,096 was announced; after a field; three in a row.
            &with(&[0x3f, 0xe2, 0x1f], &[]),
            &with(&[], &[0x20]),
            &with(&[0x20, 0x21, 0x22], &[]),
        ],
    )
}

fn huffman(scene: &Scene<'_>) -> Result<Seen, String> {
    let value = |octets: &[u8]| {
        let length = u8::try_from(octets.len()).unwrap_or(0) | 0x80;
        [&[0x00, 0x01, b'a', length], octets].concat()
    };
    undecodable(
        scene,
        &[
            // EOS inside, padding of more than 7 bits, padding of zeros, and EOS alone.
            &value(&[0x1f, 0xff, 0xff, 0xff, 0xff]),
            &value(&[0x1f, 0xff]),
            &value(&[0x18]),
            &value(&[0xff, 0xff, 0xff, 0xff]),
        ],
    )
}

fn evictions(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let call = wire::call("/bench.Echo/None");
    let mut entry = wire::indexed_field(b"e", &[b'v'; 4_057]);
    for n in 0..10_000u32 {
        // Another value each time, so that nothing is remembered.
        let end = entry.len().saturating_sub(4);
        let digits = format!("{n:04}");
        if let Some(place) = entry.get_mut(end..) {
            place.copy_from_slice(digits.as_bytes().get(..4).unwrap_or(b"0000"));
        }
        if !conn.send(&wire::headers(id(n), END_STREAM, &[call.clone(), entry.clone()].concat()), 1) {
            break;
        }
    }
    conn.expect_answer(id(9_999))
        .map_err(|failure| format!("{failure}; {:?}", conn.ending(std::time::Duration::ZERO)))?;
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "each answered"))
}
