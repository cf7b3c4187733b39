//! Frames and flow control: C1 to C8.

use clearway_http2::ErrorCode;

use crate::floods::{download, id};
use crate::wire::{self, Conn, DATA, END_STREAM, INITIAL_WINDOW, PADDED};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "C1", name: "window overflow", server: &[], play: overflow },
    Attack { id: "C2", name: "negative window", server: &[], play: negative },
    Attack { id: "C3", name: "beyond our window", server: &[], play: beyond },
    Attack { id: "C4", name: "padding", server: &[], play: padding },
    Attack { id: "C5", name: "frames after the end", server: &[], play: after_the_end },
    Attack { id: "C6", name: "frames after trailers", server: &[], play: after_trailers },
    Attack { id: "C7", name: "lying lengths", server: &[], play: lengths },
    Attack { id: "C8", name: "frames inside a field block", server: &[], play: interleaved },
];

const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;

fn held(conn: &mut Conn, id: u32) {
    conn.send(&wire::headers(id, 0, &wire::call("/bench.Echo/Hold")), 1);
}

fn overflow(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut stream = scene.connect()?;
    held(&mut stream, 1);
    stream.send(&wire::window_update(1, 0x7fff_ffff), 1);
    let how = stream.expect_reset(1, FLOW)?;
    let mut connection = scene.connect()?;
    connection.send(&wire::window_update(0, 0x7fff_ffff), 1);
    let seen =
        Seen::of(&[&stream], how).and(scene.expect_cut_off(&connection, FLOW, "connection window above")?);
    let mut delta = scene.connect()?;
    held(&mut delta, 1);
    delta.send(&wire::window_update(1, 0x7fff_ffff - 65_535), 1);
    delta.send(&wire::settings(&[(INITIAL_WINDOW, 65_536)]), 1);
    Ok(seen.and(scene.expect_cut_off(&delta, FLOW, "SETTINGS_INITIAL_WINDOW_SIZE lifts")?))
}

/// Octets of DATA on a stream, read until nothing more comes for a while.
fn taken(conn: &Conn, id: u32) -> usize {
    let wait = std::time::Duration::from_millis(300);
    std::iter::from_fn(|| conn.find(DATA, id, wait)).map(|frame| frame.payload.len()).sum()
}

fn negative(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_with(&[(INITIAL_WINDOW, 65_535)])?;
    conn.send(&download(1, 4, 65_536), 2);
    let first = taken(&conn, 1);
    conn.send(&wire::settings(&[(INITIAL_WINDOW, 0)]), 1);
    conn.send(&wire::window_update(0, 200_000), 1);
    conn.send(&wire::window_update(1, 65_535), 1);
    let none = taken(&conn, 1);
    conn.send(&wire::window_update(1, 10), 1);
    let last = taken(&conn, 1);
    if (first, none, last) != (65_535, 0, 10) {
        return Err(format!("DATA of {first}, {none}, {last} octets, want 65535, 0, 10"));
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "nothing until the window is above 0"))
}

fn beyond(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    held(&mut conn, 1);
    for _ in 0..4 {
        conn.send(&wire::frame(DATA, 0, 1, &[0; 16_384]), 1);
    }
    conn.send(&wire::frame(DATA, 0, 1, &[0]), 1);
    let how = conn.expect_reset(1, FLOW)?;
    Ok(Seen::of(&[&conn], how))
}

fn padding(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.send(&wire::headers(1, 0, &wire::call("/bench.Echo/Bidi")), 1);
    // For what is sent back.
    conn.send(&[wire::window_update(0, 0x10_0000), wire::window_update(1, 0x10_0000)].concat(), 2);
    let mut padded = vec![255];
    padded.extend(wire::message(&[]));
    padded.extend([0; 255]);
    let frame = wire::frame(DATA, PADDED, 1, &padded);
    for _ in 0..1_000 {
        for _ in 0..100 {
            conn.send(&frame, 1);
        }
        // So that credit was given for them.
        conn.expect_alive()?;
    }
    conn.send(&wire::headers(3, 0, &wire::call("/bench.Echo/Unary")), 1);
    conn.send(&wire::frame(DATA, END_STREAM, 3, &wire::message(&[&[0x0a, 100][..], &[1; 100]].concat())), 1);
    conn.expect_answer(3)?;
    Ok(Seen::of(&[&conn], "credited at once; 26 MB later an upload is served"))
}

