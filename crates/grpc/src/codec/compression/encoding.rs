//! [`CompressionEncoding`]: an algorithm behind a name, at some level and from some size of message on.
//!
//! It is a pointer to what was registered once, so that a call has room for it. What is registered stays until the program ends:
//! choosing the same again gives the same, so a program holds as many as it writes down.

use core::fmt;
use std::sync::{Mutex, PoisonError};

use super::{Compression, IDENTITY};

/// Messages below so many octets are sent as they are, unless [`CompressionEncoding::with_threshold`] says otherwise.
///
/// Half a kilobyte of records gets some 180 octets smaller, in a packet that is sent anyway, for 10 to 20 microseconds of gzip and 2 to
/// read it: as much as the rest of a call. At one kilobyte half of it is saved. `cargo bench -p clearway --bench compression
/// --all-features` prints both by size.
pub const DEFAULT_COMPRESSION_THRESHOLD: usize = 1024;

/// An algorithm by which messages can be compressed, as a name for it that is cheap to copy.
///
/// Two are equal when their names are.
#[derive(Clone, Copy)]
pub struct CompressionEncoding(&'static Registered);

/// A pointer to one of these is half as large as one to the algorithm itself.
struct Registered {
    algorithm: &'static dyn Compression,
    threshold: usize,
}

impl Registered {
    const fn new(algorithm: &'static dyn Compression) -> Self {
        Self { algorithm, threshold: DEFAULT_COMPRESSION_THRESHOLD }
    }
}

#[cfg(feature = "gzip")]
static GZIP: Registered = Registered::new(&super::gzip::Gzip::DEFAULT);
#[cfg(feature = "deflate")]
static DEFLATE: Registered = Registered::new(&super::deflate::Deflate::DEFAULT);
#[cfg(feature = "zstd")]
static ZSTD: Registered = Registered::new(&super::zstd::Zstd::DEFAULT);

/// What was made of others, by what it was made of and how.
static VARIANTS: Mutex<Vec<(Variant, &'static Registered)>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, PartialEq, Eq)]
struct Variant {
    /// Where the original lies.
    of: usize,
    change: Change,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Level(i32),
    Threshold(usize),
}

impl CompressionEncoding {
    /// gzip, RFC 1952, at level 6. Cargo feature `gzip`.
    #[cfg(feature = "gzip")]
    #[allow(non_upper_case_globals, reason = "written as tonic's variant is")]
    pub const Gzip: Self = Self(&GZIP);

    /// deflate, which is the zlib format of RFC 1950, at level 6; a bare DEFLATE stream (RFC 1951), which some senders mean by the
    /// name, is read, too. Cargo feature `deflate`.
    #[cfg(feature = "deflate")]
    #[allow(non_upper_case_globals, reason = "written as tonic's variant is")]
    pub const Deflate: Self = Self(&DEFLATE);

    /// Zstandard, RFC 8878, at level 3. Windows of up to 8 MiB are read, as RFC 9659 has it. Cargo feature `zstd`.
    #[cfg(feature = "zstd")]
    #[allow(non_upper_case_globals, reason = "written as tonic's variant is")]
    pub const Zstd: Self = Self(&ZSTD);

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
        Self(Box::leak(Box::new(Registered::new(Box::leak(Box::new(algorithm))))))
    }

    /// The same algorithm at another level: how hard it works for how many octets less. gzip and deflate have 1 to 9, Zstandard
    /// has -7 to 22; what is beyond counts as the nearest. An algorithm without levels stays as it is. Reading is not affected.
    ///
    /// ```
    /// # #[cfg(feature = "gzip")] {
    /// use clearway::codec::CompressionEncoding;
    ///
    /// let quick = CompressionEncoding::Gzip.with_level(1).with_threshold(16 * 1024);
    /// assert_eq!(quick.name(), "gzip");
    /// # }
    /// ```
    #[must_use]
    pub fn with_level(self, level: i32) -> Self {
        self.variant(Change::Level(level), |this| {
            let algorithm = this.algorithm.at_level(level)?;
            Some(Registered { algorithm: Box::leak(algorithm), ..*this })
        })
    }

    /// The same algorithm, tried on messages of at least so many octets; smaller ones are sent as they are. Reading is not affected.
    ///
    /// Default: [`DEFAULT_COMPRESSION_THRESHOLD`]. With 0 every message is tried; one that does not get smaller is sent as it is
    /// in any case.
    #[must_use]
    pub fn with_threshold(self, octets: usize) -> Self {
        self.variant(Change::Threshold(octets), |this| Some(Registered { threshold: octets, ..*this }))
    }

    /// What a change makes of it: the same as last time, if there was one.
    fn variant(self, change: Change, make: impl FnOnce(&Registered) -> Option<Registered>) -> Self {
        let variant = Variant { of: core::ptr::from_ref(self.0).addr(), change };
        let known = |variants: &[(Variant, &'static Registered)]| {
            variants.iter().find(|(known, _)| *known == variant).map(|(_, known)| Self(known))
        };
        let variants = || VARIANTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known(&variants()) {
            return known;
        }
        // An algorithm of the program's own may make variants of others meanwhile.
        let Some(made) = make(self.0) else { return self };
        let mut variants = variants();
        if let Some(known) = known(&variants) {
            return known;
        }
        let made: &'static Registered = Box::leak(Box::new(made));
        variants.push((variant, made));
        Self(made)
    }

    /// As it stands in `grpc-encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.algorithm.name()
    }

    /// The algorithm: to build another one around it, or to use it outside of calls.
    #[must_use]
    pub fn algorithm(self) -> &'static dyn Compression {
        self.0.algorithm
    }

    /// Messages of fewer octets are sent as they are.
    #[must_use]
    pub fn threshold(self) -> usize {
        self.0.threshold
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
