//! DEFLATE streams (RFC 1951), by the `flate2` crate: the loops that gzip and deflate share.

use std::io;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::{BELIEVED, DecompressError, grow, guess, truncated};

/// What most others use, too.
pub(super) const LEVEL: u32 = 6;

/// More than so many octets cannot come out of one: 258 for two bits.
const MOST_OF_ONE: usize = 1032;

/// A level as the algorithm has it.
pub(super) fn level(level: i32) -> u32 {
    u32::try_from(level.clamp(1, 9)).unwrap_or(LEVEL)
}

/// A context to compress with, and the level it was made for: a worker keeps one.
pub(super) struct Deflating {
    level: u32,
    context: Compress,
}

impl Deflating {
    /// The context that was kept, if it is for this level, or a new one; in the zlib format, if `is_zlib`.
    pub(super) fn at(kept: Option<Self>, level: u32, is_zlib: bool) -> Self {
        match kept {
            Some(mut kept) if kept.level == level => {
                kept.context.reset();
                kept
            }
            _ => Self { level, context: Compress::new(flate2::Compression::new(level), is_zlib) },
        }
    }

    /// Appends `message`, compressed, to `out`.
    pub(super) fn run(&mut self, mut message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let context = &mut self.context;
        // What cannot be made smaller grows by five octets for every 16 KiB, at most.
        out.reserve(message.len().saturating_add(message.len() / 1024).saturating_add(64));
        loop {
            let before = context.total_in();
            let status =
                context.compress_vec(message, out, FlushCompress::Finish).map_err(io::Error::other)?;
            message = advanced(message, before, context.total_in());
            match status {
                Status::StreamEnd => return Ok(()),
                Status::Ok | Status::BufError => out.reserve(4096),
            }
        }
    }
}

fn advanced(input: &[u8], before: u64, after: u64) -> &[u8] {
    let taken = usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX);
    input.get(taken..).unwrap_or_default()
}

/// Inflates one stream, and gives back what follows it. What was appended to `out` since `start` may be `limit` octets; `expected`
/// is what its sender says comes out, which may be anything.
pub(super) fn inflate<'a>(
    context: &mut Decompress,
    mut input: &'a [u8],
    (start, limit): (usize, usize),
    expected: Option<usize>,
    out: &mut Vec<u8>,
) -> Result<&'a [u8], DecompressError> {
    let most = limit.saturating_add(1);
    // What is made room for is not touched before it is written.
    let possible = input.len().saturating_mul(MOST_OF_ONE).min(BELIEVED);
    let first = expected.filter(|octets| *octets <= possible).unwrap_or_else(|| guess(input.len()));
    loop {
        let produced = out.len().saturating_sub(start);
        grow(out, produced, first, most);
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
