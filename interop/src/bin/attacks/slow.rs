//! Attacks that wait for a timer of the victim's: A4, A5, A10, A14, A15, A16. They run beside each other.

use std::thread;
use std::time::{Duration, Instant};

use clearway_http2::ErrorCode;

use crate::floods::{download, id};
use crate::wire::{self, Conn, DATA, INITIAL_WINDOW};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "A4", name: "PING flood, acks unread", server: &["--min-ping-interval", "0"], play: pings },
    Attack { id: "A5", name: "SETTINGS flood, acks unread", server: &[], play: settings },
    Attack { id: "A10", name: "100 downloads, TCP window shut", server: &[], play: shut_socket },
    Attack { id: "A14", name: "100 streams at window 0", server: &[], play: zero_window },
    Attack { id: "A14b", name: "900 streams at window 0", server: &[], play: many_at_zero },
    Attack { id: "A15", name: "slow headers, slow preface", server: &[], play: slow_headers },
    Attack { id: "A16", name: "100 half-open calls", server: &[], play: slow_bodies },
    Attack {
        id: "H2",
        name: "honest: 10,000 calls/s given up by their deadlines, for 10 s",
        server: &[],
        play: deadlines,
    },
];

/// Longer than the write timeout of 30 s, and than the kernel's of 20 s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(35);

/// With the policy of PINGs off: with it the fourth ends the connection (E6).
fn pings(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_deaf(&[])?;
    conn.flood(1_000_000, |_| wire::frame(wire::PING, 0, 0, &[7; 8]));
    if !conn.stuck {
        return Err("it reads on although nobody reads its answers".into());
    }
    scene.expect_line_within(&conn, "limit: write_timeout", WRITE_TIMEOUT)?;
    Ok(Seen::of(&[&conn], "stops reading at control_frames, closed by tcp_user_timeout"))
}

fn settings(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_deaf(&[])?;
    conn.flood(1_000_000, |_| wire::settings(&[]));
    scene.expect_line_within(&conn, "limit: glitches", WRITE_TIMEOUT)?;
    Ok(Seen::of(&[&conn], "GOAWAY ENHANCE_YOUR_CALM (limit: glitches), unread"))
}

fn shut_socket(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect_deaf(&[(INITIAL_WINDOW, 0x7fff_ffff)])?;
    conn.send(&wire::window_update(0, 0x7fff_0000), 1);
    for n in 0..100 {
        conn.send(&download(id(n), 100, 65_536), 2);
    }
    scene.expect_line_within(&conn, "limit: write_timeout", WRITE_TIMEOUT)?;
    Ok(Seen::of(&[&conn], "closed by tcp_user_timeout after 20 s"))
}

fn zero_window(scene: &Scene<'_>) -> Result<Seen, String> {
    stalled(scene, 100, 65_536)
}

/// As many as there may be, nearly: what waits is bounded for all of them together.
fn many_at_zero(scene: &Scene<'_>) -> Result<Seen, String> {
    stalled(scene, 900, 2_048)
}

fn stalled(scene: &Scene<'_>, streams: u32, size: u32) -> Result<Seen, String> {
    let mut conn = scene.connect_with(&[(INITIAL_WINDOW, 0)])?;
    for n in 0..streams {
        conn.send(&download(id(n), 100, size), 2);
    }
    let began = Instant::now();
    for _ in 0..streams {
        let Some(reset) = conn.find(wire::RST_STREAM, 0, Duration::from_secs(40)) else {
            return Err(format!("streams are left after {:?}", began.elapsed()));
        };
        if reset.payload != ErrorCode::ENHANCE_YOUR_CALM.0.to_be_bytes() {
            return Err(format!("{reset:?}"));
        }
    }
    let after = began.elapsed();
    conn.expect_alive()?;
    let how =
        format!("RST_STREAM ENHANCE_YOUR_CALM each after {:.0} s (zero_window_stall)", after.as_secs_f64());
    Ok(Seen::of(&[&conn], how))
}

