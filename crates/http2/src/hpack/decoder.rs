//! Decodes field blocks (RFC 7541 §3, §6).
//!
//! **Invariant:** a block is decoded to its end whatever the section's limits say, because later blocks depend on the
//! dynamic table it leaves behind (§2.2). What is over the limits is not kept.
//!
//! Deliberately left out: decoding a block piece by piece. The connection assembles CONTINUATION frames under its own
//! limit first, so a literal is never scanned twice.

use super::section::Traits;
use super::static_table::{self, FIRST_DYNAMIC, StaticEntry};
use super::table::{Table, View, low_half};
use super::{FieldSection, HpackError, Name, SectionLimits, huffman, integer};

/// §4.2 knows at most two: the smallest size in between and the final one.
const MAX_SIZE_UPDATES: usize = 2;

/// The decoding half of a connection's compression state.
#[derive(Clone, Debug)]
pub struct Decoder {
    table: Table<Name>,
    /// What we announced as SETTINGS_HEADER_TABLE_SIZE and the peer acknowledged.
    max_table_octets: u32,
    /// Set while the peer owes a size update: its next block must open with one that is not above this.
    owed_size_update: Option<u32>,
}

impl Decoder {
    /// A decoder whose table limit and table size in use are both `max_table_octets`.
    ///
    /// A connection starts with [`DEFAULT_TABLE_OCTETS`](super::DEFAULT_TABLE_OCTETS), whatever it announces: see
    /// [`Self::set_max_table_octets`]. The table takes memory only as it fills.
    #[must_use]
    pub fn new(max_table_octets: u32) -> Self {
        Self { table: Table::new(max_table_octets as usize), max_table_octets, owed_size_update: None }
    }

    /// Changes the table limit to our new SETTINGS_HEADER_TABLE_SIZE. Call it when the peer acknowledged the setting,
    /// not before (RFC 9113 §6.5.3).
    ///
    /// A greater limit changes nothing until the peer makes use of it by a size update. A limit below the size in use
    /// obliges the peer to open its next block with one (§4.2).
    pub fn set_max_table_octets(&mut self, max_table_octets: u32) {
        self.max_table_octets = max_table_octets;
        if (max_table_octets as usize) < self.table.capacity() {
            // The smallest limit between two blocks is the one that must be met, even if it rose again since.
            let owed = self.owed_size_update.map_or(max_table_octets, |owed| owed.min(max_table_octets));
            self.owed_size_update = Some(owed);
        }
    }

    /// The size of the dynamic table as §4.1 counts it, in octets.
    #[must_use]
    pub fn table_octets(&self) -> usize {
        self.table.octets()
    }

    /// The number of entries in the dynamic table.
    #[must_use]
    pub fn table_entries(&self) -> usize {
        self.table.len()
    }

    /// The dynamic table's size in use, in octets: the last size update, or what [`Self::new`] was given.
    #[must_use]
    pub fn table_capacity(&self) -> usize {
        self.table.capacity()
    }

    /// The dynamic table's names and values, newest first, for diagnostics.
    pub fn table(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.table.iter().map(|entry| entry.parts())
    }

