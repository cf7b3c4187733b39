//! The map: an ordered list of entries, duplicates allowed.

use core::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use clearway_http2::hpack::{FieldSection, HeaderField};

use super::key::{Ascii, Binary, Encoding, MetadataKey};
use super::value::MetadataValue;
use super::wire::{self, BadBinary, OnBadBinary};

/// One key and one value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    Ascii(MetadataKey<Ascii>, MetadataValue<Ascii>),
    Binary(MetadataKey<Binary>, MetadataValue<Binary>),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Ascii(key, _) => key.as_str(),
            Self::Binary(key, _) => key.as_str(),
        }
    }
}

/// The metadata of a request or a response, or the trailers of one: keys with one or more values, in order.
///
/// Names that belong to the protocol (`grpc-*`, `content-type`, `te`, ...) and `user-agent` may be put in, and are left out
/// when the map is sent.
#[derive(Clone, Default)]
pub struct MetadataMap(
    /// Shared by clones until one of them is changed: calls of a client that repeats itself have one and the same.
    Option<Arc<Content>>,
);

/// What is in a map that is not empty.
#[derive(Clone, Default)]
struct Content {
    /// What the peer sent, not looked at yet.
    received: Bytes,
    /// What that is, once it was looked at, or what was put in here.
    entries: OnceLock<Vec<Entry>>,
}

impl MetadataMap {
    /// An empty map. It takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The metadata of a request; a binary value that is not base64 makes it bad.
    pub(crate) fn of_request(section: &FieldSection) -> Result<Self, BadBinary> {
        wire::pack(section, OnBadBinary::Refuse).map(Self::received)
    }

    /// The metadata of a response or its trailers; binary values that are not base64 are dropped.
    pub(crate) fn of_response(section: &FieldSection) -> Self {
        Self::received(wire::pack(section, OnBadBinary::Drop).unwrap_or_default())
    }

    fn received(received: Bytes) -> Self {
        let content = Content { received, entries: OnceLock::new() };
        Self((!content.received.is_empty()).then(|| Arc::new(content)))
    }

    /// True if nothing was received or put in; false says nothing.
    pub(crate) fn is_untouched(&self) -> bool {
        self.0.is_none()
    }

    /// The entries as fields to send.
    pub(crate) fn fields(&self) -> impl Iterator<Item = HeaderField<'_>> + Clone {
        self.entries().iter().filter_map(wire::to_field)
    }

    fn entries(&self) -> &[Entry] {
        let Some(content) = &self.0 else { return &[] };
        content.entries.get_or_init(|| wire::unpack(content.received.clone()))
    }

    fn entries_mut(&mut self) -> &mut Vec<Entry> {
        let Content { received, entries } = Arc::make_mut(self.0.get_or_insert_default());
        entries.get_or_init(|| wire::unpack(core::mem::take(received)));
        *received = Bytes::new();
        // It was initialised two lines above.
        match entries.get_mut() {
            Some(entries) => entries,
            None => unreachable!("initialised above"),
        }
    }

    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// True if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The first text value of a key.
    pub fn get(&self, key: impl AsMetadataKey<Ascii>) -> Option<&MetadataValue<Ascii>> {
        let key = key.name();
        self.entries().iter().find_map(|entry| match entry {
            Entry::Ascii(name, value) if *name == key => Some(value),
            _ => None,
        })
    }

    /// The first binary value of a key.
    pub fn get_bin(&self, key: impl AsMetadataKey<Binary>) -> Option<&MetadataValue<Binary>> {
        let key = key.name();
        self.entries().iter().find_map(|entry| match entry {
            Entry::Binary(name, value) if *name == key => Some(value),
            _ => None,
        })
    }

    /// All text values of a key, in order.
    pub fn get_all(&self, key: impl AsMetadataKey<Ascii>) -> GetAll<'_, Ascii> {
        let values = self.entries().iter().filter_map(|entry| match entry {
            Entry::Ascii(name, value) if *name == key.name() => Some(value),
            _ => None,
        });
        GetAll(values.collect())
    }

    /// All binary values of a key, in order.
    pub fn get_all_bin(&self, key: impl AsMetadataKey<Binary>) -> GetAll<'_, Binary> {
        let values = self.entries().iter().filter_map(|entry| match entry {
            Entry::Binary(name, value) if *name == key.name() => Some(value),
            _ => None,
        });
        GetAll(values.collect())
    }

    /// True if the key, of either encoding, has a value.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.entries().iter().any(|entry| entry.name().eq_ignore_ascii_case(key))
    }

    /// Sets the only value of a key; gives back the first of those it replaces.
    ///
    /// # Panics
    /// If `key` is text that is no key.
    pub fn insert(
        &mut self,
        key: impl IntoMetadataKey<Ascii>,
        value: MetadataValue<Ascii>,
    ) -> Option<MetadataValue<Ascii>> {
        let key = key.into_key();
        let old = self.remove(&key);
        self.entries_mut().push(Entry::Ascii(key, value));
        old
    }

    /// Sets the only value of a binary key; gives back the first of those it replaces.
    ///
    /// # Panics
    /// If `key` is text that is no binary key.
    pub fn insert_bin(
        &mut self,
        key: impl IntoMetadataKey<Binary>,
        value: MetadataValue<Binary>,
    ) -> Option<MetadataValue<Binary>> {
        let key = key.into_key();
        let old = self.remove_bin(&key);
        self.entries_mut().push(Entry::Binary(key, value));
        old
    }

    /// Adds a value to a key; true if it had one.
    ///
    /// # Panics
    /// If `key` is text that is no key.
    pub fn append(&mut self, key: impl IntoMetadataKey<Ascii>, value: MetadataValue<Ascii>) -> bool {
        let key = key.into_key();
        let had = self.get(&key).is_some();
        self.entries_mut().push(Entry::Ascii(key, value));
        had
    }

    /// Adds a value to a binary key; true if it had one.
    ///
    /// # Panics
    /// If `key` is text that is no binary key.
    pub fn append_bin(&mut self, key: impl IntoMetadataKey<Binary>, value: MetadataValue<Binary>) -> bool {
        let key = key.into_key();
        let had = self.get_bin(&key).is_some();
        self.entries_mut().push(Entry::Binary(key, value));
        had
    }

    /// Removes all values of a key; gives back the first.
    pub fn remove(&mut self, key: impl AsMetadataKey<Ascii>) -> Option<MetadataValue<Ascii>> {
        let old = self.get(key.name()).cloned();
        if old.is_some() {
            self.entries_mut().retain(|entry| !matches!(entry, Entry::Ascii(name, _) if *name == key.name()));
        }
        old
    }

    /// Removes all values of a binary key; gives back the first.
    pub fn remove_bin(&mut self, key: impl AsMetadataKey<Binary>) -> Option<MetadataValue<Binary>> {
        let old = self.get_bin(key.name()).cloned();
        if old.is_some() {
            self.entries_mut()
                .retain(|entry| !matches!(entry, Entry::Binary(name, _) if *name == key.name()));
        }
        old
    }

    /// Adds every entry of another map.
    pub fn merge(&mut self, other: &Self) {
        let entries = other.entries();
        if !entries.is_empty() {
            self.entries_mut().extend_from_slice(entries);
        }
    }

    /// Every key and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = KeyAndValueRef<'_>> {
        self.entries().iter().map(|entry| match entry {
            Entry::Ascii(key, value) => KeyAndValueRef::Ascii(key, value),
            Entry::Binary(key, value) => KeyAndValueRef::Binary(key, value),
        })
    }

    /// Every key, in order; once for each of its values.
    pub fn keys(&self) -> impl Iterator<Item = KeyRef<'_>> {
        self.entries().iter().map(|entry| match entry {
            Entry::Ascii(key, _) => KeyRef::Ascii(key),
            Entry::Binary(key, _) => KeyRef::Binary(key),
        })
    }
}

