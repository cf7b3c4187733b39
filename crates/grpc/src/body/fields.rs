//! Between header maps and our sections and metadata.

use clearway_http2::hpack::{FieldSection, HeaderField, Indexing};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::metadata::{KeyAndValueRef, MetadataMap};

/// Fields as a header map. Those that cannot be in one are left out.
pub(crate) fn header_map<'a>(fields: impl Iterator<Item = HeaderField<'a>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        let (Ok(name), Ok(mut value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value))
        else {
            continue;
        };
        value.set_sensitive(field.indexing == Indexing::Never);
        headers.append(name, value);
    }
    headers
}

/// The metadata of a request that came in, as a header map: with the `user-agent`.
pub(crate) fn request_headers(metadata: &MetadataMap) -> HeaderMap {
    let mut headers = header_map(metadata.fields());
    for entry in metadata.iter() {
        if let KeyAndValueRef::Ascii(key, value) = entry
            && key.as_str() == "user-agent"
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            headers.insert(http::header::USER_AGENT, value);
        }
    }
    headers
}

/// A header map as a section.
pub(crate) fn section(headers: &HeaderMap) -> FieldSection {
    let mut section = FieldSection::default();
    for (name, value) in headers {
        section.push(name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
    }
    section
}
