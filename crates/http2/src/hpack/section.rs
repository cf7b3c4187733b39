//! A decoded field section: one flat buffer, no map, no allocation per field.
//!
//! Fields keep the order they had on the wire, duplicates included (RFC 9113 §8.2). A section is reused from one
//! block to the next, so decoding allocates nothing once its buffers have grown to the usual size.
//!
//! **Invariant:** once a limit was hit, no later field is kept, not even one that would fit: a reader never sees a
//! section with a hole in it. The sizes of dropped fields are still counted.

use super::Name;

/// What every field costs on top of its octets when a section is measured (RFC 9113 §6.5.2, RFC 7541 §4.1).
pub(super) const FIELD_OVERHEAD: usize = 32;

/// Buffers above this many octets are given back by [`FieldSection::clear`], so that one large section is not paid
/// for as long as the connection lives.
const RETAINED_OCTETS: usize = 32 * 1024;

/// The number of fields for which room is kept, by the same reasoning.
const RETAINED_FIELDS: usize = 256;

/// How large a decoded section may get before its remaining fields are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionLimits {
    /// The sum of name, value and 32 octets for each field, as in SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
    pub list_octets: usize,
    /// The number of fields.
    pub fields: usize,
}

/// One field of a [`FieldSection`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// The name, if it is one the stack acts on.
    pub known: Name,
    /// The name's octets, also when `known` says which it is.
    pub name: &'a [u8],
    /// The value's octets.
    pub value: &'a [u8],
    /// It came as a never-indexed literal and must be sent on as one (RFC 7541 §6.2.3).
    pub sensitive: bool,
    /// How many octets its representation took on the wire; 0 for a field added by [`FieldSection::push`].
    pub wire_octets: u32,
}

/// A decoded field section: all names and values in one flat buffer, reused from section to section.
#[derive(Clone, Debug, Default)]
pub struct FieldSection {
    /// Names and values of all kept fields, one after the other; behind them, while a field is decoded, that field.
    octets: Vec<u8>,
    fields: Vec<StoredField>,
    /// Where the octets of the kept fields end.
    kept_octets: usize,
    list_octets: usize,
    exceeded: bool,
}

#[derive(Clone, Copy, Debug)]
struct StoredField {
    start: usize,
    name_len: usize,
    len: usize,
    traits: Traits,
}

/// What is known about a field besides its octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) known: Name,
    pub(super) sensitive: bool,
    pub(super) wire_octets: u32,
}