fn slow_headers(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut silent = Conn::open(scene.victim.port, None)?;
    let mut no_settings = Conn::open(scene.victim.port, None)?;
    no_settings.send(wire::PREFACE, 1);
    silent.send(wire::PREFACE.get(..10).unwrap_or_default(), 0);
    let mut conn = scene.connect()?;
    let began = Instant::now();
    conn.send(&wire::frame(wire::HEADERS, 0, 1, &[0x83]), 1);
    while began.elapsed() < Duration::from_secs(9) {
        thread::sleep(Duration::from_secs(3));
        conn.send(&wire::frame(wire::CONTINUATION, 0, 1, &[0x86]), 1);
    }
    let how = conn.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "limit: peer_timeout")?;
    let after = began.elapsed();
    silent.expect_goaway(ErrorCode::PROTOCOL_ERROR, "limit: peer_timeout")?;
    no_settings.expect_goaway(ErrorCode::SETTINGS_TIMEOUT, "limit: peer_timeout")?;
    for conn in [&conn, &silent, &no_settings] {
        scene.expect_line(conn, "limit: peer_timeout")?;
    }
    Ok(Seen::of(&[&conn, &silent, &no_settings], format!("after {:.0} s {how}", after.as_secs_f64())))
}

fn slow_bodies(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    for n in 0..100 {
        let path = if n % 2 == 0 { "/bench.Echo/Unary" } else { "/bench.Echo/Hold" };
        conn.send(&wire::headers(id(n), 0, &wire::call(path)), 1);
        // The beginning of a message of 4 MiB, which never comes.
        conn.send(&wire::frame(DATA, 0, id(n), &[0, 0, 0x3f, 0xff, 0xff, 1]), 1);
    }
    for _ in 0..10 {
        thread::sleep(Duration::from_secs(1));
        conn.expect_alive()?;
    }
    Ok(Seen::of(
        &[&conn],
        "held for 10 s; counted by max_concurrent_streams, nothing allocated by the length",
    ))
}

/// An overloaded backend whose clients give up: each call's handler has begun when its deadline comes. Nobody is cut off for it.
fn deadlines(scene: &Scene<'_>) -> Result<Seen, String> {
    const EACH_TICK: u32 = 100;
    const TICKS: u32 = 1_000;
    /// Ticks of 10 ms until the client gives a call up.
    const PATIENCE: u32 = 5;
    let mut conn = scene.connect()?;
    let bare = wire::call("/bench.Echo/Hold");
    let timed = [bare.clone(), wire::field(b"grpc-timeout", b"50m")].concat();
    let began = Instant::now();
    for tick in 0..TICKS.saturating_add(PATIENCE) {
        let mut batch = Vec::new();
        for n in 0..EACH_TICK {
            if tick < TICKS {
                // The server knows the deadlines of half of them, and may be first.
                let block = if n % 2 == 0 { &timed } else { &bare };
                batch.extend(wire::headers(id(tick.saturating_mul(EACH_TICK).saturating_add(n)), 0, block));
            }
            if let Some(old) = tick.checked_sub(PATIENCE) {
                let old = id(old.saturating_mul(EACH_TICK).saturating_add(n));
                batch.extend(wire::reset(old, ErrorCode::CANCEL));
            }
        }
        if !conn.send(&batch, u64::from(EACH_TICK)) {
            return Err(format!("cut off: {:?}", conn.ending(Duration::from_secs(1))));
        }
        thread::sleep((began + Duration::from_millis(10) * tick).saturating_duration_since(Instant::now()));
    }
    conn.expect_alive()?;
    let calls = u64::from(EACH_TICK.saturating_mul(TICKS));
    Ok(Seen::of(&[&conn], format!("{calls} calls in {:.1} s, no GOAWAY", began.elapsed().as_secs_f64())))
}
