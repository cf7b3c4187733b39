//! Metadata: any field section becomes a map or is refused, and a map that is sent arrives as it was.

use clearway_http2::hpack::FieldSection;

use crate::metadata::{BinaryMetadataValue, KeyAndValueRef, MetadataKey, MetadataMap};

/// Fields: for each the lengths of name and value, and then the two.
pub fn metadata(octets: &[u8]) {
    let mut section = FieldSection::default();
    let mut rest = octets;
    while let [name, value, tail @ ..] = rest {
        let (sensitive, name) = (name & 0x80 != 0, usize::from(name & 0x7f));
        let (name, tail) = tail.split_at(name.min(tail.len()));
        let (value, tail) = tail.split_at(usize::from(*value).min(tail.len()));
        section.push(name, value, sensitive);
        api(name, value);
        rest = tail;
    }
    let response = MetadataMap::of_response(&section);
    let shown = entries(&response);
    match MetadataMap::of_request(&section) {
        Ok(request) => assert_eq!(entries(&request), shown),
        Err(_) => assert!(section.iter().any(|field| field.name.ends_with(b"-bin"))),
    }
    for (name, _, _, decoded) in &shown {
        assert_eq!(decoded.is_some(), name.ends_with("-bin"), "{name} is not what its name says");
    }
    // As a proxy would: what is sent on is what came, without the names that are the protocol's.
    let mut sent = FieldSection::default();
    for field in response.fields() {
        assert!(!field.name.is_empty() && !field.name.starts_with(b":") && !field.name.starts_with(b"grpc-"));
        sent.push(field.name, field.value, field.indexing == clearway_http2::hpack::Indexing::Never);
    }
    let again = MetadataMap::of_request(&sent).expect("what we send is base64 where it must be");
    let own = |name: &str| name == "user-agent";
    let expected: Vec<_> = shown.into_iter().filter(|(name, ..)| !own(name)).collect();
    assert_eq!(entries(&again), expected);
}

/// Name, value without outer spaces, whether it is secret, and the octets of a binary value.
type Shown = (String, Vec<u8>, bool, Option<Vec<u8>>);

fn entries(map: &MetadataMap) -> Vec<Shown> {
    let of = |entry: KeyAndValueRef<'_>| match entry {
        KeyAndValueRef::Ascii(key, value) => {
            let _ = value.to_str();
            let octets = value.as_bytes().trim_ascii().to_vec();
            (key.as_str().to_owned(), octets, value.is_sensitive(), None)
        }
        KeyAndValueRef::Binary(key, value) => {
            let decoded = value.to_bytes().expect("it was checked when it came").to_vec();
            let octets = value.as_encoded_bytes().to_vec();
            (key.as_str().to_owned(), octets, value.is_sensitive(), Some(decoded))
        }
    };
    map.iter().map(of).collect()
}

/// Keys and values that a program makes of any octets.
fn api(name: &[u8], value: &[u8]) {
    let binary = BinaryMetadataValue::from_bytes(value);
    assert_eq!(binary.to_bytes().as_deref(), Ok(value));
    let mut map = MetadataMap::new();
    if let Ok(key) = MetadataKey::from_bytes(name) {
        map.insert_bin(key.clone(), binary);
        assert_eq!(map.get_bin(&key).map(|value| value.to_bytes().unwrap().to_vec()).as_deref(), Some(value));
    }
    if let (Ok(key), Ok(text)) = (MetadataKey::from_bytes(name), value.try_into()) {
        map.append(key, text);
    }
    assert!(map.len() <= 1, "a key is of one kind");
}