impl FieldSection {
    /// Removes all fields and keeps the buffers for the next section, unless they have grown out of proportion.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.fields.clear();
        self.kept_octets = 0;
        self.list_octets = 0;
        self.exceeded = false;
        if self.octets.capacity() > RETAINED_OCTETS {
            self.octets.shrink_to(RETAINED_OCTETS);
        }
        if self.fields.capacity() > RETAINED_FIELDS {
            self.fields.shrink_to(RETAINED_FIELDS);
        }
    }

    /// The number of fields kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether no field was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The kept fields in the order they had on the wire.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'_>> + Clone {
        self.fields.iter().map(|stored| self.view(stored))
    }

    /// The field at `index`, counted from 0 in wire order.
    #[must_use]
    #[inline]
    pub fn field(&self, index: usize) -> Option<Field<'_>> {
        self.fields.get(index).map(|stored| self.view(stored))
    }

    /// The sum of name, value and 32 octets over all fields of the block, those that were dropped included
    /// (RFC 9113 §6.5.2).
    #[must_use]
    pub fn list_octets(&self) -> usize {
        self.list_octets
    }

    /// Whether a limit was hit. The fields from there on were decoded, because the dynamic table depends on them,
    /// and dropped.
    #[must_use]
    #[inline]
    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Appends a field, for tests and for adapters that build sections without a wire. No limit applies.
    pub fn push(&mut self, name: &[u8], value: &[u8], sensitive: bool) {
        const UNLIMITED: SectionLimits = SectionLimits { list_octets: usize::MAX, fields: usize::MAX };
        let staged = self.stage();
        staged.extend_from_slice(name);
        staged.extend_from_slice(value);
        let traits = Traits { known: Name::from_bytes(name), sensitive, wire_octets: 0 };
        self.commit(name.len(), traits, &UNLIMITED);
    }

    /// The buffer to which the octets of the next field, name and then value, are appended before [`Self::commit`].
    pub(super) fn stage(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// What was appended to [`Self::stage`] since the last field was committed.
    pub(super) fn staged(&self) -> &[u8] {
        self.octets.get(self.kept_octets..).unwrap_or_default()
    }

    /// Makes a field of the staged octets, or drops them if the limits say so.
    pub(super) fn commit(&mut self, name_len: usize, traits: Traits, limits: &SectionLimits) {
        let start = self.kept_octets;
        let len = self.octets.len().saturating_sub(start);
        if self.admit(len, limits) {
            self.kept_octets = self.octets.len();
            self.fields.push(StoredField { start, name_len, len, traits });
        } else {
            self.octets.truncate(start);
        }
    }

    /// Appends a field whose octets are already known; asks the limits before it copies them.
    pub(super) fn append(&mut self, octets: &[u8], name_len: usize, traits: Traits, limits: &SectionLimits) {
        if self.admit(octets.len(), limits) {
            let start = self.kept_octets;
            self.octets.extend_from_slice(octets);
            self.kept_octets = self.octets.len();
            self.fields.push(StoredField { start, name_len, len: octets.len(), traits });
        }
    }

    fn admit(&mut self, len: usize, limits: &SectionLimits) -> bool {
        self.list_octets = self.list_octets.saturating_add(len.saturating_add(FIELD_OVERHEAD));
        if self.list_octets > limits.list_octets || self.fields.len() >= limits.fields {
            self.exceeded = true;
        }
        !self.exceeded
    }

    #[inline]
    fn view(&self, stored: &StoredField) -> Field<'_> {
        let octets =
            self.octets.get(stored.start..).and_then(|tail| tail.get(..stored.len)).unwrap_or_default();
        let (name, value) = octets.split_at_checked(stored.name_len).unwrap_or_default();
        let Traits { known, sensitive, wire_octets } = stored.traits;
        Field { known, name, value, sensitive, wire_octets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Traits = Traits { known: Name::Other, sensitive: false, wire_octets: 3 };

    #[test]
    fn fields_keep_order_and_duplicates() {
        let mut section = FieldSection::default();
        section.push(b":path", b"/a", false);
        section.push(b"x", b"", true);
        section.push(b"x", b"2", false);
        let fields: Vec<_> = section.iter().map(|f| (f.known, f.name, f.value, f.sensitive)).collect();
        assert_eq!(
            fields,
            [
                (Name::Path, &b":path"[..], &b"/a"[..], false),
                (Name::Other, b"x", b"", true),
                (Name::Other, b"x", b"2", false)
            ]
        );
        assert_eq!(section.field(2).unwrap().value, b"2");
        assert_eq!(section.field(3), None);
        assert_eq!(section.list_octets(), 7 + 1 + 2 + 3 * 32);
        assert_eq!((section.len(), section.is_empty(), section.exceeded()), (3, false, false));
    }

    #[test]
    fn nothing_is_kept_after_a_limit_was_hit() {
        let limits = SectionLimits { list_octets: 2 * 32 + 4, fields: 10 };
        let mut section = FieldSection::default();
        section.append(b"ab", 1, PLAIN, &limits);
        section.append(b"abcdef", 1, PLAIN, &limits);
        section.append(b"", 0, PLAIN, &limits);
        assert_eq!((section.len(), section.exceeded()), (1, true));
        assert_eq!(section.list_octets(), 2 + 6 + 3 * 32);
        section.stage().extend_from_slice(b"xy");
        assert_eq!(section.staged(), b"xy");
        section.commit(1, PLAIN, &limits);
        assert_eq!(section.staged(), b"");
        assert_eq!(section.field(0).map(|f| (f.name, f.value)), Some((&b"a"[..], &b"b"[..])));
    }

    #[test]
    fn the_number_of_fields_is_limited() {
        let limits = SectionLimits { list_octets: usize::MAX, fields: 2 };
        let mut section = FieldSection::default();
        for _ in 0..2 {
            section.append(b"ab", 1, PLAIN, &limits);
            assert!(!section.exceeded());
        }
        section.append(b"ab", 1, PLAIN, &limits);
        assert_eq!((section.len(), section.exceeded(), section.list_octets()), (2, true, 3 * 34));
    }

    #[test]
    fn clearing_forgets_the_fields_and_large_buffers() {
        let mut section = FieldSection::default();
        section.push(b"x", &vec![b'y'; 1 << 20], false);
        section.clear();
        assert_eq!((section.len(), section.list_octets(), section.exceeded()), (0, 0, false));
        assert!(section.octets.capacity() < 1 << 20);
        section.push(b"a", b"b", false);
        assert_eq!(section.field(0).unwrap().value, b"b");
    }
}
