//! Protobuf, by prost.

use core::fmt;
use core::marker::PhantomData;

use prost::Message;

use super::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use crate::Status;

/// Sends messages of type `T` and receives messages of type `U`, both Protobuf.
pub struct ProstCodec<T, U>(PhantomData<fn(T) -> U>);

/// Encodes Protobuf messages.
pub struct ProstEncoder<T>(PhantomData<fn(T)>);

/// Decodes Protobuf messages.
pub struct ProstDecoder<U>(PhantomData<fn() -> U>);

impl<T, U> Default for ProstCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Clone for ProstCodec<T, U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, U> Copy for ProstCodec<T, U> {}

impl<T, U> fmt::Debug for ProstCodec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProstCodec")
    }
}

impl<T> fmt::Debug for ProstEncoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProstEncoder")
    }
}

impl<U> fmt::Debug for ProstDecoder<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProstDecoder")
    }
}

impl<T, U> Codec for ProstCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn content_subtype(&self) -> Option<&'static str> {
        Some("proto")
    }

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder(PhantomData)
    }
}

impl<T: Message> Encoder for ProstEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // The size was asked for already; a vector grows by itself.
        item.encode_raw(dst.get_mut());
        Ok(())
    }

    fn size_hint(&self, item: &T) -> Option<usize> {
        Some(item.encoded_len())
    }
}

impl<U: Message + Default> Decoder for ProstDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // gRPC's status page: a message that cannot be parsed is INTERNAL.
        U::decode(src)
            .map(Some)
            .map_err(|error| Status::internal(format!("message cannot be decoded: {error}")))
    }
}
