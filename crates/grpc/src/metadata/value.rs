//! Values: text as it is, octets as base64.

use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::key::{Ascii, Binary, Encoding};

/// Sent without padding, accepted with and without (gRPC over HTTP/2, "Binary-Header").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        // What other encoders leave in the last bits says nothing.
        .with_decode_allow_trailing_bits(true),
);

/// A metadata value.
///
/// It is kept as it is on the wire: printable ASCII, which for [`Binary`] is base64.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MetadataValue<E: Encoding> {
    wire: Bytes,
    sensitive: bool,
    encoding: PhantomData<E>,
}

/// A text value.
pub type AsciiMetadataValue = MetadataValue<Ascii>;
/// A binary value.
pub type BinaryMetadataValue = MetadataValue<Binary>;

/// Text that cannot be a metadata value: octets outside 0x20-0x7E.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidMetadataValue;

impl fmt::Display for InvalidMetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "metadata value has an octet outside 0x20-0x7E; use a key with the suffix -bin for such data",
        )
    }
}

impl std::error::Error for InvalidMetadataValue {}

/// A binary value that is not base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidMetadataValueBytes;

impl fmt::Display for InvalidMetadataValueBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("binary metadata value is not base64")
    }
}

impl std::error::Error for InvalidMetadataValueBytes {}

/// A received text value with octets that are not printable ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ToStrError;

impl fmt::Display for ToStrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata value is not printable ASCII")
    }
}

impl std::error::Error for ToStrError {}

const fn is_text(octets: &[u8]) -> bool {
    let mut rest = octets;
    while let [first, tail @ ..] = rest {
        if !matches!(first, 0x20..=0x7e) {
            return false;
        }
        rest = tail;
    }
    true
}

impl<E: Encoding> MetadataValue<E> {
    pub(super) const fn from_wire(wire: Bytes, sensitive: bool) -> Self {
        Self { wire, sensitive, encoding: PhantomData }
    }

    /// The octets as they are on the wire; base64 for [`Binary`].
    #[must_use]
    pub fn as_encoded_bytes(&self) -> &[u8] {
        &self.wire
    }

    /// True if the value must not enter a compression table (RFC 7541 §7.1.3).
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        self.sensitive
    }

    /// Marks the value as secret: it is sent as a never-indexed literal and not printed.
    pub const fn set_sensitive(&mut self, sensitive: bool) {
        self.sensitive = sensitive;
    }

    /// True if there are no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }
}

impl MetadataValue<Ascii> {
    /// A value from text that lives for ever. Spaces at its ends are dropped, as everywhere: they do not travel.
    ///
    /// # Panics
    /// If the text has an octet outside 0x20-0x7E.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(is_text(text.as_bytes()), "invalid metadata value");
        Self::from_wire(Bytes::from_static(text.as_bytes().trim_ascii()), false)
    }

    /// The text.
    ///
    /// # Errors
    /// [`ToStrError`] if the peer sent something else than printable ASCII.
    pub fn to_str(&self) -> Result<&str, ToStrError> {
        if !is_text(&self.wire) {
            return Err(ToStrError);
        }
        core::str::from_utf8(&self.wire).map_err(|_| ToStrError)
    }

    /// The octets, whatever they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    fn from_octets(octets: Bytes) -> Result<Self, InvalidMetadataValue> {
        // RFC 9113 §8.2.1: with a space at either end it would be malformed; gRPC lets it be stripped.
        let text = is_text(&octets).then(|| octets.slice_ref(octets.trim_ascii()));
        text.map(|text| Self::from_wire(text, false)).ok_or(InvalidMetadataValue)
    }
}

impl MetadataValue<Binary> {
    /// A value from any octets.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Self {
        Self::from_wire(Bytes::from(BASE64.encode(octets)), false)
    }

    /// The octets.
    ///
    /// # Errors
    /// [`InvalidMetadataValueBytes`] if a peer sent something that is not base64.
    pub fn to_bytes(&self) -> Result<Bytes, InvalidMetadataValueBytes> {
        decode(&self.wire).ok_or(InvalidMetadataValueBytes)
    }
}

/// Base64 of the standard alphabet, with or without padding.
pub(crate) fn decode(wire: &[u8]) -> Option<Bytes> {
    BASE64.decode(wire).ok().map(Bytes::from)
}

impl FromStr for MetadataValue<Ascii> {
    type Err = InvalidMetadataValue;

    fn from_str(text: &str) -> Result<Self, InvalidMetadataValue> {
        Self::from_octets(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<&str> for MetadataValue<Ascii> {
    type Error = InvalidMetadataValue;

    fn try_from(text: &str) -> Result<Self, InvalidMetadataValue> {
        text.parse()
    }
}

impl TryFrom<String> for MetadataValue<Ascii> {
    type Error = InvalidMetadataValue;

    fn try_from(text: String) -> Result<Self, InvalidMetadataValue> {
        Self::from_octets(Bytes::from(text))
    }
}

impl TryFrom<&String> for MetadataValue<Ascii> {
    type Error = InvalidMetadataValue;

    fn try_from(text: &String) -> Result<Self, InvalidMetadataValue> {
        text.parse()
    }
}

impl TryFrom<&[u8]> for MetadataValue<Ascii> {
    type Error = InvalidMetadataValue;

    fn try_from(octets: &[u8]) -> Result<Self, InvalidMetadataValue> {
        Self::from_octets(Bytes::copy_from_slice(octets))
    }
}

impl From<Bytes> for MetadataValue<Binary> {
    fn from(octets: Bytes) -> Self {
        Self::from_bytes(&octets)
    }
}

impl<E: Encoding> fmt::Debug for MetadataValue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive {
            return f.write_str("(sensitive)");
        }
        write!(f, "\"{}\"", self.wire.escape_ascii())
    }
}

impl PartialEq<str> for MetadataValue<Ascii> {
    fn eq(&self, other: &str) -> bool {
        self.wire == other.as_bytes()
    }
}

impl PartialEq<&str> for MetadataValue<Ascii> {
    fn eq(&self, other: &&str) -> bool {
        self.wire == other.as_bytes()
    }
}

impl PartialEq<String> for MetadataValue<Ascii> {
    fn eq(&self, other: &String) -> bool {
        self.wire == other.as_bytes()
    }
}

impl PartialEq<MetadataValue<Ascii>> for str {
    fn eq(&self, other: &MetadataValue<Ascii>) -> bool {
        other == self
    }
}

impl PartialEq<MetadataValue<Ascii>> for &str {
    fn eq(&self, other: &MetadataValue<Ascii>) -> bool {
        other == self
    }
}

/// A value beside what [`MetadataMap::get`](super::MetadataMap::get) gives.
impl<E: Encoding + PartialEq> PartialEq<&Self> for MetadataValue<E> {
    fn eq(&self, other: &&Self) -> bool {
        self == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_at_the_ends_do_not_travel() {
        assert_eq!(MetadataValue::<Ascii>::from_static("  a b ").as_bytes(), b"a b");
        assert_eq!(MetadataValue::<Ascii>::try_from(" ".to_owned()).unwrap().as_bytes(), b"");
        assert_eq!(MetadataValue::<Ascii>::try_from("a ").unwrap().as_bytes(), b"a");
    }
}
