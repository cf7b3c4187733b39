//! Floods and exhaustion: A1 to A13, A19, A21, A22, E6.

use std::thread;
use std::time::Duration;

use clearway_http2::ErrorCode;

use crate::victim::Neighbour;
use crate::wire::{self, Conn, DATA, END_STREAM, INITIAL_WINDOW};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "A1", name: "rapid reset", server: &["--max-streams", "100"], play: rapid_reset },
    Attack { id: "A2", name: "CONTINUATION flood", server: &[], play: continuation },
    Attack { id: "A3", name: "empty frames", server: &[], play: empty_frames },
    Attack { id: "A6", name: "oversized SETTINGS", server: &[], play: oversized_settings },
    Attack { id: "A7", name: "provoked resets", server: &[], play: provoked_resets },
    Attack { id: "A8", name: "provoked resets, unread", server: &[], play: unread_resets },
    Attack { id: "A9", name: "data dribble", server: &[], play: dribble },
    Attack { id: "A11", name: "priority churn", server: &[], play: priorities },
    Attack { id: "A12", name: "zero-length names", server: &[], play: empty_names },
    Attack { id: "A13", name: "WINDOW_UPDATE flood", server: &[], play: window_updates },
    Attack { id: "A18", name: "fatal frame, answers unread", server: &[], play: stuck_end },
    Attack { id: "A19", name: "ignored frames", server: &[], play: ignored },
    Attack { id: "A21", name: "stream ids", server: &[], play: stream_ids },
    Attack { id: "E6", name: "keepalive abuse, 1,000 PING/s", server: &[], play: keepalive_abuse },
    Attack { id: "H1", name: "honest: 1,000 calls at once, 200,000 in all", server: &[], play: heavy },
    Attack {
        id: "A22",
        name: "rapid reset while the server is busy",
        server: &["--runtime", "current_thread", "--max-streams", "100"],
        play: busy_server,
    },
];

const CALM: ErrorCode = ErrorCode::ENHANCE_YOUR_CALM;

pub(crate) fn id(n: u32) -> u32 {
    n.saturating_mul(2).saturating_add(1)
}

fn pair(n: u32) -> Vec<u8> {
    let call = wire::headers(id(n), 0, &wire::call("/bench.Echo/Hold"));
    [call, wire::reset(id(n), ErrorCode::CANCEL)].concat()
}

fn rapid_reset(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.flood(50_000, pair);
    let cut_off = scene.expect_cut_off(&conn, CALM, "limit: resets")?;
    // Each reset by itself, when its handler has begun: ordinary, and dear for the attacker.
    let mut conn = scene.connect()?;
    for n in 0..2_000 {
        conn.send(&wire::headers(id(n), 0, &wire::call("/bench.Echo/Hold")), 1);
        conn.expect_alive()?;
        conn.send(&wire::reset(id(n), ErrorCode::CANCEL), 1);
    }
    conn.expect_alive()?;
    Ok(cut_off.and(Seen::of(&[&conn], "2,000 one by one: served")))
}

fn continuation(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.send(&wire::frame(wire::HEADERS, 0, 1, &[0x82]), 1);
    // Huffman codes of eight bits; nothing of it is ever decoded.
    conn.flood(10_000, |_| wire::frame(wire::CONTINUATION, 0, 1, &[0x88; 16_384]));
    let large = scene.expect_cut_off(&conn, CALM, "field_block_octets")?;
    let mut conn = scene.connect()?;
    conn.send(&wire::frame(wire::HEADERS, 0, 1, &[0x82]), 1);
    conn.flood(10_000, |_| wire::frame(wire::CONTINUATION, 0, 1, &[]));
    Ok(large.and(scene.expect_cut_off(&conn, CALM, "limit: continuations")?))
}

fn empty_frames(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.send(&wire::headers(1, 0, &wire::call("/bench.Echo/Unary")), 1);
    conn.flood(100_000, |_| wire::frame(DATA, 0, 1, &[]));
    scene.expect_cut_off(&conn, CALM, "empty_frames")
}

fn oversized_settings(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let frame = wire::settings(&[(0x99, 1); 2_700]);
    conn.flood(1_000, |_| frame.clone());
    scene.expect_cut_off(&conn, CALM, "settings_entries")
}

fn malformed(n: u32) -> Vec<u8> {
    let block = [wire::call("/bench.Echo/Unary"), wire::field(b"Upper", b"x")].concat();
    wire::headers(id(n), END_STREAM, &block)
}