fn after_the_end(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    conn.send(&wire::headers(1, END_STREAM, &wire::call("/bench.Echo/Hold")), 1);
    conn.send(&wire::frame(DATA, 0, 1, b"late"), 1);
    let how = conn.expect_reset(1, ErrorCode::STREAM_CLOSED)?;
    let seen = Seen::of(&[&conn], how);
    let mut conn = scene.connect()?;
    held(&mut conn, 1);
    conn.send(&wire::reset(1, ErrorCode::CANCEL), 1);
    conn.flood(100_000, |_| wire::frame(DATA, 0, 1, &[]));
    Ok(seen.and(scene.expect_cut_off(&conn, ErrorCode::ENHANCE_YOUR_CALM, "limit: resets")?))
}

fn after_trailers(scene: &Scene<'_>) -> Result<Seen, String> {
    let trailers = wire::field(b"x-trailer", b"1");
    let mut conn = scene.connect()?;
    held(&mut conn, 1);
    conn.send(&wire::headers(1, 0, &trailers), 1);
    let how = conn.expect_reset(1, ErrorCode::PROTOCOL_ERROR)?;
    for (n, frame) in
        [wire::frame(DATA, 0, 3, b"late"), wire::headers(5, END_STREAM, &trailers)].into_iter().enumerate()
    {
        let id = if n == 0 { 3 } else { 5 };
        held(&mut conn, id);
        conn.send(&wire::headers(id, END_STREAM, &trailers), 1);
        conn.send(&frame, 1);
        conn.expect_reset(id, ErrorCode::STREAM_CLOSED)?;
    }
    Ok(Seen::of(&[&conn], format!("{how}; after the end STREAM_CLOSED")))
}

fn lengths(scene: &Scene<'_>) -> Result<Seen, String> {
    let cases: [(&[u8], ErrorCode, &str); 5] = [
        (&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], ErrorCode::FRAME_SIZE_ERROR, "SETTINGS_MAX_FRAME_SIZE"),
        (&[0xff, 0xff, 0xff, 0xbe, 0, 0, 0, 0, 0], ErrorCode::FRAME_SIZE_ERROR, "SETTINGS_MAX_FRAME_SIZE"),
        (&[0, 0, 1, DATA, PADDED, 0, 0, 0, 1, 1], ErrorCode::PROTOCOL_ERROR, "padding"),
        (&[0, 0, 5, wire::SETTINGS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ErrorCode::FRAME_SIZE_ERROR, "length"),
        (&[0, 0, 7, wire::PING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ErrorCode::FRAME_SIZE_ERROR, "length"),
    ];
    let mut all: Option<Seen> = None;
    for (octets, code, text) in cases {
        let mut conn = scene.connect()?;
        held(&mut conn, 1);
        conn.send(octets, 1);
        let seen = scene.expect_cut_off(&conn, code, text)?;
        all = Some(match all {
            Some(all) => all.and(seen),
            None => seen,
        });
    }
    all.ok_or("nothing was tried".into())
}

fn interleaved(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut all: Option<Seen> = None;
    for frame in [
        wire::frame(DATA, 0, 1, b"x"),
        wire::headers(id(1), 0, &[0x82]),
        wire::frame(wire::PING, 0, 0, &[0; 8]),
        wire::frame(wire::CONTINUATION, 0, 3, &[]),
        wire::frame(0xbe, 0, 0, &[]),
    ] {
        let mut conn = scene.connect()?;
        conn.send(&wire::frame(wire::HEADERS, 0, 1, &[0x83]), 1);
        conn.send(&frame, 1);
        let seen = scene.expect_cut_off(&conn, ErrorCode::PROTOCOL_ERROR, "expected CONTINUATION")?;
        all = Some(match all {
            Some(all) => all.and(seen),
            None => seen,
        });
    }
    all.ok_or("nothing was tried".into())
}
