//! gzip: members of RFC 1952 around raw DEFLATE (RFC 1951), which the `flate2` crate does.
//!
//! What is written is one member without a name or a time. What is read is one member or more, as RFC 1952 §2.2 has it, to the
//! last octet: checksums and lengths must agree, and what follows the last member is an error.
//!
//! Contexts are kept, one of each kind for a worker: making one costs more than a small message.

use core::cell::Cell;
use std::io;

use flate2::{Crc, Decompress};

use super::flate::{Deflating, LEVEL, inflate, level};
use super::{Compression, DecompressError, truncated};

/// The algorithm, at a level.
pub(super) struct Gzip {
    level: u32,
}

impl Gzip {
    pub(super) const DEFAULT: Self = Self { level: LEVEL };
}

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
/// Magic, method, no flags, no time, no extra flags, system unknown (RFC 1952 §2.3).
const HEADER: [u8; 10] = [MAGIC[0], MAGIC[1], DEFLATE, 0, 0, 0, 0, 0, 0, 255];
/// CRC-32 and length.
const TRAILER: usize = 8;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

thread_local! {
    static DEFLATING: Cell<Option<Deflating>> = const { Cell::new(None) };
    static INFLATING: Cell<Option<Decompress>> = const { Cell::new(None) };
}

impl Compression for Gzip {
    fn name(&self) -> &str {
        "gzip"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut context = Deflating::at(DEFLATING.take(), self.level, false);
        out.extend_from_slice(&HEADER);
        let result = context.run(message, out);
        DEFLATING.set(Some(context));
        result?;
        let mut crc = Crc::new();
        crc.update(message);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&length(message.len()).to_le_bytes());
        Ok(())
    }

    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        let mut context = INFLATING.take().unwrap_or_else(|| Decompress::new(false));
        let result = members(&mut context, message, limit, out);
        INFLATING.set(Some(context));
        result
    }

    fn at_level(&self, asked: i32) -> Option<Box<dyn Compression>> {
        Some(Box::new(Self { level: level(asked) }))
    }
}

/// A length as the trailer has it: modulo 2^32.
#[allow(clippy::cast_possible_truncation, reason = "RFC 1952 §2.3.1, ISIZE")]
const fn length(octets: usize) -> u32 {
    octets as u32
}

/// Inflates one member after the other.
fn members(
    context: &mut Decompress,
    mut input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let start = out.len();
    loop {
        let body = header(input)?;
        let member = out.len();
        context.reset(false);
        let rest = inflate(context, body, (start, limit), said(input), out)?;
        let (trailer, rest) = rest.split_at_checked(TRAILER).ok_or_else(truncated)?;
        let mut crc = Crc::new();
        let content = out.get(member..).unwrap_or_default();
        crc.update(content);
        let (sum, octets) = trailer.split_at_checked(4).ok_or_else(truncated)?;
        if *sum != crc.sum().to_le_bytes() {
            return Err(DecompressError::corrupt("its checksum is wrong"));
        }
        if *octets != length(content.len()).to_le_bytes() {
            return Err(DecompressError::corrupt("its length is wrong"));
        }
        if rest.is_empty() {
            return Ok(());
        }
        if !rest.starts_with(&MAGIC) {
            return Err(DecompressError::corrupt(format!("{} octets follow its end", rest.len())));
        }
        input = rest;
    }
}

/// What the last member's length is, by its trailer.
fn said(input: &[u8]) -> Option<usize> {
    let octets = input.split_last_chunk::<4>()?.1;
    usize::try_from(u32::from_le_bytes(*octets)).ok()
}

/// Skips a member's header (RFC 1952 §2.3).
fn header(input: &[u8]) -> Result<&[u8], DecompressError> {
    let (fixed, mut rest) = input.split_first_chunk::<10>().ok_or_else(truncated)?;
    let [first, second, method, flags, ..] = *fixed;
    if [first, second] != MAGIC {
        return Err(DecompressError::corrupt("it does not begin as gzip does"));
    }
    if method != DEFLATE {
        return Err(DecompressError::corrupt(format!("method {method} is not DEFLATE")));
    }
    if flags & RESERVED != 0 {
        return Err(DecompressError::corrupt("reserved flags are set"));
    }
    if flags & FEXTRA != 0 {
        let (octets, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        rest = after.get(usize::from(u16::from_le_bytes(*octets))..).ok_or_else(truncated)?;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|octet| *octet == 0).ok_or_else(truncated)?;
            rest = rest.get(end.saturating_add(1)..).ok_or_else(truncated)?;
        }
    }
    if flags & FHCRC != 0 {
        let head = input.get(..input.len().saturating_sub(rest.len())).unwrap_or_default();
        let (sum, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        let mut crc = Crc::new();
        crc.update(head);
        if crc.sum() & 0xffff != u32::from(u16::from_le_bytes(*sum)) {
            return Err(DecompressError::corrupt("the checksum of its header is wrong"));
        }
        rest = after;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests;
