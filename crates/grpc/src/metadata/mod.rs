//! Metadata: what travels beside the messages of a call, in headers and trailers (gRPC over HTTP/2, "Custom-Metadata").
//!
//! Keys are lower-case; a key that ends in `-bin` has binary values, which are base64 on the wire. What a peer sent is kept
//! as it came, in one buffer, and taken apart only when somebody asks. Names of the protocol itself (`grpc-*`,
//! `content-type`, `te`, pseudo-header fields) are not metadata: they are neither shown nor sent from here.

mod key;
mod map;
mod value;
mod wire;

pub use key::{
    Ascii, AsciiMetadataKey, Binary, BinaryMetadataKey, Encoding, InvalidMetadataKey, MetadataKey,
};
pub use map::{AsMetadataKey, GetAll, IntoMetadataKey, KeyAndValueRef, KeyRef, MetadataMap};
pub(crate) use value::decode as decode_base64;
pub use value::{
    AsciiMetadataValue, BinaryMetadataValue, InvalidMetadataValue, InvalidMetadataValueBytes, MetadataValue,
    ToStrError,
};
