//! Compression of messages (gRPC's compression page): each on its own, by an algorithm that both sides know by name.
//!
//! The registry is open: a [`CompressionEncoding`] is an algorithm behind a name, this library's own or one of the program's
//! ([`CompressionEncoding::custom`]). Which of them a call uses is in [`agree`]; what is done to messages is in [`message`] and
//! [`crate::framing`].
//!
//! Invariant: whatever a message claims, no more octets come out of it than its receiver's limit; the algorithm stops while it
//! inflates.
//!
//! Left out so far: deflate and zstd of our own, sizes below which compressing is not tried, choices for single messages of a
//! stream.

mod agree;
#[cfg(feature = "gzip")]
mod gzip;
mod message;

use core::fmt;
use std::borrow::Cow;
use std::io;

pub(crate) use agree::{Accepted, Agreed, Encodings, Unknown};
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
    /// [`DecompressError::TooLarge`] as soon as more than `limit` octets would come out, [`DecompressError::Corrupt`] if
    /// `message` was not made by this algorithm or is not whole.
    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError>;
}

/// Why a message cannot be inflated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecompressError {
    /// More would come out than the limit.
    TooLarge,
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
            Self::Corrupt(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DecompressError {}

/// An algorithm by which messages can be compressed, as a name for it that is cheap to copy.
///
/// Two are equal when their names are.
#[derive(Clone, Copy)]
pub struct CompressionEncoding(&'static Registered);

/// A pointer to one of these is half as large as one to the algorithm itself.
struct Registered(&'static dyn Compression);

#[cfg(feature = "gzip")]
static GZIP: Registered = Registered(&gzip::Gzip);

impl CompressionEncoding {
    /// RFC 1952, level 6. Cargo feature `gzip`.
    #[cfg(feature = "gzip")]
    #[allow(non_upper_case_globals, reason = "written as tonic's variant is")]
    pub const Gzip: Self = Self(&GZIP);

    /// An algorithm of the program's own.
    ///
    /// It is kept until the program ends: make it once, and copy it.
    ///
    /// # Panics
    /// If its name cannot stand in `grpc-encoding`: it is empty, `identity`, or has other characters than
    /// [`Compression::name`] allows.
    ///
    /// ```
    /// use clearway::codec::{Compression, CompressionEncoding, DecompressError};
    ///
    /// /// Compresses nothing, at great speed.
    /// struct Copied;
    ///
    /// impl Compression for Copied {
    ///     fn name(&self) -> &str {
    ///         "x-copied"
    ///     }
    ///     fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    ///         out.extend_from_slice(message);
    ///         Ok(())
    ///     }
    ///     fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    ///         if message.len() > limit {
    ///             return Err(DecompressError::TooLarge);
    ///         }
    ///         out.extend_from_slice(message);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let copied = CompressionEncoding::custom(Copied);
    /// assert_eq!(copied.name(), "x-copied");
    /// ```
    #[must_use]
    pub fn custom(algorithm: impl Compression) -> Self {
        let name = algorithm.name();
        let allowed = |octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        assert!(
            !name.is_empty() && name != IDENTITY && name.bytes().all(allowed),
            "{name:?} cannot stand in grpc-encoding"
        );
        Self(Box::leak(Box::new(Registered(Box::leak(Box::new(algorithm))))))
    }

    /// As it stands in `grpc-encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.0.name()
    }

    /// The algorithm: to build another one around it, or to use it outside of calls.
    #[must_use]
    pub fn algorithm(self) -> &'static dyn Compression {
        self.0.0
    }
}

impl PartialEq for CompressionEncoding {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for CompressionEncoding {}

impl fmt::Debug for CompressionEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for CompressionEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