/// The values of one key, in order.
#[derive(Clone, Debug)]
pub struct GetAll<'a, E: Encoding>(Vec<&'a MetadataValue<E>>);

impl<'a, E: Encoding> GetAll<'a, E> {
    /// The values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a MetadataValue<E>> {
        self.0.iter().copied()
    }
}

impl<'a, E: Encoding> IntoIterator for GetAll<'a, E> {
    type Item = &'a MetadataValue<E>;
    type IntoIter = std::vec::IntoIter<&'a MetadataValue<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A key and its value.
#[derive(Clone, Copy, Debug)]
pub enum KeyAndValueRef<'a> {
    /// Text.
    Ascii(&'a MetadataKey<Ascii>, &'a MetadataValue<Ascii>),
    /// Octets.
    Binary(&'a MetadataKey<Binary>, &'a MetadataValue<Binary>),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub enum KeyRef<'a> {
    /// Of text values.
    Ascii(&'a MetadataKey<Ascii>),
    /// Of binary values.
    Binary(&'a MetadataKey<Binary>),
}

impl PartialEq for MetadataMap {
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl fmt::Debug for MetadataMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in self.iter() {
            match entry {
                KeyAndValueRef::Ascii(key, value) => map.entry(key, value),
                KeyAndValueRef::Binary(key, value) => map.entry(key, value),
            };
        }
        map.finish()
    }
}

/// What names a key to look for.
pub trait AsMetadataKey<E: Encoding> {
    /// The key's text.
    fn name(&self) -> &str;
}

impl<E: Encoding> AsMetadataKey<E> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<E: Encoding> AsMetadataKey<E> for &String {
    fn name(&self) -> &str {
        self
    }
}

impl<E: Encoding> AsMetadataKey<E> for String {
    fn name(&self) -> &str {
        self
    }
}

impl<E: Encoding> AsMetadataKey<E> for &MetadataKey<E> {
    fn name(&self) -> &str {
        self.as_str()
    }
}

impl<E: Encoding> AsMetadataKey<E> for MetadataKey<E> {
    fn name(&self) -> &str {
        self.as_str()
    }
}

/// What can become a key to insert under.
pub trait IntoMetadataKey<E: Encoding> {
    /// The key.
    ///
    /// # Panics
    /// If it is text that is no key of this encoding.
    fn into_key(self) -> MetadataKey<E>;
}

impl<E: Encoding> IntoMetadataKey<E> for &'static str {
    fn into_key(self) -> MetadataKey<E> {
        MetadataKey::from_static(self)
    }
}

