//! gRPC: E2, E4, E5, E8. What needs a client or a server of another kind is in [`crate::others`].

use clearway_http2::ErrorCode;

use crate::floods::id;
use crate::wire::{self, Conn, DATA, END_STREAM, Frame};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "E2", name: "lying length prefixes", server: &[], play: prefixes },
    Attack { id: "E4", name: "metadata", server: &[], play: metadata },
    Attack { id: "E5", name: "grpc-timeout", server: &[], play: timeouts },
    Attack { id: "E8", name: "nested 100,000 deep", server: &[], play: nested },
];

/// The last HEADERS of the answer to a request with this block and body.
fn answer(conn: &mut Conn, stream: u32, block: &[u8], body: &[u8]) -> Result<Frame, String> {
    conn.send(&wire::headers(stream, 0, block), 1);
    for (n, chunk) in body.chunks(16_384).enumerate() {
        let last = n.saturating_add(1) == body.len().div_ceil(16_384);
        conn.send(&wire::frame(DATA, if last { END_STREAM } else { 0 }, stream, chunk), 1);
    }
    loop {
        let frame = conn.expect_answer(stream)?;
        if frame.flags & END_STREAM != 0 {
            return Ok(frame);
        }
    }
}

/// The answer must have this HTTP status (if it is in the same section) and this gRPC status.
fn expect(frame: &Frame, http: &str, code: &str) -> Result<(), String> {
    let same_http = frame.field(":status").is_none_or(|status| status == http);
    if same_http && frame.field("grpc-status") == Some(code) {
        Ok(())
    } else {
        Err(format!("want {http}, {code}: {frame:?}"))
    }
}

fn prefixes(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let call = wire::call("/bench.Echo/Unary");
    let cases: [(&[u8], &str); 4] = [
        // 4 GiB announced: RESOURCE_EXHAUSTED. Flag 2, and compressed without an encoding: INTERNAL. Cut short: INTERNAL.
        (&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5], "8"),
        (&[2, 0, 0, 0, 0], "13"),
        (&[1, 0, 0, 0, 1, 0], "13"),
        (&[0, 0, 0, 1, 0, 1], "13"),
    ];
    for (n, (body, code)) in (0..).zip(cases) {
        expect(&answer(&mut conn, id(n), &call, body)?, "200", code)?;
    }
    // 2^20 empty messages, each sent back.
    let stream = id(10);
    conn.send(&wire::headers(stream, 0, &wire::call("/bench.Echo/Bidi")), 1);
    let batch = wire::frame(DATA, 0, stream, &wire::message(&[]).repeat(2_048));
    let mut echoed = 0usize;
    conn.send(&wire::window_update(0, 0x1000_0000), 1);
    conn.send(&wire::window_update(stream, 0x1000_0000), 1);
    for _ in 0..512 {
        conn.send(&batch, 1);
        while echoed < 2_048 * 5 {
            let frame = conn
                .find(DATA, stream, std::time::Duration::from_secs(5))
                .ok_or("empty messages are not sent back")?;
            echoed = echoed.saturating_add(frame.payload.len());
        }
        echoed = echoed.saturating_sub(2_048 * 5);
    }
    conn.send(&wire::frame(DATA, END_STREAM, stream, &[]), 1);
    expect(&conn.expect_answer(stream)?, "200", "0")?;
    Ok(Seen::of(&[&conn], "RESOURCE_EXHAUSTED at the prefix; INTERNAL; 2^20 empty messages are served"))
}

fn metadata(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let body = wire::message(&[0x0a, 0]);
    let with = |extra: Vec<u8>| [wire::call("/bench.Echo/Unary"), extra].concat();
    // What the fields of the call themselves count: names, values and 32 each.
    let own =
        [(":method", "POST"), (":scheme", "http"), (":path", "/bench.Echo/Unary"), (":authority", "victim")]
            .into_iter()
            .chain([("te", "trailers"), ("content-type", "application/grpc")])
            .map(|(name, value)| name.len() + value.len() + 32)
            .sum::<usize>();
    let room = 16_384 - own - 33;
    let value = |octets: usize| wire::field(b"x", &vec![b'v'; octets]);
    // A block of more than 16,384 octets needs a second frame; the limit is on what it decodes to.
    expect(&answer(&mut conn, id(0), &with(value(room)), &body)?, "200", "0")?;
    expect(&answer(&mut conn, id(1), &with(value(room + 1)), &body)?, "431", "8")?;
    let keys: Vec<u8> = (0..1_500).flat_map(|n| wire::field(format!("k{n}").as_bytes(), b"")).collect();
    expect(&answer(&mut conn, id(2), &with(keys), &body)?, "431", "8")?;
    for (n, bad) in (10..).zip(["!", "a", "AAAA=A"]) {
        let block = with(wire::field(b"x-bin", bad.as_bytes()));
        expect(&answer(&mut conn, id(n), &block, &body)?, "400", "13")?;
    }
    // Lists, reserved names and octets that are not ASCII do not hurt the call.
    for (n, extra) in (20..).zip([
        wire::field(b"x-bin", b"YQ==,YQ,Yg"),
        wire::field(b"grpc-unheard-of", b"1"),
        wire::field(b"x", &[0xff, 0xfe]),
    ]) {
        expect(&answer(&mut conn, id(n), &with(extra), &body)?, "200", "0")?;
    }
    conn.send(&wire::headers(id(30), END_STREAM, &with(wire::field(b":x", b"1"))), 1);
    conn.expect_reset(id(30), ErrorCode::PROTOCOL_ERROR)?;
    Ok(Seen::of(
        &[&conn],
        "431, RESOURCE_EXHAUSTED past 16 KiB or 128 fields; 400, INTERNAL for bad base64; the stream only",
    ))
}

fn timeouts(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let body = wire::message(&[0x0a, 0]);
    let cases = [
        ("99999999H", "200", "0"),
        ("100000000n", "400", "13"),
        ("0n", "200", "4"),
        ("-1S", "400", "13"),
        ("+1S", "400", "13"),
        ("1", "400", "13"),
        ("S", "400", "13"),
        ("", "400", "13"),
        ("1.5S", "400", "13"),
        ("1s", "400", "13"),
    ];
    for (n, (timeout, http, code)) in (0..).zip(cases) {
        let block =
            [wire::call("/bench.Echo/Unary"), wire::field(b"grpc-timeout", timeout.as_bytes())].concat();
        let frame = answer(&mut conn, id(n), &block, &body)?;
        expect(&frame, http, code).map_err(|failure| format!("{timeout:?}: {failure}"))?;
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "99999999H is kept; 0n: DEADLINE_EXCEEDED; all else: 400, INTERNAL"))
}

fn nested(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let call = wire::call("/bench.Echo/Unary");
    // Groups of unknown fields: the only nesting that a message of one `bytes` field can have.
    for (n, octets) in (0..).zip([vec![0x13; 100_000], [vec![0x13; 50_000], vec![0x14; 50_000]].concat()]) {
        let frame = answer(&mut conn, id(n), &call, &wire::message(&octets))?;
        expect(&frame, "200", "13")?;
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "INTERNAL (depth limit 100)"))
}