    /// Counts changes of the dynamic table. While it stays the same, the same block decodes to the same fields.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.table.changes()
    }

    /// Whether the peer must open its next block with a size update, because we lowered the limit (§4.2).
    #[must_use]
    pub fn owes_size_update(&self) -> bool {
        self.owed_size_update.is_some()
    }

    /// Gives back the room that the dynamic table does not need for its entries.
    pub fn rest(&mut self) {
        self.table.shrink();
    }

    /// Octets of memory, without what the allocator adds.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.table.room()
    }

    /// Decodes one complete field block into `out`, whose earlier contents are removed.
    ///
    /// A section over the limits is decoded to its end and no error: see [`FieldSection::exceeded`]. `out` never holds
    /// more than the limits allow; while one field is decoded it needs room for that field, at most 8/5 of the block.
    ///
    /// # Errors
    /// Any [`HpackError`]. The decoder is then out of step with the peer and must not be used again; what `out` holds
    /// means nothing.
    pub fn decode(
        &mut self,
        block: &[u8],
        limits: &SectionLimits,
        out: &mut FieldSection,
    ) -> Result<(), HpackError> {
        out.clear();
        let mut rest = block;
        self.apply_size_updates(&mut rest)?;
        while let Some((&first, tail)) = rest.split_first() {
            if first & 0x80 == 0 {
                rest = self.decode_literal(first, tail, limits, out)?;
                continue;
            }
            // §6.1. Nearly every field of steady traffic is an index in a single octet.
            let (index, behind) = match first & 0x7f {
                0x7f => integer::decode_long::<7>(tail)?,
                index => (u32::from(index), tail),
            };
            rest = behind;
            let View { stretch, name_len, len, tag: known } = self.entry(index as usize)?;
            let traits = Traits { known, sensitive: false, wire_octets: 1 + taken(tail, rest) };
            out.append(stretch, name_len, len, traits, limits);
        }
        Ok(())
    }

    /// §4.2: size updates stand at the start of a block, and nowhere else.
    fn apply_size_updates(&mut self, rest: &mut &[u8]) -> Result<(), HpackError> {
        let mut updates = 0;
        while let Some((&first, tail)) = rest.split_first()
            && first & 0xe0 == 0x20
        {
            *rest = tail;
            updates += 1;
            if updates > MAX_SIZE_UPDATES {
                return Err(HpackError::TooManySizeUpdates);
            }
            let octets = integer::decode::<5>(first, rest)?;
            if octets > self.max_table_octets {
                return Err(HpackError::SizeUpdateAboveLimit);
            }
            if self.owed_size_update.is_some_and(|owed| octets <= owed) {
                self.owed_size_update = None;
            }
            self.table.set_capacity(octets as usize);
        }
        if self.owed_size_update.is_some() { Err(HpackError::SizeUpdateMissing) } else { Ok(()) }
    }

    /// §6.2: a literal whose `first` octet is followed by `tail`; returns what follows it.
    fn decode_literal<'a>(
        &mut self,
        first: u8,
        tail: &'a [u8],
        limits: &SectionLimits,
        out: &mut FieldSection,
    ) -> Result<&'a [u8], HpackError> {
        let mut rest = tail;
        let literal = Literal::from_first_octet(first, &mut rest)?;
        let (name_len, known) = if literal.name_index == 0 {
            let name_len = decode_string(&mut rest, 0, out)?;
            (name_len, Name::from_bytes(out.staged(name_len)))
        } else {
            let View { stretch, name_len, tag: known, .. } = self.entry(literal.name_index)?;
            out.stage_copy(stretch, name_len as usize);
            (name_len as usize, known)
        };
        let len = name_len + decode_string(&mut rest, name_len, out)?;
        if literal.kind == LiteralKind::Indexed {
            let (name, value) = out.staged(len).split_at_checked(name_len).unwrap_or_default();
            self.table.insert(name, value, known);
        }
        let sensitive = literal.kind == LiteralKind::NeverIndexed;
        let wire_octets = 1 + taken(tail, rest);
        out.commit(low_half(name_len), low_half(len), Traits { known, sensitive, wire_octets }, limits);
        Ok(rest)
    }

    /// The entry at `index` of both tables' common address space (§2.3.3).
    #[inline]
    fn entry(&self, index: usize) -> Result<View<'_, Name>, HpackError> {
        if let Some(entry) = static_table::entry(index) {
            let StaticEntry { stretch, name_len, len, known } = entry;
            return Ok(View { stretch, name_len: *name_len, len: *len, tag: *known });
        }
        if index == 0 {
            return Err(HpackError::IndexZero);
        }
        let entry = index.checked_sub(FIRST_DYNAMIC).and_then(|index| self.table.entry(index));
        entry.ok_or(HpackError::IndexOutOfRange)
    }
}

/// How a literal wants to be treated (§6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum LiteralKind {
    /// With incremental indexing (§6.2.1).
    Indexed,
    /// Without indexing (§6.2.2).
    NotIndexed,
    /// Never indexed (§6.2.3).
    NeverIndexed,
}

#[derive(Clone, Copy)]
struct Literal {
    kind: LiteralKind,
    /// 0 if the name follows as a string.
    name_index: usize,
}

impl Literal {
    #[inline]
    fn from_first_octet(first: u8, rest: &mut &[u8]) -> Result<Self, HpackError> {
        let (kind, name_index) = match first & 0xf0 {
            0x40.. => (LiteralKind::Indexed, integer::decode::<6>(first, rest)?),
            0x20.. => return Err(HpackError::SizeUpdateAfterField),
            0x10.. => (LiteralKind::NeverIndexed, integer::decode::<4>(first, rest)?),
            _ => (LiteralKind::NotIndexed, integer::decode::<4>(first, rest)?),
        };
        Ok(Self { kind, name_index: name_index as usize })
    }
}

/// §5.2: stages a string behind the `staged` octets of its field that are there already, and says how long it is.
#[inline]
fn decode_string(rest: &mut &[u8], staged: usize, out: &mut FieldSection) -> Result<usize, HpackError> {
    let (&first, mut tail) = rest.split_first().ok_or(HpackError::Truncated)?;
    let len = integer::decode::<7>(first, &mut tail)? as usize;
    let (string, tail) = tail.split_at_checked(len).ok_or(HpackError::Truncated)?;
    *rest = tail;
    if first & 0x80 != 0 {
        return huffman::decode(string, out.stage(staged, huffman::room(len)));
    }
    if let Some(room) = out.stage(staged, len).get_mut(..len) {
        room.copy_from_slice(string);
    }
    Ok(len)
}

/// How many octets were taken off `before` if `rest` is left of it.
#[inline]
fn taken(before: &[u8], rest: &[u8]) -> u32 {
    low_half(before.len() - rest.len())
}

#[cfg(test)]
mod tests;