impl<E: Encoding> IntoMetadataKey<E> for MetadataKey<E> {
    fn into_key(self) -> Self {
        self
    }
}

impl<E: Encoding + Clone> IntoMetadataKey<E> for &MetadataKey<E> {
    fn into_key(self) -> MetadataKey<E> {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fields: &[(&str, &str)]) -> FieldSection {
        let mut section = FieldSection::default();
        for (name, value) in fields {
            section.push(name.as_bytes(), value.as_bytes(), false);
        }
        section
    }

    #[test]
    fn what_a_peer_sent_is_shown_without_the_protocols_own_names() {
        let map = MetadataMap::of_request(&section(&[
            (":path", "/a.B/C"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "1S"),
            ("grpc-unknown", "x"),
            ("user-agent", "me"),
            ("x-a", "1"),
            ("x-b-bin", "AAE=,/w"),
            ("x-a", "2"),
        ]))
        .unwrap();
        assert_eq!(map.len(), 5);
        assert_eq!(map.get("x-a").unwrap(), "1");
        assert_eq!(map.get("X-A").unwrap(), "1");
        assert_eq!(map.get_all("x-a").iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>(), ["1", "2"]);
        let binary: Vec<_> = map.get_all_bin("x-b-bin").iter().map(|v| v.to_bytes().unwrap()).collect();
        assert_eq!(binary, [&[0u8, 1][..], &[0xff]]);
        assert!(map.get("x-b-bin").is_none() && map.get("te").is_none());
    }

    #[test]
    fn bad_base64_refuses_a_request_and_spares_a_response() {
        let bad = section(&[("x-bin", "!!"), ("x-a", "1")]);
        assert_eq!(MetadataMap::of_request(&bad).err(), Some(BadBinary));
        let map = MetadataMap::of_response(&bad);
        assert_eq!((map.len(), map.get("x-a").unwrap().to_str()), (1, Ok("1")));
    }

    #[test]
    fn values_are_set_added_and_removed() {
        let mut map = MetadataMap::new();
        assert!(map.is_empty());
        assert_eq!(map.insert("a", "1".parse().unwrap()), None);
        assert!(map.append("a", "2".parse().unwrap()));
        assert!(!map.append_bin("b-bin", MetadataValue::from_bytes(&[0, 255])));
        assert_eq!(map.len(), 3);
        assert_eq!(map.get_bin("b-bin").unwrap().as_encoded_bytes(), b"AP8", "no padding");
        assert_eq!(map.insert("a", "3".parse().unwrap()).unwrap(), "1");
        assert_eq!(map.get_all("a").iter().count(), 1);
        assert_eq!(map.remove("a").unwrap(), "3");
        assert!(map.remove("a").is_none() && map.contains_key("B-bin"));
    }

    #[test]
    fn a_received_map_can_be_changed() {
        let mut map = MetadataMap::of_response(&section(&[("x-a", "1")]));
        map.append("x-c", MetadataValue::from_static("2"));
        assert_eq!(map.len(), 2);
        assert_eq!(map.clone(), map);
        assert_eq!(format!("{map:?}"), r#"{"x-a": "1", "x-c": "2"}"#);
    }

    #[test]
    fn the_protocols_names_are_not_sent() {
        let mut map = MetadataMap::new();
        for name in ["grpc-timeout", "te", "content-type", "user-agent", "host", "connection"] {
            map.insert(name, MetadataValue::from_static("x"));
        }
        map.insert("x", MetadataValue::from_static(" y "));
        let sent: Vec<_> = map.fields().map(|field| (field.name, field.value)).collect();
        assert_eq!(sent, [(&b"x"[..], &b"y"[..])]);
    }

    #[test]
    fn odd_values_are_refused_or_kept() {
        assert!("caf\u{e9}".parse::<MetadataValue<Ascii>>().is_err());
        assert!(MetadataKey::<Ascii>::from_bytes(b"X-Upper").is_ok());
        for bad in ["", "a b", "a:b", "x-bin"] {
            assert!(bad.parse::<MetadataKey<Ascii>>().is_err(), "{bad}");
        }
        let map = MetadataMap::of_request(&section(&[("x", "caf\u{e9}")])).unwrap();
        assert!(map.get("x").unwrap().to_str().is_err());
        assert_eq!(map.get("x").unwrap().as_bytes(), "caf\u{e9}".as_bytes());
    }

    #[test]
    fn values_are_compared_with_values_and_text_from_either_side() {
        let token: MetadataValue<Ascii> = "Bearer t".parse().unwrap();
        let mut map = MetadataMap::new();
        map.insert("authorization", token.clone());
        let got = map.get("authorization").unwrap();
        let text = String::from("Bearer t");
        assert!(token == got && got == "Bearer t" && "Bearer t" == *got && *got == text);
        assert!(token != MetadataValue::from_static("Bearer u") && "Bearer u" != token);
    }
}