fn provoked_resets(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.flood(50_000, malformed);
    scene.expect_cut_off(&conn, CALM, "limit: resets")
}

fn unread_resets(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_deaf(&[])?;
    conn.flood(50_000, malformed);
    scene.expect_line(&conn, "limit: resets")?;
    Ok(Seen::of(&[&conn], "GOAWAY ENHANCE_YOUR_CALM (unread), closed within a second"))
}

/// Without calls, beside one that is silent, and beside calls that are answered: those buy three each.
fn keepalive_abuse(scene: &Scene<'_>) -> Result<Seen, String> {
    let ping = wire::frame(wire::PING, 0, 0, &[7; 8]);
    let every_millisecond = |conn: &mut Conn, pings: u32| {
        for _ in 0..pings {
            conn.send(&ping, 1);
            thread::sleep(Duration::from_millis(1));
        }
    };
    let mut conn = scene.connect()?;
    every_millisecond(&mut conn, 1_000);
    let without = scene.expect_cut_off(&conn, CALM, "too_many_pings")?;
    let mut conn = scene.connect()?;
    conn.send(&wire::headers(1, 0, &wire::call("/bench.Echo/Hold")), 1);
    every_millisecond(&mut conn, 1_000);
    let beside = scene.expect_cut_off(&conn, CALM, "too_many_pings")?;
    let mut conn = scene.connect()?;
    for n in 0..300 {
        let call = wire::headers(id(n), 0, &wire::call("/bench.Echo/Unary"));
        conn.send(&[call, wire::frame(DATA, END_STREAM, id(n), &wire::message(&[]))].concat(), 2);
        conn.expect_answer(id(n))?;
        every_millisecond(&mut conn, 3);
    }
    conn.expect_alive()?;
    Ok(without.and(beside).and(Seen::of(&[&conn], "three for each answered call: served")))
}

