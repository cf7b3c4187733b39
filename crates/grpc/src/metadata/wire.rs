//! Between metadata and field sections: what a peer sent is packed into one buffer as it came, and taken apart on demand.

use bytes::{Buf, BufMut, Bytes};
use clearway_http2::hpack::{Field, FieldSection, HeaderField, Indexing, Name};

use super::key::{Ascii, Binary, MetadataKey, is_binary, is_key};
use super::map::Entry;
use super::value::{self, MetadataValue};

/// A `-bin` field whose value is not base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadBinary;

/// What to do with a binary value that is not base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OnBadBinary {
    /// The section is refused: a request.
    Refuse,
    /// The entry is dropped: a response, whose status must survive.
    Drop,
}

/// True for names that belong to the protocol and not to its users. How a server puts a retry off is its users' to say (gRFC
/// A6).
fn is_reserved(name: &[u8]) -> bool {
    (name.starts_with(b"grpc-") && name != b"grpc-retry-pushback-ms")
        || name.starts_with(b":")
        || matches!(Name::from_bytes(name), Name::Te | Name::ContentType | Name::Host | Name::ContentLength)
        || matches!(
            Name::from_bytes(name),
            Name::Connection
                | Name::KeepAlive
                | Name::ProxyConnection
                | Name::TransferEncoding
                | Name::Upgrade
        )
}

/// `user-agent` is shown to handlers although a client does not set it through metadata, and so is how often the call was sent
/// before (gRFC A6).
fn is_shown(field: &Field<'_>) -> bool {
    match field.known {
        Name::Other => !field.name.starts_with(b"grpc-") && is_key(field.name),
        Name::UserAgent | Name::Authorization | Name::Cookie => true,
        Name::GrpcPreviousRpcAttempts | Name::GrpcRetryPushbackMs => true,
        _ => false,
    }
}

/// What [`pack`] puts before each field: two lengths and a mark.
const PACKED: usize = 9;

/// Packs the metadata of a field section into one buffer; empty if there is none.
///
/// Each field is its two lengths, a mark (1 for never-indexed), the name and the value.
pub(super) fn pack(section: &FieldSection, on_bad: OnBadBinary) -> Result<Bytes, BadBinary> {
    let octets =
        section.iter().filter(is_shown).map(|field| PACKED + field.name.len() + field.value.len()).sum();
    // Exactly as much as it takes: what has no room to spare becomes `Bytes` as it is.
    let mut packed = Vec::with_capacity(octets);
    for field in section.iter().filter(is_shown) {
        let good = !is_binary(field.name)
            || field.value.split(|octet| *octet == b',').all(|one| value::decode(one.trim_ascii()).is_some());
        if !good {
            match on_bad {
                OnBadBinary::Refuse => return Err(BadBinary),
                OnBadBinary::Drop => continue,
            }
        }
        let (Ok(name), Ok(value)) = (u32::try_from(field.name.len()), u32::try_from(field.value.len()))
        else {
            continue;
        };
        packed.put_u32(name);
        packed.put_u32(value);
        packed.put_u8(field.sensitive.into());
        packed.put_slice(field.name);
        packed.put_slice(field.value);
    }
    Ok(Bytes::from(packed))
}

/// Takes apart what [`pack`] made. A `-bin` value may be several, joined by commas by any hop.
pub(super) fn unpack(mut packed: Bytes) -> Vec<Entry> {
    let mut entries = Vec::new();
    while packed.remaining() >= PACKED {
        let (name_len, value_len) = (packed.get_u32() as usize, packed.get_u32() as usize);
        let sensitive = packed.get_u8() != 0;
        if packed.remaining() < name_len.saturating_add(value_len) {
            break;
        }
        let (name, wire) = (packed.split_to(name_len), packed.split_to(value_len));
        if is_binary(&name) {
            let Ok(key) = MetadataKey::<Binary>::from_bytes(&name) else { continue };
            for one in wire.split(|octet| *octet == b',') {
                let one = wire.slice_ref(one.trim_ascii());
                entries.push(Entry::Binary(key.clone(), MetadataValue::from_wire(one, sensitive)));
            }
        } else if let Ok(key) = MetadataKey::<Ascii>::from_bytes(&name) {
            entries.push(Entry::Ascii(key, MetadataValue::from_wire(wire, sensitive)));
        }
    }
    entries
}

/// An entry as a field to send; none for names that are the protocol's.
pub(super) fn to_field(entry: &Entry) -> Option<HeaderField<'_>> {
    let (name, value, sensitive) = match entry {
        Entry::Ascii(key, value) => (key.as_str(), value.as_encoded_bytes(), value.is_sensitive()),
        Entry::Binary(key, value) => (key.as_str(), value.as_encoded_bytes(), value.is_sensitive()),
    };
    if is_reserved(name.as_bytes()) || name == "user-agent" {
        return None;
    }
    let indexing = if sensitive { Indexing::Never } else { Indexing::Without };
    // RFC 9113 §8.2.1: no space at either end of a value.
    Some(HeaderField { name: name.as_bytes(), value: value.trim_ascii(), indexing })
}
