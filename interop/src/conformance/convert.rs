//! Between the suite's messages and the library's types: metadata, statuses with details, messages of any type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use clearway::metadata::{Ascii, Binary, KeyAndValueRef, MetadataKey, MetadataMap, MetadataValue};
use clearway::{Code, Status};
use prost::Message;
use prost_types::Any;

use super::proto::conformance_payload::RequestInfo;
use super::proto::{
    BidiStreamRequest, ClientStreamRequest, Error, Header, IdempotentUnaryRequest, ServerStreamRequest,
    UnaryRequest, UnimplementedRequest,
};
use super::rpc;

/// Base64 with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message that travels in an [`Any`].
pub trait Named: Message + Default {
    /// Its name in the package.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),*) => {
        $(impl Named for $message {
            const NAME: &'static str = stringify!($message);
        })*
    };
}

named!(
    BidiStreamRequest,
    ClientStreamRequest,
    IdempotentUnaryRequest,
    ServerStreamRequest,
    UnaryRequest,
    UnimplementedRequest
);

impl Named for RequestInfo {
    const NAME: &'static str = "ConformancePayload.RequestInfo";
}

/// Packs a message.
#[must_use]
pub fn pack<M: Named>(message: &M) -> Any {
    let type_url = format!("type.googleapis.com/connectrpc.conformance.v1.{}", M::NAME);
    Any { type_url, value: message.encode_to_vec() }
}

/// Unpacks a message.
///
/// # Errors
/// It is of another type, or cannot be decoded.
pub fn unpack<M: Named>(any: &Any) -> Result<M, String> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name.strip_prefix("connectrpc.conformance.v1.") != Some(M::NAME) {
        return Err(format!("a message of type {:?}, want {}", any.type_url, M::NAME));
    }
    M::decode(&*any.value).map_err(|error| error.to_string())
}

/// Metadata to send.
///
/// # Errors
/// A name or a value cannot be metadata.
pub fn to_metadata(headers: &[Header]) -> Result<MetadataMap, String> {
    let mut metadata = MetadataMap::new();
    for header in headers {
        let name = header.name.to_ascii_lowercase();
        for value in &header.value {
            let problem = |error: &dyn std::fmt::Display| format!("{name}: {value:?}: {error}");
            if name.ends_with("-bin") {
                let key: MetadataKey<Binary> = name.parse().map_err(|error| problem(&error))?;
                let octets = LENIENT.decode(value).map_err(|error| problem(&error))?;
                metadata.append_bin(key, MetadataValue::from_bytes(&octets));
            } else {
                let key: MetadataKey<Ascii> = name.parse().map_err(|error| problem(&error))?;
                metadata.append(key, value.parse().map_err(|error| problem(&error))?);
            }
        }
    }
    Ok(metadata)
}

/// Metadata that came, each name once.
#[must_use]
pub fn from_metadata(metadata: &MetadataMap) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    for entry in metadata.iter() {
        let (name, value) = match entry {
            KeyAndValueRef::Ascii(key, value) => {
                (key.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            }
            KeyAndValueRef::Binary(key, value) => {
                (key.as_str(), STANDARD_NO_PAD.encode(value.to_bytes().unwrap_or_default()))
            }
        };
        match headers.iter_mut().find(|header| header.name == name) {
            Some(header) => header.value.push(value),
            None => headers.push(Header { name: name.to_owned(), value: vec![value] }),
        }
    }
    headers
}

/// The status that an error asks for; `seen` is added to its details.
#[must_use]
pub fn to_status(error: &Error, seen: Option<&RequestInfo>, metadata: MetadataMap) -> Status {
    let (code, message) = (Code::from_i32(error.code), error.message.clone().unwrap_or_default());
    let mut details = error.details.clone();
    details.extend(seen.map(pack));
    if details.is_empty() {
        return Status::with_metadata(code, message, metadata);
    }
    let status = rpc::Status { code: error.code, message: message.clone(), details };
    Status::with_details_and_metadata(code, message, status.encode_to_vec().into(), metadata)
}

/// An error as it came. Details that are none are left out: they are the peer's.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    Error { code: i32::from(status.code()), message: Some(status.message().to_owned()), details }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, values: &[&str]) -> Header {
        Header { name: name.to_owned(), value: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    #[test]
    fn metadata_comes_back_by_name() {
        let headers = [header("x-a", &["1", "2"]), header("x-b-bin", &["AAE", "/w"])];
        let metadata = to_metadata(&headers).expect("good");
        assert_eq!(metadata.get_bin("x-b-bin").expect("there").to_bytes().expect("base64"), &[0_u8, 1][..]);
        assert_eq!(from_metadata(&metadata), headers);
        assert_eq!(to_metadata(&[header("X-B-bin", &["AAE="])]).expect("padded").len(), 1);
        for bad in [header("x a", &["1"]), header("x-bin", &["!"]), header("x", &["\n"])] {
            assert!(to_metadata(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn statuses_come_back_with_their_details() {
        let error = Error { code: 5, message: Some("none".into()), details: vec![] };
        let seen = RequestInfo { timeout_ms: Some(7), ..Default::default() };
        let status = to_status(&error, Some(&seen), MetadataMap::new());
        assert_eq!((status.code(), status.message()), (Code::NotFound, "none"));
        assert_eq!(from_status(&status), Error { details: vec![pack(&seen)], ..error.clone() });
        assert_eq!(unpack::<RequestInfo>(&pack(&seen)), Ok(seen));
        assert!(unpack::<UnaryRequest>(&pack(&RequestInfo::default())).is_err());
        assert_eq!(to_status(&error, None, MetadataMap::new()).details(), b"");
    }
}
