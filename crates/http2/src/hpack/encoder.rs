//! Encodes field blocks (RFC 7541 §6), one field at a time.
//!
//! The shortest representation the tables allow is chosen; what enters the dynamic table is the caller's decision
//! ([`Indexing`]), because only the caller knows which values come again.
//!
//! **Invariant:** a value that is never to be indexed, and any authorization or cookie, is sent as a never-indexed
//! literal and enters no table (§7.1.3): nobody who shares the connection can find it out by guessing.
//!
//! Deliberately left out: checking names and values (the message layer does), lower-casing names, and entries that
//! the peer's decoder may still have but we no longer do.

mod template;

pub(crate) use template::Short;
use template::{FIXED_OCTETS, WHOLE_OCTETS};

use super::static_table::{self, FIRST_DYNAMIC, Found};
use super::table::Table;
use super::{DEFAULT_TABLE_OCTETS, huffman, integer};

/// Static indexes of names whose values are secrets: `authorization`, `cookie`, `proxy-authorization`, `set-cookie`.
const SECRET_NAMES: [usize; 4] = [23, 32, 49, 55];

/// Values up to this length are sent plain: Huffman decoding costs the peer more than these octets do.
const PLAIN_VALUE_OCTETS: usize = 24;

/// What to do with the dynamic table for one field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indexing {
    /// Insert it if it is not there: for values that come again. A field larger than 3/4 of the table is not
    /// inserted, as it would drive out nearly everything else.
    Insert,
    /// Leave the table alone: for values that change each time. An entry with exactly this field is still used.
    Without,
    /// Send a never-indexed literal, which intermediaries must keep as one (RFC 7541 §6.2.3): for secrets.
    Never,
}

/// One field to encode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderField<'a> {
    /// The name, in lower case (RFC 9113 §8.2). The encoder does not check it.
    pub name: &'a [u8],
    /// The value. The encoder does not check it.
    pub value: &'a [u8],
    /// What to do with the dynamic table. `authorization`, `proxy-authorization`, `cookie` and `set-cookie` are
    /// treated as [`Indexing::Never`] whatever this says.
    pub indexing: Indexing,
}

/// Some fields of a section that come again and again.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Stands for these fields, and for no others, as long as the encoder lives; 0 to 15, others are not kept.
    pub number: usize,
    /// The fields.
    pub fields: &'a [HeaderField<'a>],
}

/// The encoding half of a connection's compression state.
#[derive(Clone, Debug)]
pub struct Encoder {
    table: Table<Hashes>,
    max_table_octets: u32,
    pending: SizeUpdates,
    /// None before the first section, and at rest.
    shortcuts: Option<Box<Shortcuts>>,
}

/// What was found and encoded before, to be found again sooner. All of it can be made anew.
#[derive(Clone, Debug, Default)]
struct Shortcuts {
    memo: Memo,
    templates: template::Templates,
    fixed: template::FixedSections,
    parts: template::Parts,
}

/// How many fields [`Memo`] can keep apart.
const MEMO_SLOTS: usize = 32;

/// Where fields were found in the tables, by a few octets of theirs: the fields of steady traffic are found again without
/// a search. It is only a guess where to look: what is there is compared.
#[derive(Clone, Debug)]
struct Memo([Place; MEMO_SLOTS]);

impl Default for Memo {
    fn default() -> Self {
        Self([Place::Unknown; MEMO_SLOTS])
    }
}

/// Where a field may be.
#[derive(Clone, Copy, Debug)]
enum Place {
    Unknown,
    /// The index of an entry of the static table.
    Static(u8),
    /// The number of an entry of the dynamic table.
    Dynamic(u32),
}

impl Memo {
    /// Lengths and last octets tell the fields of one peer's sections apart well enough.
    #[inline]
    fn slot(&mut self, name: &[u8], value: &[u8]) -> Option<&mut Place> {
        let last = |octets: &[u8]| octets.last().map_or(0, |octet| usize::from(*octet));
        let mixed = name.len() * 5 + value.len() * 11 + last(name) * 3 + last(value) * 7;
        self.0.get_mut(mixed % MEMO_SLOTS)
    }
}

