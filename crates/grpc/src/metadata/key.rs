//! Keys, and the two encodings of values they stand for.

use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;
use std::borrow::Cow;

/// Values are printable ASCII text; the key does not end in `-bin`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ascii {}

/// Values are any octets; the key ends in `-bin`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Ascii {}
    impl Sealed for super::Binary {}
}

/// How the values of a key are encoded: [`Ascii`] or [`Binary`].
pub trait Encoding: sealed::Sealed + Sized + 'static {
    /// True for [`Binary`].
    const IS_BINARY: bool;
}

impl Encoding for Ascii {
    const IS_BINARY: bool = false;
}

impl Encoding for Binary {
    const IS_BINARY: bool = true;
}

/// A metadata key: lower-case, of `0-9 a-z _ - .`, with the suffix `-bin` if and only if its values are binary.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataKey<E: Encoding> {
    name: Cow<'static, str>,
    encoding: PhantomData<E>,
}

/// A key with text values.
pub type AsciiMetadataKey = MetadataKey<Ascii>;
/// A key with binary values.
pub type BinaryMetadataKey = MetadataKey<Binary>;

/// A name that cannot be a metadata key of this encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidMetadataKey(String);

impl fmt::Display for InvalidMetadataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid metadata key {:?}: want 0-9 a-z _ - . and the suffix -bin for binary values only",
            self.0
        )
    }
}

impl std::error::Error for InvalidMetadataKey {}

/// True if `name` may be a key of either encoding.
pub(super) const fn is_key(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        if !matches!(first, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'.') {
            return false;
        }
        rest = tail;
    }
    !name.is_empty()
}

/// True if values of this key are binary.
pub(super) const fn is_binary(name: &[u8]) -> bool {
    matches!(name, [.., b'-', b'b', b'i', b'n'])
}

impl<E: Encoding> MetadataKey<E> {
    /// A key from text that lives for ever.
    ///
    /// # Panics
    /// If the text is no key of this encoding; use [`MetadataKey::from_bytes`] for what is not known when the program is
    /// written.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_key(name.as_bytes()), "invalid metadata key");
        assert!(
            is_binary(name.as_bytes()) == E::IS_BINARY,
            "metadata key of the other encoding (suffix -bin)"
        );
        Self { name: Cow::Borrowed(name), encoding: PhantomData }
    }

    /// A key from octets; upper-case letters are lowered.
    ///
    /// # Errors
    /// [`InvalidMetadataKey`] if they are no key of this encoding.
    pub fn from_bytes(name: &[u8]) -> Result<Self, InvalidMetadataKey> {
        let lower = name.to_ascii_lowercase();
        if !is_key(&lower) || is_binary(&lower) != E::IS_BINARY {
            return Err(InvalidMetadataKey(String::from_utf8_lossy(name).into_owned()));
        }
        let name = String::from_utf8(lower).map_err(|_| InvalidMetadataKey(String::new()))?;
        Ok(Self { name: Cow::Owned(name), encoding: PhantomData })
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl<E: Encoding> FromStr for MetadataKey<E> {
    type Err = InvalidMetadataKey;

    fn from_str(name: &str) -> Result<Self, InvalidMetadataKey> {
        Self::from_bytes(name.as_bytes())
    }
}

impl<E: Encoding> AsRef<str> for MetadataKey<E> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<E: Encoding> fmt::Display for MetadataKey<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<E: Encoding> fmt::Debug for MetadataKey<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<E: Encoding> PartialEq<str> for MetadataKey<E> {
    fn eq(&self, other: &str) -> bool {
        self.name.eq_ignore_ascii_case(other)
    }
}

impl<E: Encoding> PartialEq<&str> for MetadataKey<E> {
    fn eq(&self, other: &&str) -> bool {
        self.name.eq_ignore_ascii_case(other)
    }
}