/// The body of a `StreamReq`: so many messages of this size.
pub(crate) fn stream_request(count: u8, size: u32) -> Vec<u8> {
    let mut body = vec![0x08, count, 0x10];
    let mut rest = size;
    while rest >= 128 {
        body.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    body.push(u8::try_from(rest).unwrap_or(0));
    wire::message(&body)
}

/// Asks for a stream of messages.
pub(crate) fn download(id: u32, count: u8, size: u32) -> Vec<u8> {
    let call = wire::headers(id, 0, &wire::call("/bench.Echo/ServerStream"));
    [call, wire::frame(DATA, END_STREAM, id, &stream_request(count, size))].concat()
}

fn dribble(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_with(&[(INITIAL_WINDOW, 1)])?;
    conn.send(&wire::window_update(0, 0x10_0000), 1);
    for n in 0..100 {
        conn.send(&download(id(n), 16, 65_536), 2);
    }
    // A few octets of DATA for thousands of frames explain little: credit in crumbs has a budget.
    conn.flood(1_000_000, |n| wire::window_update(id(n % 100), 1));
    scene.expect_cut_off(&conn, CALM, "limit: window_updates")
}

fn priorities(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.flood(1_000_000, |n| {
        let parent = id(n % 1_000).to_be_bytes();
        wire::frame(wire::PRIORITY, 0, id(n.wrapping_add(1) % 1_000), &[parent.as_slice(), &[7]].concat())
    });
    scene.expect_cut_off(&conn, CALM, "priorities_per_stream")
}

fn empty_names(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let block = [wire::call("/bench.Echo/Unary"), [0, 0, 0].repeat(4_000)].concat();
    conn.send(&wire::headers(1, END_STREAM, &block), 1);
    let answer = conn.expect_answer(1)?;
    if answer.field(":status") != Some("431") {
        return Err(format!("want 431, got {answer:?}"));
    }
    let one = [wire::call("/bench.Echo/Unary"), vec![0, 0, 0]].concat();
    conn.send(&wire::headers(3, END_STREAM, &one), 1);
    let how = conn.expect_reset(3, ErrorCode::PROTOCOL_ERROR)?;
    Ok(Seen::of(
        &[&conn],
        format!("431, RESOURCE_EXHAUSTED (header_list_octets, header_fields); a single one: {how}"),
    ))
}

fn window_updates(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.flood(1_000_000, |_| wire::window_update(0, 1));
    scene.expect_cut_off(&conn, CALM, "limit: window_updates")
}

/// CVE-2022-27664: the end must come although its last words are not read.
fn stuck_end(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_deaf(&[(INITIAL_WINDOW, 0x7fff_ffff)])?;
    conn.send(&wire::window_update(0, 0x7fff_0000), 1);
    for n in 0..20 {
        conn.send(&download(id(n), 100, 65_536), 2);
    }
    thread::sleep(Duration::from_millis(300));
    // GOAWAY of ours first, so that the connection is going away already.
    conn.send(&wire::frame(wire::GOAWAY, 0, 0, &[0; 8]), 1);
    conn.send(&wire::frame(DATA, 0, 0, b"fatal"), 1);
    scene.expect_line(&conn, "must not be on stream 0")?;
    Ok(Seen::of(&[&conn], "GOAWAY PROTOCOL_ERROR (unread), closed within a second"))
}

fn ignored(scene: &Scene<'_>) -> Result<Seen, String> {
    // An unknown type, ALTSVC, ORIGIN, and GOAWAY.
    let kinds = [(0xbe, Vec::new()), (0x0a, vec![0; 2]), (0x0c, Vec::new()), (wire::GOAWAY, vec![0; 8])];
    let mut all = Vec::new();
    for (kind, payload) in kinds {
        let mut conn = scene.connect()?;
        let frame = wire::frame(kind, 0, 0, &payload);
        conn.flood(1_000_000, |_| frame.clone());
        all.push(scene.expect_cut_off(&conn, CALM, "limit: glitches")?);
    }
    all.into_iter().reduce(Seen::and).ok_or("nothing was tried".into())
}

fn stream_ids(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let body = wire::message(&[0x0a, 0]);
    for id in [0x7fff_ffff, 1] {
        conn.send(&wire::headers(id, 0, &wire::call("/bench.Echo/Unary")), 1);
        conn.send(&wire::frame(DATA, END_STREAM, id, &body), 1);
        if id != 1 {
            conn.expect_answer(id)?;
        }
    }
    let lower = scene.expect_cut_off(&conn, ErrorCode::PROTOCOL_ERROR, "not increasing")?;
    let mut conn = scene.connect()?;
    conn.send(&wire::headers(2, END_STREAM, &wire::call("/bench.Echo/Unary")), 1);
    Ok(lower.and(scene.expect_cut_off(&conn, ErrorCode::PROTOCOL_ERROR, "parity")?))
}

/// RUSTSEC-2023-0034: what waits for a server that cannot look is bounded by the socket.
fn busy_server(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut busy = scene.connect()?;
    // `Work { micros: 200,000 }`.
    let work = wire::message(&[0x08, 0xc0, 0x9a, 0x0c]);
    for n in 0..2 {
        busy.send(&wire::headers(id(n), 0, &wire::call("/bench.Echo/Block")), 1);
        busy.send(&wire::frame(DATA, END_STREAM, id(n), &work), 1);
    }
    let mut conn: Conn = scene.connect()?;
    conn.flood(50_000, pair);
    let seen = scene.expect_cut_off(&conn, CALM, "limit: resets")?;
    Neighbour::connect(scene.victim.port)?.call()?;
    Ok(seen)
}

/// A client that is as busy as it may be.
fn heavy(scene: &Scene<'_>) -> Result<Seen, String> {
    const AT_ONCE: u32 = 1_000;
    let mut conn = scene.connect()?;
    let block = wire::call("/bench.Echo/Unary");
    let body = wire::message(&[0x0a, 4, 1, 2, 3, 4]);
    for round in 0..200 {
        conn.flood(AT_ONCE, |n| {
            let id = id(AT_ONCE.saturating_mul(round).saturating_add(n));
            [wire::headers(id, 0, &block), wire::frame(DATA, END_STREAM, id, &body)].concat()
        });
        let mut left = AT_ONCE;
        let mut credit = 0u32;
        while left > 0 {
            let frame = conn.next(Duration::from_secs(5)).ok_or("calls are not answered")?;
            match frame.kind {
                DATA => credit = credit.saturating_add(u32::try_from(frame.payload.len()).unwrap_or(0)),
                wire::HEADERS if frame.flags & END_STREAM != 0 => left = left.saturating_sub(1),
                wire::GOAWAY => return Err(format!("GOAWAY: {}", String::from_utf8_lossy(&frame.payload))),
                _ => {}
            }
        }
        conn.send(&wire::window_update(0, credit), 1);
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "all answered, no GOAWAY"))
}
