//! What codecs read from and write to.

use bytes::{Buf, Bytes};

/// What an [`Encoder`](super::Encoder) appends to; a `BufMut`. `get_mut` reaches the vector inside.
pub type EncodeBuf<'a> = bytes::buf::Limit<&'a mut Vec<u8>>;

/// One whole message, to be read by a [`Decoder`](super::Decoder).
///
/// A `Buf` of exactly the message's octets. They are borrowed from the receive buffer when the message lay whole in it, and
/// owned when it had to be put together; `copy_to_bytes` copies only in the first case.
#[derive(Debug)]
pub struct DecodeBuf<'a> {
    inner: Inner<'a>,
    /// Still as its sender compressed it. None that a decoder sees is.
    compressed: bool,
    /// What it was inflated from, in octets; zero if it was not.
    inflated_from: u32,
}

#[derive(Debug)]
enum Inner<'a> {
    Borrowed(&'a [u8]),
    Owned(Bytes),
}

impl<'a> DecodeBuf<'a> {
    /// A message that lies somewhere else.
    pub(crate) const fn borrowed(octets: &'a [u8]) -> Self {
        Self { inner: Inner::Borrowed(octets), compressed: false, inflated_from: 0 }
    }

    /// A message with a buffer of its own.
    pub(crate) const fn owned(octets: Bytes) -> Self {
        Self { inner: Inner::Owned(octets), compressed: false, inflated_from: 0 }
    }

    /// The same message, which its sender compressed or not.
    pub(crate) const fn flagged(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// The same message, which was inflated from so many octets.
    pub(crate) fn inflated_from(mut self, wire_octets: usize) -> Self {
        self.inflated_from = u32::try_from(wire_octets).unwrap_or(u32::MAX);
        self
    }

    /// How many octets it was on the wire, before any of it is read.
    pub(crate) fn wire_octets(&self) -> usize {
        if self.inflated_from == 0 { self.remaining() } else { self.inflated_from as usize }
    }

    /// The same message with other octets.
    pub(crate) fn altered(self, change: impl FnOnce(Bytes) -> Bytes) -> Self {
        let Message { octets, compressed } = self.into_message();
        Self::owned(change(octets)).flagged(compressed)
    }

    /// Takes the message out, to keep it.
    pub(crate) fn take_message(&mut self) -> Message {
        core::mem::replace(self, Self::owned(Bytes::new())).into_message()
    }

    /// True if it must be inflated before it is decoded.
    pub(crate) const fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// The message, to keep.
    pub(crate) fn into_message(self) -> Message {
        let octets = match self.inner {
            Inner::Borrowed(octets) => Bytes::copy_from_slice(octets),
            Inner::Owned(octets) => octets,
        };
        Message { octets, compressed: self.compressed }
    }
}

/// A message that waits to be decoded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Message {
    /// As they came, without the prefix.
    pub(crate) octets: Bytes,
    /// The flag of the prefix.
    pub(crate) compressed: bool,
}

impl Message {
    /// Octets of it that came, without the prefix.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }
}

impl From<Bytes> for Message {
    fn from(octets: Bytes) -> Self {
        Self { octets, compressed: false }
    }
}

impl From<Message> for DecodeBuf<'_> {
    fn from(message: Message) -> Self {
        Self::owned(message.octets).flagged(message.compressed)
    }
}

impl Buf for DecodeBuf<'_> {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.inner {
            Inner::Borrowed(octets) => octets,
            Inner::Owned(octets) => octets,
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.inner {
            Inner::Borrowed(octets) => octets.advance(count),
            Inner::Owned(octets) => octets.advance(count),
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match &mut self.inner {
            Inner::Borrowed(octets) => octets.copy_to_bytes(count),
            Inner::Owned(octets) => octets.copy_to_bytes(count),
        }
    }
}