/// Size updates that must open the next block (§4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SizeUpdates {
    None,
    One(u32),
    /// The size fell and rose again since the last block: the peer must see how far it fell.
    Two {
        smallest: u32,
        last: u32,
    },
}

impl Encoder {
    /// An encoder that keeps a table of at most `max_table_octets`, whatever the peer would allow.
    ///
    /// The peer's limit is the protocol's default, [`DEFAULT_TABLE_OCTETS`], until [`Self::set_peer_limit`] says
    /// otherwise. The table takes memory only as it fills.
    #[must_use]
    pub fn new(max_table_octets: u32) -> Self {
        let size = max_table_octets.min(DEFAULT_TABLE_OCTETS);
        // A smaller table than the default is announced, so that the peer need not keep more than we use.
        let pending = if size == DEFAULT_TABLE_OCTETS { SizeUpdates::None } else { SizeUpdates::One(size) };
        Self { table: Table::new(size as usize), max_table_octets, pending, shortcuts: None }
    }

    /// Takes over the peer's SETTINGS_HEADER_TABLE_SIZE; call it in order with acknowledging the setting.
    ///
    /// If this changes the size in use, entries are evicted at once and size updates open the next block.
    pub fn set_peer_limit(&mut self, peer_limit: u32) {
        let size = peer_limit.min(self.max_table_octets);
        let smallest = match self.pending {
            SizeUpdates::None if size as usize == self.table.capacity() => return,
            SizeUpdates::None => size,
            SizeUpdates::One(smallest) | SizeUpdates::Two { smallest, .. } => smallest.min(size),
        };
        self.pending =
            if smallest < size { SizeUpdates::Two { smallest, last: size } } else { SizeUpdates::One(size) };
        self.table.set_capacity(size as usize);
    }

