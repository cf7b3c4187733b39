//! Decompression bombs: E1, on a server that accepts gzip.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::floods::id;
use crate::victim::usage;
use crate::wire::{self, Conn, DATA, END_STREAM};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] =
    &[Attack { id: "E1", name: "100 gzip bombs of 56 KiB to 9 MiB", server: &[], play: bombs }];

/// `ServerCompatRequest { protocol: GRPC, http_version: 2 }` of connectconformance, with its length.
const SERVE: &[u8] = &[0, 0, 0, 4, 0x08, 2, 0x10, 2];

/// Bits of a deflate stream (RFC 1951 §3.1.1): codes begin with their most significant bit, octets with their least.
#[derive(Default)]
struct Bits {
    octets: Vec<u8>,
    used: u8,
}

impl Bits {
    fn push(&mut self, code: u16, bits: u8) {
        for n in (0..bits).rev() {
            if self.used == 0 {
                self.octets.push(0);
            }
            if let Some(last) = self.octets.last_mut() {
                *last |= u8::from(code >> n & 1 == 1) << self.used;
            }
            self.used = self.used.wrapping_add(1) % 8;
        }
    }
}

/// A gzip member whose one block says "zero, and then the same 258 octets" again and again, in 13 bits each time.
fn bomb() -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, with fixed codes: 1, then 01 with its least significant bit first.
    bits.push(0b110, 3);
    bits.push(0b0011_0000, 8);
    for _ in 0..35_000 {
        // Length 285: 258 octets; distance code 0: one octet back.
        bits.push(0b1100_0101, 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &bits.octets, &[0; 8]].concat()
}

fn bombs(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut command = Command::new(scene.programs.join("conformance-server"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut victim = command.spawn().map_err(|error| format!("conformance-server: {error}"))?;
    let played = (|| {
        let (Some(stdin), Some(stdout)) = (&mut victim.stdin, &mut victim.stdout) else {
            return Err("no pipes".to_owned());
        };
        stdin.write_all(SERVE).and_then(|()| stdin.flush()).map_err(|error| error.to_string())?;
        let mut length = [0; 4];
        stdout.read_exact(&mut length).map_err(|error| error.to_string())?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stdout.read_exact(&mut answer).map_err(|error| error.to_string())?;
        throw(victim.id(), port(&answer).ok_or("no port in the answer")?)
    })();
    // It may be gone already.
    let _ = victim.kill();
    let _ = victim.wait();
    played
}

/// Field 2 of `ServerCompatResponse`, after the host's text.
fn port(answer: &[u8]) -> Option<u16> {
    let host = usize::from(*answer.get(1)?);
    match answer.get(host.checked_add(2)?..)? {
        [0x10, low, high, rest @ ..] if low & 0x80 != 0 => {
            let middle = u32::from(*high & 0x7f) << 7;
            let top = if high & 0x80 != 0 { u32::from(*rest.first()?) << 14 } else { 0 };
            u16::try_from(u32::from(low & 0x7f) | middle | top).ok()
        }
        _ => None,
    }
}

fn throw(process: u32, port: u16) -> Result<Seen, String> {
    let mut conn = Conn::open(port, None)?;
    conn.start(&[])?;
    let path = "/connectrpc.conformance.v1.ConformanceService/Unary";
    let block = [wire::call(path), wire::field(b"grpc-encoding", b"gzip")].concat();
    let octets = bomb();
    let mut message = wire::message(&octets);
    if let Some(flag) = message.first_mut() {
        *flag = 1;
    }
    let before = usage(process)?;
    for n in 0..100 {
        conn.send(&wire::headers(id(n), 0, &block), 1);
        for (at, chunk) in message.chunks(16_384).enumerate() {
            let last = at.saturating_add(1) == message.len().div_ceil(16_384);
            conn.send(&wire::frame(DATA, if last { END_STREAM } else { 0 }, id(n), chunk), 1);
        }
        let answer = conn.find(wire::HEADERS, id(n), Duration::from_secs(5)).ok_or("no answer")?;
        if answer.field("grpc-status") != Some("8") {
            return Err(format!("want RESOURCE_EXHAUSTED: {answer:?}"));
        }
    }
    let used = usage(process)?;
    let grown = used.peak_kib.saturating_sub(before.resident_kib);
    let cpu = used.cpu.saturating_sub(before.cpu);
    if grown > 20 * 1024 || cpu > Duration::from_secs(5) {
        return Err(format!("{grown} KiB, {cpu:?} of CPU time"));
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], format!("RESOURCE_EXHAUSTED each, +{grown} KiB, {cpu:.0?} CPU")))
}
