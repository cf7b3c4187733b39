//! Codecs: between messages and octets. The shape is tonic's; Protobuf is the default, raw octets serve proxies and tools.
//!
//! A [`Decoder`] reads from a [`DecodeBuf`], which hides whether the message still lies in the connection's receive buffer
//! or has one of its own; `copy_to_bytes` is free only for the second. An [`Encoder`] writes straight into the buffer that
//! goes to the peer.
//!
//! Compression is between the two and the wire: a decoder sees messages as their sender's encoder made them.
//!
//! Left out: several codecs for one method, chosen by the content-type's suffix.

mod buffer;
pub(crate) mod compression;
mod octets;
mod protobuf;

pub(crate) use buffer::Message;
pub use buffer::{DecodeBuf, EncodeBuf};
pub use compression::{Compression, CompressionEncoding, DEFAULT_COMPRESSION_THRESHOLD, DecompressError};
pub use octets::{BytesCodec, BytesDecoder, BytesEncoder};
pub use protobuf::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::Status;

/// How the messages of a method are encoded and decoded, as seen from one side of the call.
pub trait Codec: Send + Sync + 'static {
    /// What this side sends.
    type Encode: Send + 'static;
    /// What this side receives.
    type Decode: Send + 'static;
    /// Encodes the messages of one call.
    type Encoder: Encoder<Item = Self::Encode, Error = Status> + Send + 'static;
    /// Decodes the messages of one call.
    type Decoder: Decoder<Item = Self::Decode, Error = Status> + Send + 'static;

    /// What the codec is called in `content-type`, after `application/grpc+`: a server refuses requests that name another one.
    /// Requests that name none are taken for `proto`, as gRPC has it. Default: none, which takes any.
    fn content_subtype(&self) -> Option<&'static str> {
        None
    }

    /// An encoder for one call.
    fn encoder(&mut self) -> Self::Encoder;

    /// A decoder for one call.
    fn decoder(&mut self) -> Self::Decoder;
}

/// Turns messages into octets.
pub trait Encoder {
    /// The message.
    type Item;
    /// What can go wrong; [`Status`] for use in calls.
    type Error: From<std::io::Error>;

    /// Appends the message's octets to `dst`.
    ///
    /// # Errors
    /// The call ends with the status given.
    fn encode(&mut self, item: Self::Item, dst: &mut EncodeBuf<'_>) -> Result<(), Self::Error>;

    /// How many octets the message will take, if that is cheap to say; it decides where they are encoded into.
    fn size_hint(&self, item: &Self::Item) -> Option<usize> {
        let _ = item;
        None
    }

    /// False for a message that is to go as it is although its call compresses, such as a picture. Asked of every message of a call
    /// that compresses, before it is encoded.
    fn may_compress(&mut self, item: &Self::Item) -> bool {
        let _ = item;
        true
    }
}

/// Turns octets into messages.
pub trait Decoder {
    /// The message.
    type Item;
    /// What can go wrong; [`Status`] for use in calls.
    type Error: From<std::io::Error>;

    /// Reads one message, which is all that `src` holds. `None` counts as an empty read and is an error of the call.
    ///
    /// # Errors
    /// The call ends with the status given.
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Self::Error>;
}