    /// Starts a block: appends the size updates that are due.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        match core::mem::replace(&mut self.pending, SizeUpdates::None) {
            SizeUpdates::None => {}
            SizeUpdates::One(size) => append_size_update(size, out),
            SizeUpdates::Two { smallest, last } => {
                append_size_update(smallest, out);
                append_size_update(last, out);
            }
        }
    }

    /// Appends a whole block: the size updates that are due, and the fields. Does what [`Self::begin`] and
    /// [`Self::encode`] do, and remembers the last sections that changed nothing.
    pub fn encode_section<'a>(
        &mut self,
        fields: impl Iterator<Item = HeaderField<'a>> + Clone,
        out: &mut Vec<u8>,
    ) {
        let epoch = self.table.changes();
        if self.pending == SizeUpdates::None
            && let Some(block) = self.shortcuts.get_or_insert_default().templates.find(epoch, &fields)
        {
            return out.extend_from_slice(block);
        }
        self.begin(out);
        let start = out.len();
        let mut secret = false;
        for field in fields.clone() {
            secret |= field.indexing == Indexing::Never || is_secret(field.name);
            self.encode(field, out);
        }
        if !secret && self.table.changes() == epoch {
            self.shortcuts.get_or_insert_default().templates.keep(
                epoch,
                fields,
                out.get(start..).unwrap_or_default(),
            );
        }
    }

    /// As [`Self::encode_section`], for fields that are part of the program: once their block is known it is found by
    /// where they lie, without looking at them.
    pub fn encode_fixed(&mut self, fields: &'static [HeaderField<'static>], out: &mut Vec<u8>) {
        match self.known_fixed(fields) {
            Some(block) => block.append_to(out),
            None => self.encode_fixed_anew(fields, out),
        }
    }

    /// The whole block that [`Self::encode_fixed`] would append, if it is known.
    #[inline]
    pub(crate) fn known_fixed(
        &self,
        fields: &'static [HeaderField<'static>],
    ) -> Option<&Short<FIXED_OCTETS>> {
        let settled = self.pending == SizeUpdates::None;
        self.shortcuts.as_ref()?.fixed.find(self.table.changes(), fields).filter(|_| settled)
    }

    #[inline(never)]
    fn encode_fixed_anew(&mut self, fields: &'static [HeaderField<'static>], out: &mut Vec<u8>) {
        let settled = self.pending == SizeUpdates::None;
        let (epoch, start) = (self.table.changes(), out.len());
        self.encode_section(fields.iter().copied(), out);
        let secret = fields.iter().any(|field| field.indexing == Indexing::Never || is_secret(field.name));
        if settled && !secret && self.table.changes() == epoch {
            self.shortcuts.get_or_insert_default().fixed.keep(
                epoch,
                fields,
                out.get(start..).unwrap_or_default(),
            );
        }
    }

    /// Starts a block, as [`Self::begin`] does, with two parts of a section and a field between them, if there is one. While
    /// the table does not change the octets of each part are kept, and those of the last block as a whole.
    pub fn encode_parts(
        &mut self,
        first: Part<'_>,
        between: Option<HeaderField<'_>>,
        second: Part<'_>,
        out: &mut Vec<u8>,
    ) {
        match self.known_parts([first.number, second.number], between) {
            Some(block) => block.append_to(out),
            None => self.encode_parts_anew(first, between, second, out),
        }
    }

    /// The block that [`Self::encode_parts`] would append, if it is known.
    #[inline]
    pub(crate) fn known_parts(
        &mut self,
        parts: [usize; 2],
        between: Option<HeaderField<'_>>,
    ) -> Option<&Short<WHOLE_OCTETS>> {
        let (epoch, settled) = (self.table.changes(), self.pending == SizeUpdates::None);
        self.whole()?.find(epoch, parts, between).filter(|_| settled)
    }

    #[inline(never)]
    fn encode_parts_anew(
        &mut self,
        first: Part<'_>,
        between: Option<HeaderField<'_>>,
        second: Part<'_>,
        out: &mut Vec<u8>,
    ) {
        let settled = self.pending == SizeUpdates::None;
        let (epoch, start) = (self.table.changes(), out.len());
        self.begin(out);
        let mut known = self.encode_part(first, out);
        if let Some(field) = between {
            known &= field.indexing != Indexing::Never && !is_secret(field.name);
            self.encode(field, out);
        }
        known &= self.encode_part(second, out);
        if settled
            && known
            && self.table.changes() == epoch
            && let Some(whole) = self.whole()
        {
            whole.keep(epoch, [first.number, second.number], between, out.get(start..).unwrap_or_default());
        }
    }

    /// Appends a part, and says whether its octets are known from now on.
    fn encode_part(&mut self, part: Part<'_>, out: &mut Vec<u8>) -> bool {
        let Part { number, fields } = part;
        let (epoch, start) = (self.table.changes(), out.len());
        if let Some(kept) = self.part(epoch, number) {
            kept.block.append_to(out);
            return true;
        }
        for field in fields {
            self.encode(*field, out);
        }
        let secret = fields.iter().any(|field| field.indexing == Indexing::Never || is_secret(field.name));
        if secret || self.table.changes() != epoch {
            return false;
        }
        let list_octets = u32::try_from(list_octets(fields)).unwrap_or(u32::MAX);
        self.shortcuts.get_or_insert_default().parts.keep(
            epoch,
            number,
            out.get(start..).unwrap_or_default(),
            list_octets,
        )
    }

    /// What the fields of a part count in a list of fields (RFC 9113 §6.5.2), looked up or added up.
    #[must_use]
    pub fn part_octets(&self, part: Part<'_>) -> usize {
        match self.part(self.table.changes(), part.number) {
            Some(kept) => kept.list_octets as usize,
            None => list_octets(part.fields),
        }
    }

    /// A part that was encoded in this epoch.
    #[inline]
    fn part(&self, epoch: u64, number: usize) -> Option<&template::Part> {
        self.shortcuts.as_ref()?.parts.find(epoch, number)
    }

    /// The last section that was made of parts.
    #[inline]
    fn whole(&mut self) -> Option<&mut template::Whole> {
        self.shortcuts.as_mut()?.parts.whole()
    }

    /// Gives back what can be made anew when the next section is encoded; the table stays as it is.
    pub fn rest(&mut self) {
        self.shortcuts = None;
        self.table.shrink();
    }

    /// Octets of memory, without what the allocator adds.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.table.room() + self.shortcuts.as_ref().map_or(0, |_| size_of::<Shortcuts>())
    }

    /// Appends one field to the block that [`Self::begin`] started.
    pub fn encode(&mut self, field: HeaderField<'_>, out: &mut Vec<u8>) {
        if field.indexing != Indexing::Never
            && let Some(index) = self.recall(field.name, field.value)
        {
            return integer::encode::<7>(0x80, index, out);
        }
        self.encode_searching(field, out);
    }

    /// The index of exactly this field, if it is where it was found the last time. Secrets are in no table, so they are
    /// never found here.
    #[inline]
    fn recall(&mut self, name: &[u8], value: &[u8]) -> Option<usize> {
        let (index, octets, name_len) = match *self.shortcuts.as_mut()?.memo.slot(name, value)? {
            Place::Unknown => return None,
            Place::Static(index) => {
                let entry = static_table::entry(usize::from(index))?;
                (usize::from(index), entry.octets(), entry.name_len as usize)
            }
            Place::Dynamic(number) => {
                let index = self.table.index_of(number)?;
                let entry = self.table.entry(index)?;
                (FIRST_DYNAMIC + index, entry.octets(), entry.name_len as usize)
            }
        };
        let same = name_len == name.len() && octets.split_at_checked(name_len) == Some((name, value));
        same.then_some(index)
    }

    /// Remembers where a field is.
    fn note(&mut self, name: &[u8], value: &[u8], place: Place) {
        if let Some(slot) = self.shortcuts.get_or_insert_default().memo.slot(name, value) {
            *slot = place;
        }
    }

    fn encode_searching(&mut self, field: HeaderField<'_>, out: &mut Vec<u8>) {
        let HeaderField { name, value, mut indexing } = field;
        let fixed = static_table::find(name, value);
        if let Found::Field(index) | Found::Name(index) = fixed
            && SECRET_NAMES.contains(&index)
        {
            indexing = Indexing::Never;
        }
        if indexing == Indexing::Never {
            return self.append_never_indexed(fixed, name, value, out);
        }
        if let Found::Field(index) = fixed {
            self.note(name, value, u8::try_from(index).map_or(Place::Unknown, Place::Static));
            return integer::encode::<7>(0x80, index, out);
        }
        let hashes = Hashes::of(name, value);
        let name_index = match (self.find(name, value, hashes), fixed) {
            (Found::Field(index), _) => {
                let age = u32::try_from(index - FIRST_DYNAMIC).unwrap_or(u32::MAX);
                self.note(name, value, Place::Dynamic(self.table.newest().wrapping_sub(age)));
                return integer::encode::<7>(0x80, index, out);
            }
            (_, Found::Name(index)) | (Found::Name(index), _) => index,
            _ => 0,
        };
        if indexing == Indexing::Insert && self.is_worth_inserting(name, value) {
            integer::encode::<6>(0x40, name_index, out);
            append_literal(name_index, name, value, out);
            self.table.insert(name, value, hashes);
            self.note(name, value, Place::Dynamic(self.table.newest()));
        } else {
            integer::encode::<4>(0x00, name_index, out);
            append_literal(name_index, name, value, out);
        }
    }

    /// The size of the dynamic table as RFC 7541 §4.1 counts it, in octets.
    #[must_use]
    pub fn table_octets(&self) -> usize {
        self.table.octets()
    }

    /// The number of entries in the dynamic table.
    #[must_use]
    pub fn table_entries(&self) -> usize {
        self.table.len()
    }

    /// The dynamic table's size in use, in octets: the smaller of our own maximum and the peer's limit.
    #[must_use]
    pub fn table_capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Counts changes of the dynamic table. While it stays the same, a field that inserts nothing is encoded to the
    /// same octets.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.table.changes()
    }

    /// Whether [`Self::begin`] would append size updates.
    #[must_use]
    pub fn size_update_is_due(&self) -> bool {
        self.pending != SizeUpdates::None
    }

    fn append_never_indexed(&self, fixed: Found, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        // The value is not even looked for: a hit would send it as an index.
        let name_index = match fixed {
            Found::Field(index) | Found::Name(index) => index,
            Found::Nothing => self.find_name(name),
        };
        integer::encode::<4>(0x10, name_index, out);
        append_literal(name_index, name, value, out);
    }

    fn is_worth_inserting(&self, name: &[u8], value: &[u8]) -> bool {
        let size = name.len() + value.len() + super::section::FIELD_OVERHEAD;
        size <= self.table.capacity() / 4 * 3
    }

    /// Looks for a field in the dynamic table, newest entries first.
    fn find(&self, name: &[u8], value: &[u8], hashes: Hashes) -> Found {
        let mut found = Found::Nothing;
        for (index, tag) in self.table.tags().enumerate() {
            if tag.name != hashes.name || (tag.field != hashes.field && found != Found::Nothing) {
                continue;
            }
            let Some((entry_name, entry_value)) = self.table.entry(index).map(|entry| entry.parts()) else {
                break;
            };
            if entry_name != name {
                continue;
            }
            if entry_value == value {
                return Found::Field(FIRST_DYNAMIC + index);
            }
            if found == Found::Nothing {
                found = Found::Name(FIRST_DYNAMIC + index);
            }
        }
        found
    }

    /// The index of the newest dynamic entry with this name, or 0.
    fn find_name(&self, name: &[u8]) -> usize {
        let hash = hash(0, name);
        let is_it = |index| self.table.entry(index).is_some_and(|entry| entry.parts().0 == name);
        let mut tags = self.table.tags().enumerate();
        let newest = tags.find(|&(index, tag)| tag.name == hash && is_it(index));
        newest.map_or(0, |(index, _)| FIRST_DYNAMIC + index)
    }
}

