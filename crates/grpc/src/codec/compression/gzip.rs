//! gzip: members of RFC 1952 around raw DEFLATE (RFC 1951), which the `flate2` crate does.
//!
//! What is written is one member without a name or a time. What is read is one member or more, as RFC 1952 §2.2 has it, to the
//! last octet: checksums and lengths must agree, and what follows the last member is an error.
//!
//! Contexts are kept, one of each kind for a worker: making one costs more than a small message.

use core::cell::Cell;
use std::io;

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Compression, DecompressError};

/// The algorithm.
pub(super) struct Gzip;

/// What most others use, too.
const LEVEL: flate2::Compression = flate2::Compression::new(6);

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

/// What is made room for at first: between these, eight times as much as there is to inflate.
const FIRST: core::ops::RangeInclusive<usize> = 4 * 1024..=64 * 1024;

thread_local! {
    static DEFLATING: Cell<Option<Compress>> = const { Cell::new(None) };
    static INFLATING: Cell<Option<Decompress>> = const { Cell::new(None) };
}

impl Compression for Gzip {
    fn name(&self) -> &str {
        "gzip"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut context = DEFLATING.take().unwrap_or_else(|| Compress::new(LEVEL, false));
        context.reset();
        out.extend_from_slice(&HEADER);
        let result = deflate(&mut context, message, out);
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
}

/// A length as the trailer has it: modulo 2^32.
#[allow(clippy::cast_possible_truncation, reason = "RFC 1952 §2.3.1, ISIZE")]
const fn length(octets: usize) -> u32 {
    octets as u32
}

fn deflate(context: &mut Compress, mut message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // What cannot be made smaller grows by five octets for every 16 KiB, at most.
    out.reserve(message.len().saturating_add(message.len() / 1024).saturating_add(64));
    loop {
        let before = context.total_in();
        let status = context.compress_vec(message, out, FlushCompress::Finish).map_err(io::Error::other)?;
        message = advanced(message, before, context.total_in());
        match status {
            Status::StreamEnd => return Ok(()),
            Status::Ok | Status::BufError => out.reserve(4096),
        }
    }
}

fn advanced(input: &[u8], before: u64, after: u64) -> &[u8] {
    let taken = usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX);
    input.get(taken..).unwrap_or_default()
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
        let rest = inflate(context, body, (start, limit), out)?;
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

fn truncated() -> DecompressError {
    DecompressError::corrupt("it is cut short")
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

/// Inflates one DEFLATE stream, and gives back what follows it. What was appended to `out` since `start` may be `limit` octets.
fn inflate<'a>(
    context: &mut Decompress,
    mut input: &'a [u8],
    (start, limit): (usize, usize),
    out: &mut Vec<u8>,
) -> Result<&'a [u8], DecompressError> {
    let most = limit.saturating_add(1);
    let first = input.len().saturating_mul(8).clamp(*FIRST.start(), *FIRST.end());
    loop {
        let produced = out.len().saturating_sub(start);
        if out.len() == out.capacity() {
            // One octet more than the limit has room, so that what is too large shows; memory goes no further.
            out.reserve_exact(produced.max(first).min(most.saturating_sub(produced)).max(1));
        }
        let before = (context.total_in(), out.len());
        let status = context
            .decompress_vec(input, out, FlushDecompress::None)
            .map_err(|_| DecompressError::corrupt("its DEFLATE stream is broken"))?;
        input = advanced(input, before.0, context.total_in());
        if out.len().saturating_sub(start) > limit {
            return Err(DecompressError::TooLarge);
        }
        match status {
            Status::StreamEnd => return Ok(input),
            // With room left, only more input would help.
            Status::Ok | Status::BufError if out.len() < out.capacity() && input.is_empty() => {
                return Err(truncated());
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

#[cfg(test)]
mod tests;
