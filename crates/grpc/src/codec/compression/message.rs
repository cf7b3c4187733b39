//! Messages on their way out and in: what an algorithm is applied to, within which limit, and what it is called when that fails.

use super::{CompressionEncoding, DecompressError};
use crate::Status;
use crate::codec::DecodeBuf;
use crate::framing::{Incoming, bad_message};

/// How messages go out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing {
    /// The largest one sent, in octets as its encoder made it.
    pub(crate) limit: usize,
    /// What makes it smaller.
    pub(crate) encoding: Option<CompressionEncoding>,
}

/// How messages come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacking {
    pub(crate) from: Incoming,
    /// The largest one accepted, in octets as its decoder gets it.
    pub(crate) limit: usize,
    /// What those that are flagged were made smaller by.
    pub(crate) encoding: Option<CompressionEncoding>,
}

impl Packing {
    /// Without compression.
    #[cfg(test)]
    pub(crate) const fn plain(limit: usize) -> Self {
        Self { limit, encoding: None }
    }
}

impl Unpacking {
    /// The message, ready to be decoded.
    #[inline]
    pub(crate) fn open<'a>(&self, message: DecodeBuf<'a>) -> Result<DecodeBuf<'a>, Status> {
        if message.is_compressed() { self.inflate(&message) } else { Ok(message) }
    }

    fn inflate(&self, message: &DecodeBuf<'_>) -> Result<DecodeBuf<'static>, Status> {
        let Some(encoding) = self.encoding else {
            return Err(Status::internal("message is compressed, and nobody said how"));
        };
        let mut out = Vec::new();
        match encoding.algorithm().decompress(bytes::Buf::chunk(message), self.limit, &mut out) {
            Ok(()) if out.len() <= self.limit => {
                Ok(DecodeBuf::owned(out.into()).inflated_from(bytes::Buf::remaining(message)))
            }
            Ok(()) | Err(DecompressError::TooLarge) => {
                Err(self.from.too_large_inflated(bytes::Buf::remaining(message), self.limit))
            }
            Err(DecompressError::Memory(what)) => Err(Status::resource_exhausted(format!(
                "compressed message is not inflated ({encoding}): {what}"
            ))),
            Err(DecompressError::Corrupt(what)) => {
                Err(bad_message(format!("compressed message cannot be read ({encoding}): {what}")))
            }
        }
    }
}