/// Hashes of an entry, to rule it out without comparing octets. Collisions cost a comparison, nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hashes {
    name: u32,
    field: u32,
}

impl Hashes {
    fn of(name: &[u8], value: &[u8]) -> Self {
        let name = hash(0, name);
        Self { name, field: hash(name, value) }
    }
}

/// Σ(name + value + 32) of some fields.
fn list_octets(fields: &[HeaderField<'_>]) -> usize {
    let sizes =
        fields.iter().map(|field| field.name.len() + field.value.len() + super::section::FIELD_OVERHEAD);
    sizes.sum()
}

/// Whether a name is one of [`SECRET_NAMES`].
fn is_secret(name: &[u8]) -> bool {
    SECRET_NAMES.iter().any(|index| static_table::entry(*index).is_some_and(|entry| entry.name() == name))
}

/// Multiply and fold, eight octets at a time.
fn hash(seed: u32, octets: &[u8]) -> u32 {
    // An odd number without structure: 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (chunks, tail) = octets.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(tail).for_each(|(to, &from)| *to = from);
    let mut state = u64::from(seed) ^ (octets.len() as u64) << 32;
    for chunk in chunks.iter().chain([&last]) {
        state = (state ^ u64::from_le_bytes(*chunk)).wrapping_mul(FACTOR);
        state ^= state >> 32;
    }
    (state & 0xffff_ffff) as u32
}

fn append_size_update(octets: u32, out: &mut Vec<u8>) {
    integer::encode::<5>(0x20, octets as usize, out);
}

/// What follows a literal's index: the name, unless the index named it, and the value.
fn append_literal(name_index: usize, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    if name_index == 0 {
        // Names enter tables on both sides: any octet saved is worth it.
        append_string(name, name.len(), out);
    }
    if value.len() > PLAIN_VALUE_OCTETS {
        append_string(value, value.len() - value.len().div_ceil(10), out);
    } else {
        append_plain(value, out);
    }
}

/// Appends a string, Huffman-coded if that makes it shorter and takes no more than `at_most` octets.
fn append_string(text: &[u8], at_most: usize, out: &mut Vec<u8>) {
    let coded = huffman::encoded_octets(text);
    if coded < text.len() && coded <= at_most {
        integer::encode::<7>(0x80, coded, out);
        huffman::encode(text, out);
    } else {
        append_plain(text, out);
    }
}

fn append_plain(text: &[u8], out: &mut Vec<u8>) {
    integer::encode::<7>(0x00, text.len(), out);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests;
