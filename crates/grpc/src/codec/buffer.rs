//! What codecs read from and write to.

use bytes::{Buf, Bytes};

/// What an [`Encoder`](super::Encoder) appends to; a `BufMut`. `get_mut` reaches the vector inside.
pub type EncodeBuf<'a> = bytes::buf::Limit<&'a mut Vec<u8>>;

/// One whole message, to be read by a [`Decoder`](super::Decoder).
///
/// A `Buf` of exactly the message's octets. They are borrowed from the receive buffer when the message lay whole in it, and
/// owned when it had to be put together; `copy_to_bytes` copies only in the first case.
#[derive(Debug)]
pub struct DecodeBuf<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    Borrowed(&'a [u8]),
    Owned(Bytes),
}

impl<'a> DecodeBuf<'a> {
    /// A message that lies somewhere else.
    pub(crate) const fn borrowed(octets: &'a [u8]) -> Self {
        Self(Inner::Borrowed(octets))
    }

    /// A message with a buffer of its own.
    pub(crate) const fn owned(octets: Bytes) -> Self {
        Self(Inner::Owned(octets))
    }

    /// The octets, to keep.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.0 {
            Inner::Borrowed(octets) => Bytes::copy_from_slice(octets),
            Inner::Owned(octets) => octets,
        }
    }
}

impl Buf for DecodeBuf<'_> {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.0 {
            Inner::Borrowed(octets) => octets,
            Inner::Owned(octets) => octets,
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Inner::Borrowed(octets) => octets.advance(count),
            Inner::Owned(octets) => octets.advance(count),
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match &mut self.0 {
            Inner::Borrowed(octets) => octets.copy_to_bytes(count),
            Inner::Owned(octets) => octets.copy_to_bytes(count),
        }
    }
}
