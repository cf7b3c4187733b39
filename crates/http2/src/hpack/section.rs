//! A decoded field section: one flat buffer, no map, no allocation per field.
//!
//! Fields keep the order they had on the wire, duplicates included (RFC 9113 §8.2). A section is reused from one
//! block to the next, so decoding allocates nothing once its buffers have grown to the usual size.
//!
//! **Invariant:** once a limit was hit, no later field is kept, not even one that would fit: a reader never sees a
//! section with a hole in it. The sizes of dropped fields are still counted.

use super::Name;
use super::table::low_half;

/// What every field costs on top of its octets when a section is measured (RFC 9113 §6.5.2, RFC 7541 §4.1).
pub(super) const FIELD_OVERHEAD: usize = 32;

/// Buffers above this many octets are given back by [`FieldSection::clear`], so that one large section is not paid
/// for as long as the connection lives.
const RETAINED_OCTETS: usize = 32 * 1024;

/// The number of fields for which room is kept, by the same reasoning.
const RETAINED_FIELDS: usize = 256;

/// Room is made in pieces of so many octets.
const ROOM: usize = 64;

/// Most fields are no longer than this.
pub(super) const WORD: usize = 32;

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
    /// Names and values of all kept fields, one after the other; behind them, while a field is decoded, that field. What is
    /// left is room, whose octets mean nothing.
    octets: Vec<u8>,
    fields: Vec<StoredField>,
    /// Where the octets of the kept fields end.
    kept_octets: u32,
    list_octets: usize,
    exceeded: bool,
}

