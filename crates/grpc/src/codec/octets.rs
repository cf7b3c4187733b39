//! The codec that does nothing: messages are octets. For proxies, tools, and calls without generated code.

use bytes::{BufMut, Bytes};

use super::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use crate::Status;

/// Messages as they are on the wire, without their prefix.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesCodec;

/// Encodes [`Bytes`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesEncoder;

/// Decodes [`Bytes`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesDecoder;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = BytesEncoder;
    type Decoder = BytesDecoder;

    fn encoder(&mut self) -> BytesEncoder {
        BytesEncoder
    }

    fn decoder(&mut self) -> BytesDecoder {
        BytesDecoder
    }
}

impl Encoder for BytesEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.get_mut().put_slice(&item);
        Ok(())
    }

    fn size_hint(&self, item: &Bytes) -> Option<usize> {
        Some(item.len())
    }
}

impl Decoder for BytesDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use bytes::Buf as _;
        let all = src.remaining();
        Ok(Some(src.copy_to_bytes(all)))
    }
}
