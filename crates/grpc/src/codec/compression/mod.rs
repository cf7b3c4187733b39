//! Compression of messages (gRPC's compression page): each on its own, by an algorithm that both sides know by name.
//!
//! The registry is open: a [`CompressionEncoding`] is an algorithm behind a name, this library's own or one of the program's
//! ([`CompressionEncoding::custom`]). Which of them a call uses is in [`agree`], which messages of a call in [`choice`]; what is
//! done to messages is in [`message`] and [`crate::framing`].
//!
//! Invariant: whatever a message claims, no more octets come out of it than its receiver's limit; the algorithm stops while it
//! inflates.
//!
//! Left out: contexts that live longer than a message (gRPC has none on the wire), dictionaries.

mod agree;
mod choice;
#[cfg(feature = "deflate")]
mod deflate;
mod encoding;
#[cfg(any(feature = "gzip", feature = "deflate"))]
mod flate;
#[cfg(feature = "gzip")]
mod gzip;
mod message;
#[cfg(test)]
#[cfg(any(feature = "gzip", feature = "deflate", feature = "zstd"))]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

use core::fmt;
use std::borrow::Cow;
use std::io;

pub(crate) use agree::{Accepted, Agreed, Encodings, Unknown};
pub(crate) use choice::{CameCompressed, Choice, Choosing, Wanted};
pub use encoding::{CompressionEncoding, DEFAULT_COMPRESSION_THRESHOLD};
pub(crate) use message::{Packing, Unpacking};

/// The name for messages as they are; not an algorithm.
pub(crate) const IDENTITY: &str = "identity";

/// An algorithm that makes messages smaller. One value serves all calls and threads: what it needs to work it keeps to itself,
/// best by worker.
pub trait Compression: Send + Sync + 'static {
    /// As it stands in `grpc-encoding`: lower-case letters, digits, `-`, `_` and `.`.
    fn name(&self) -> &str;

    /// Appends `message`, compressed, to `out`.
    ///
    /// # Errors
    /// The call ends with INTERNAL.
    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Appends what was compressed into `message` to `out`: `limit` octets at most. What comes off the wire may be anything,
    /// and must not take much more memory than that.
    ///
    /// # Errors
    /// [`DecompressError::TooLarge`] as soon as more than `limit` octets would come out, [`DecompressError::Memory`] if it
    /// asks for more memory on the way than it is given, [`DecompressError::Corrupt`] if `message` was not made by this
    /// algorithm or is not whole.
    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError>;

    /// The same algorithm, working harder or less hard; `None`, as by default, if it has no levels.
    fn at_level(&self, level: i32) -> Option<Box<dyn Compression>> {
        let _ = level;
        None
    }
}

/// Why a message cannot be inflated.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecompressError {
    /// More would come out than the limit.
    TooLarge,
    /// More memory would be needed on the way than the algorithm is given; the text says how much.
    Memory(Cow<'static, str>),
    /// It is not what the algorithm makes; the text says how.
    Corrupt(Cow<'static, str>),
}

impl DecompressError {
    /// [`DecompressError::Corrupt`] with a text.
    pub fn corrupt(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Corrupt(what.into())
    }
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it inflates to more than the limit"),
            Self::Memory(what) | Self::Corrupt(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DecompressError {}

/// It ends before it should.
#[cfg(any(feature = "gzip", feature = "deflate", feature = "zstd"))]
fn truncated() -> DecompressError {
    DecompressError::corrupt("it is cut short")
}

/// A message that says that so many octets come out of it is believed: what is made room for is not touched before they do.
#[cfg(any(feature = "gzip", feature = "deflate", feature = "zstd"))]
const BELIEVED: usize = 16 * 1024 * 1024;

/// Makes room for more of what comes out of a message, where there is none left: `produced` octets came, `most` may; `expected` is
/// a guess at how many.
#[cfg(any(feature = "gzip", feature = "deflate", feature = "zstd"))]
fn grow(out: &mut Vec<u8>, produced: usize, expected: usize, most: usize) {
    if out.len() == out.capacity() {
        // One octet more than the limit has room, so that what is too large shows; memory goes no further.
        out.reserve_exact(produced.max(expected).min(most.saturating_sub(produced)).max(1));
    }
}

/// A guess at what comes out of so many octets: eight times as many, within bounds.
#[cfg(any(feature = "gzip", feature = "deflate", feature = "zstd"))]
fn guess(octets: usize) -> usize {
    octets.saturating_mul(8).clamp(4 * 1024, 64 * 1024)
}
