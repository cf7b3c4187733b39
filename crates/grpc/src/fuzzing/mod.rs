//! What the fuzz targets of this crate do with their octets: `grpc-timeout`, `grpc-message`, metadata and length-prefixed
//! messages. Compiled for fuzzing and for the tests that replay `fuzz/corpus/`; not part of the library.
//!
//! A body panics when something is wrong, and means nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail"
)]

mod messages;
mod metadata;

use core::time::Duration;

#[cfg(feature = "deflate")]
pub use messages::deflate;
#[cfg(feature = "gzip")]
pub use messages::gzip;
pub use messages::messages;
#[cfg(feature = "zstd")]
pub use messages::zstd;
pub use metadata::metadata;

use crate::deadline::{TimeoutValue, parse_timeout};
use crate::percent;

/// The value of `grpc-timeout`: it is read if and only if it is of the grammar, and what is written is never shorter than what
/// was meant, nor longer than the last of its digits.
pub fn grpc_timeout(octets: &[u8]) {
    let good = match octets {
        [digits @ .., b'H' | b'M' | b'S' | b'm' | b'u' | b'n'] => {
            (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    let read = parse_timeout(octets);
    assert_eq!(read.is_ok(), good);
    if let Ok(timeout) = read {
        written(timeout);
    }
    if let [secs @ .., a, b, c, d] = octets
        && let Ok(secs) = secs.try_into()
    {
        let nanos = u32::from_be_bytes([*a, *b, *c, *d]) % 1_000_000_000;
        written(Duration::new(u64::from_be_bytes(secs), nanos));
    }
}

fn written(timeout: Duration) {
    const LONGEST: Duration = Duration::from_secs(99_999_999 * 3600);
    let value = TimeoutValue::new(timeout);
    let read = parse_timeout(value.as_bytes()).expect("what we write is of the grammar");
    if timeout > LONGEST {
        assert_eq!(read, LONGEST);
        return;
    }
    assert!(read >= timeout, "{timeout:?} is cut to {read:?}");
    assert!(read - timeout <= timeout / 1_000_000 * 20, "{timeout:?} becomes {read:?}");
}

/// The value of `grpc-message`: whatever comes is text, and text survives the way there and back.
pub fn grpc_message(octets: &[u8]) {
    let read = percent::decode(octets);
    let wire = percent::encode(&read);
    assert!(wire.bytes().all(|octet| matches!(octet, 0x20..=0x7e)), "{wire:?}");
    assert_eq!(percent::decode(wire.as_bytes()), read);
    if let Ok(text) = core::str::from_utf8(octets) {
        assert_eq!(percent::decode(percent::encode(text).as_bytes()), text);
    }
}

#[cfg(test)]
mod tests {
    use clearway_testkit::fuzz::replay;

    #[test]
    fn grpc_timeout() {
        replay("grpc_timeout", super::grpc_timeout);
    }

    #[test]
    fn grpc_message() {
        replay("grpc_message", super::grpc_message);
    }

    #[test]
    fn metadata() {
        replay("metadata", super::metadata);
    }

    #[test]
    fn messages() {
        replay("messages", super::messages);
    }

    #[test]
    #[cfg(feature = "gzip")]
    fn gzip() {
        replay("gzip", super::gzip);
    }

    #[test]
    #[cfg(feature = "deflate")]
    fn deflate() {
        replay("deflate", super::deflate);
    }

    #[test]
    #[cfg(feature = "zstd")]
    fn zstd() {
        replay("zstd", super::zstd);
    }
}
