//! deflate: what gRPC calls by that name is the zlib format of RFC 1950 around DEFLATE (RFC 1951), as in HTTP.
//!
//! What is written is that. What is read is that or a bare DEFLATE stream, which some senders write: the first octet tells. A stream that
//! begins as zlib does (method 8) would, as DEFLATE, begin with a stored block and a bit set in the padding behind its type, which no encoder
//! writes. A dictionary that both sides would have to know is an error.
//!
//! Contexts are kept, one of each kind for a worker, as gzip's are.

use core::cell::Cell;
use std::io;

use flate2::Decompress;

use super::flate::{Deflating, LEVEL, inflate, level};
use super::{Compression, DecompressError, truncated};

/// The algorithm, at a level.
pub(super) struct Deflate {
    level: u32,
}

impl Deflate {
    pub(super) const DEFAULT: Self = Self { level: LEVEL };
}

const METHOD: u8 = 8;
/// RFC 1950 §2.2, FDICT.
const DICTIONARY: u8 = 1 << 5;

thread_local! {
    static DEFLATING: Cell<Option<Deflating>> = const { Cell::new(None) };
    static INFLATING: Cell<Option<Decompress>> = const { Cell::new(None) };
}

impl Compression for Deflate {
    fn name(&self) -> &str {
        "deflate"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut context = Deflating::at(DEFLATING.take(), self.level, true);
        let result = context.run(message, out);
        DEFLATING.set(Some(context));
        result
    }

    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        let is_zlib = is_zlib(message)?;
        let mut context = INFLATING.take().unwrap_or_else(|| Decompress::new(is_zlib));
        context.reset(is_zlib);
        let result = inflate(&mut context, message, (out.len(), limit), None, out);
        INFLATING.set(Some(context));
        match result? {
            [] => Ok(()),
            rest => Err(DecompressError::corrupt(format!("{} octets follow its end", rest.len()))),
        }
    }

    fn at_level(&self, asked: i32) -> Option<Box<dyn Compression>> {
        Some(Box::new(Self { level: level(asked) }))
    }
}

/// True for the zlib format, false for a bare stream.
fn is_zlib(message: &[u8]) -> Result<bool, DecompressError> {
    let [method, flags, ..] = *message else { return Err(truncated()) };
    let is_zlib = method & 0x0f == METHOD && u16::from_be_bytes([method, flags]) % 31 == 0;
    if is_zlib && flags & DICTIONARY != 0 {
        return Err(DecompressError::corrupt("it wants a dictionary"));
    }
    Ok(is_zlib)
}