/// Where a field lies. Four octets each are enough: larger blocks than 4 GiB nobody assembles.
#[derive(Clone, Copy, Debug)]
struct StoredField {
    start: u32,
    name_len: u32,
    len: u32,
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
    /// A section without fields, which takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { octets: Vec::new(), fields: Vec::new(), kept_octets: 0, list_octets: 0, exceeded: false }
    }

    /// Removes all fields and keeps the buffers for the next section, unless they have grown out of proportion.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.kept_octets = 0;
        self.list_octets = 0;
        self.exceeded = false;
        if self.octets.capacity() > RETAINED_OCTETS {
            self.octets.truncate(RETAINED_OCTETS);
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
        let len = name.len() + value.len();
        let staged = self.stage(0, len).iter_mut();
        staged.zip(name.iter().chain(value)).for_each(|(to, from)| *to = *from);
        let traits = Traits { known: Name::from_bytes(name), sensitive, wire_octets: 0 };
        self.commit(low_half(name.len()), low_half(len), traits, &UNLIMITED);
    }

    /// Room for at least `octets` more of the next field, whose first `staged` are there already. [`Self::commit`] makes a
    /// field of them: its name and then its value.
    #[inline]
    pub(super) fn stage(&mut self, staged: usize, octets: usize) -> &mut [u8] {
        let start = self.kept_octets as usize + staged;
        if self.octets.len() < start + octets {
            self.make_room(start + octets);
        }
        self.octets.get_mut(start..).unwrap_or_default()
    }

    #[cold]
    fn make_room(&mut self, octets: usize) {
        self.octets.resize(octets.next_multiple_of(ROOM), 0);
    }

    /// Stages the first `len` octets of `stretch`.
    #[inline]
    pub(super) fn stage_copy(&mut self, stretch: &[u8], len: usize) {
        // Nearly every field is short, and nearly always others lie behind it and room behind the copy: one wide copy instead
        // of a call.
        let room = self.octets.get_mut(self.kept_octets as usize..);
        if len <= WORD
            && let Some(from) = stretch.first_chunk::<WORD>()
            && let Some(to) = room.and_then(<[u8]>::first_chunk_mut::<WORD>)
        {
            *to = *from;
        } else {
            self.stage_long(stretch, len);
        }
    }

    #[inline(never)]
    fn stage_long(&mut self, stretch: &[u8], len: usize) {
        let room = self.stage(0, len + WORD);
        if let (Some(from), Some(to)) = (stretch.get(..len), room.get_mut(..len)) {
            to.copy_from_slice(from);
        }
    }

    /// The first `len` octets of what was staged since the last field was committed.
    pub(super) fn staged(&self, len: usize) -> &[u8] {
        self.octets.get(self.kept_octets as usize..).and_then(|tail| tail.get(..len)).unwrap_or_default()
    }

    /// Makes a field of the `len` octets that were staged, or drops them if the limits say so.
    #[inline]
    pub(super) fn commit(&mut self, name_len: u32, len: u32, traits: Traits, limits: &SectionLimits) {
        if self.admit(len, limits) {
            self.keep(name_len, len, traits);
        }
    }

    /// Appends a field whose octets are already known, the first `len` of `stretch`; asks the limits before it copies them.
    #[inline]
    pub(super) fn append(
        &mut self,
        stretch: &[u8],
        name_len: u32,
        len: u32,
        traits: Traits,
        limits: &SectionLimits,
    ) {
        if self.admit(len, limits) {
            self.stage_copy(stretch, len as usize);
            self.keep(name_len, len, traits);
        }
    }

    /// Counts a field. What is over a limit stays over it, because neither count ever falls.
    #[inline]
    fn admit(&mut self, len: u32, limits: &SectionLimits) -> bool {
        self.list_octets = self.list_octets.saturating_add(len as usize + FIELD_OVERHEAD);
        let fits = self.list_octets <= limits.list_octets && self.fields.len() < limits.fields;
        if !fits {
            self.exceeded = true;
        }
        fits
    }

    #[inline]
    fn keep(&mut self, name_len: u32, len: u32, traits: Traits) {
        let start = self.kept_octets;
        // No more than the limits allow.
        self.kept_octets = start.wrapping_add(len);
        self.fields.push(StoredField { start, name_len, len, traits });
    }

    #[inline]
    fn view(&self, stored: &StoredField) -> Field<'_> {
        let octets = self
            .octets
            .get(stored.start as usize..)
            .and_then(|tail| tail.get(..stored.len as usize))
            .unwrap_or_default();
        let (name, value) = octets.split_at_checked(stored.name_len as usize).unwrap_or_default();
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
        section.append(b"ab", 1, 2, PLAIN, &limits);
        section.append(b"abcdef", 1, 6, PLAIN, &limits);
        section.append(b"", 0, 0, PLAIN, &limits);
        assert_eq!((section.len(), section.exceeded()), (1, true));
        assert_eq!(section.list_octets(), 2 + 6 + 3 * 32);
        section.stage(0, 2)[..2].copy_from_slice(b"xy");
        assert_eq!(section.staged(2), b"xy");
        section.commit(1, 2, PLAIN, &limits);
        assert_eq!((section.len(), section.list_octets()), (1, 2 + 6 + 2 + 4 * 32));
        assert_eq!(section.field(0).map(|f| (f.name, f.value)), Some((&b"a"[..], &b"b"[..])));
    }

    /// Whatever its length, and whatever lies behind it, a field is what it was.
    #[test]
    fn wide_copies_take_in_nothing_of_what_lies_behind() {
        let limits = SectionLimits { list_octets: usize::MAX, fields: usize::MAX };
        let octets: Vec<u8> = (0..100).collect();
        let mut section = FieldSection::default();
        for _ in 0..2 {
            section.clear();
            for len in 0..70 {
                for behind in [0, 1, 30, 100] {
                    let from = &octets[..(len + behind).min(octets.len())];
                    section.append(from, low_half(len / 2), low_half(len), PLAIN, &limits);
                }
            }
            for (index, field) in section.iter().enumerate() {
                let len = index / 4;
                assert_eq!([field.name, field.value].concat(), octets[..len]);
                assert_eq!(field.name.len(), len / 2);
            }
        }
    }

    #[test]
    fn the_number_of_fields_is_limited() {
        let limits = SectionLimits { list_octets: usize::MAX, fields: 2 };
        let mut section = FieldSection::default();
        for _ in 0..2 {
            section.append(b"ab", 1, 2, PLAIN, &limits);
            assert!(!section.exceeded());
        }
        section.append(b"ab", 1, 2, PLAIN, &limits);
        assert_eq!((section.len(), section.exceeded(), section.list_octets()), (2, true, 3 * 34));
    }

    #[test]
    fn clearing_forgets_the_fields_and_large_buffers() {
        let mut section = FieldSection::default();
        section.push(b"x", &vec![b'y'; 1 << 20], false);
        section.clear();
        assert_eq!((section.len(), section.list_octets(), section.exceeded()), (0, 0, false));
        assert!(section.octets.capacity() < 1 << 20 && section.octets.len() < 1 << 20);
        section.push(b"a", b"b", false);
        assert_eq!(section.field(0).unwrap().value, b"b");
    }
}
