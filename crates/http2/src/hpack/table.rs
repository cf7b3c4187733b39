//! The dynamic table (RFC 7541 §2.3.2, §4), for both directions.
//!
//! Entries are a ring, their names and values lie one after the other in a flat store. Evicting an entry only moves
//! the store's start; the dead octets in front are removed once they outweigh the living, so that an octet is moved at
//! most once for each octet that was evicted, however a peer drives the table. The decoder tags each entry with the
//! [`Name`](super::Name) it recognised, the encoder with hashes.
//!
//! **Invariant:** `octets` is the sum of all entries' sizes (§4.1) and never exceeds `capacity`.

use std::collections::VecDeque;

use super::section::FIELD_OVERHEAD;

/// Dead octets below this are not worth removing.
const WORTH_REMOVING: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    /// Newest first.
    entries: VecDeque<Entry<T>>,
    /// The octets of all entries, oldest first, behind `dead` octets of evicted ones.
    store: Vec<u8>,
    dead: usize,
    /// How many octets were ever removed from the front of `store` (wrapping): entries remember where they were before that.
    removed: u32,
    octets: usize,
    capacity: usize,
    changes: u64,
    /// How many entries were ever added (wrapping): the newest has this number.
    added: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    /// Where the octets are in the store, counted as if nothing had ever been removed from it (and wrapping).
    position: u32,
    name_len: u32,
    len: u32,
    tag: T,
}

/// One entry, as its users see it.
pub(super) struct View<'a, T> {
    /// Name and value, one after the other, and what happens to lie behind them.
    pub(super) stretch: &'a [u8],
    pub(super) name_len: u32,
    /// Of name and value.
    pub(super) len: u32,
    pub(super) tag: T,
}

impl<'a, T> View<'a, T> {
    /// Name and value, one after the other.
    #[inline]
    pub(super) fn octets(&self) -> &'a [u8] {
        self.stretch.get(..self.len as usize).unwrap_or_default()
    }

    pub(super) fn parts(&self) -> (&'a [u8], &'a [u8]) {
        self.octets().split_at_checked(self.name_len as usize).unwrap_or_default()
    }
}

impl<T: Copy> Table<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            store: Vec::new(),
            dead: 0,
            removed: 0,
            octets: 0,
            capacity,
            changes: 0,
            added: 0,
        }
    }

    /// The sum of all entries' sizes (§4.1).
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// The maximum size (§4.2).
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How often the table has changed: entries added or evicted, capacity set.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The entry at `index`, 0 being the newest.
    #[inline]
    pub(super) fn entry(&self, index: usize) -> Option<View<'_, T>> {
        self.view(self.entries.get(index)?)
    }

    /// The number of the newest entry: entries are numbered from 1 on (wrapping), and keep their numbers.
    pub(super) fn newest(&self) -> u32 {
        self.added
    }

    /// The index of the entry with this number, if it is still there.
    #[inline]
    pub(super) fn index_of(&self, number: u32) -> Option<usize> {
        let index = self.added.wrapping_sub(number) as usize;
        (index < self.entries.len()).then_some(index)
    }

    /// All entries, newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = View<'_, T>> {
        self.entries.iter().filter_map(|entry| self.view(entry))
    }

    /// The tags of all entries, newest first: enough to rule most entries out without touching their octets.
    pub(super) fn tags(&self) -> impl Iterator<Item = T> {
        self.entries.iter().map(|entry| entry.tag)
    }

    /// Sets the maximum size and evicts what no longer fits (§4.3).
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.changes += 1;
        self.capacity = capacity;
        self.evict_down_to(capacity);
    }

    /// Adds a field and evicts the oldest until it fits. A field larger than the whole table empties it and is not
    /// added, which is no error (§4.4).
    #[inline]
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], tag: T) {
        self.changes += 1;
        let len = name.len() + value.len();
        let Some(octets_before) = self.capacity.checked_sub(len + FIELD_OVERHEAD) else {
            return self.evict_down_to(0);
        };
        self.evict_down_to(octets_before);
        self.remove_dead();
        let position = self.removed.wrapping_add(low_half(self.store.len()));
        self.store.extend_from_slice(name);
        self.store.extend_from_slice(value);
        self.octets += len + FIELD_OVERHEAD;
        self.added = self.added.wrapping_add(1);
        self.entries.push_front(Entry { position, name_len: low_half(name.len()), len: low_half(len), tag });
    }

    fn evict_down_to(&mut self, octets: usize) {
        while self.octets > octets {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.dead += oldest.len as usize;
            self.octets -= oldest.len as usize + FIELD_OVERHEAD;
        }
    }

    fn remove_dead(&mut self) {
        if self.dead >= WORTH_REMOVING && self.dead >= self.store.len() - self.dead {
            self.remove_all_dead();
        }
    }

    fn remove_all_dead(&mut self) {
        self.store.drain(..self.dead);
        self.removed = self.removed.wrapping_add(low_half(self.dead));
        self.dead = 0;
    }

    /// Gives back the room that the entries do not need.
    pub(super) fn shrink(&mut self) {
        self.remove_all_dead();
        self.store.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Octets of memory, without what the allocator adds.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.store.capacity() + self.entries.capacity() * size_of::<Entry<T>>()
    }

    /// Always something: entries know where they are.
    #[inline]
    fn view(&self, entry: &Entry<T>) -> Option<View<'_, T>> {
        let Entry { position, name_len, len, tag } = *entry;
        let stretch = self.store.get(position.wrapping_sub(self.removed) as usize..)?;
        Some(View { stretch, name_len, len, tag })
    }
}

/// Lengths and positions of fields are kept in four octets: no block and no table holds 4 GiB, and positions wrap.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "meant")]
pub(super) const fn low_half(octets: usize) -> u32 {
    (octets & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(table: &Table<u32>) -> Vec<(Vec<u8>, u32)> {
        table.iter().map(|view| (view.octets().to_vec(), view.tag)).collect()
    }

    #[test]
    fn the_newest_entry_comes_first() {
        let mut table = Table::new(100);
        table.insert(b"a", b"b", 1);
        table.insert(b"cd", b"ef", 2);
        assert_eq!(contents(&table), [(b"cdef".to_vec(), 2), (b"ab".to_vec(), 1)]);
        assert_eq!(table.entry(0).unwrap().parts(), (&b"cd"[..], &b"ef"[..]));
        assert_eq!((table.octets(), table.len(), table.capacity()), (34 + 36, 2, 100));
        assert!(table.entry(2).is_none());
    }

    #[test]
    fn the_oldest_entry_is_evicted_first() {
        let mut table = Table::new(2 * 34);
        for (tag, octets) in [(1, b"ab"), (2, b"cd"), (3, b"ef")] {
            table.insert(octets, b"", tag);
        }
        assert_eq!(contents(&table), [(b"ef".to_vec(), 3), (b"cd".to_vec(), 2)]);
        table.set_capacity(34);
        assert_eq!(contents(&table), [(b"ef".to_vec(), 3)]);
        table.set_capacity(33);
        assert_eq!((table.len(), table.octets()), (0, 0));
    }

    #[test]
    fn a_field_larger_than_the_table_empties_it() {
        let mut table = Table::new(40);
        table.insert(b"a", b"b", 1);
        table.insert(b"1", b"23456789", 2);
        assert_eq!((table.len(), table.octets()), (0, 0));
        table.insert(b"", b"12345678", 3);
        assert_eq!(contents(&table), [(b"12345678".to_vec(), 3)]);
    }

    #[test]
    fn every_change_is_counted() {
        let mut table = Table::new(40);
        let mut seen = vec![table.changes()];
        table.insert(b"a", b"b", 1);
        seen.push(table.changes());
        table.insert(&[0; 60], &[0; 40], 1);
        seen.push(table.changes());
        table.set_capacity(50);
        seen.push(table.changes());
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    }

    /// Compares with a plain list while entries of all sizes come and go, and watches the store's size.
    #[test]
    fn it_behaves_like_a_list_through_many_evictions() {
        let mut table = Table::new(4096);
        let mut model: VecDeque<(Vec<u8>, u32)> = VecDeque::new();
        for tag in 0..20_000_u32 {
            let len = (tag as usize).wrapping_mul(7919) % if tag % 50 == 0 { 4200 } else { 120 };
            let octets = vec![tag.to_be_bytes()[3]; len];
            let (name, value) = octets.split_at(len / 2);
            table.insert(name, value, tag);
            model.push_front((octets, tag));
            let size = |model: &VecDeque<(Vec<u8>, u32)>| model.iter().map(|e| e.0.len() + 32).sum::<usize>();
            while size(&model) > 4096 {
                model.pop_back();
            }
            if tag % 100 == 0 {
                table.shrink();
                assert_eq!(table.store.capacity(), table.octets() - table.len() * FIELD_OVERHEAD);
            }
            if tag % 64 == 0 {
                assert_eq!(contents(&table), Vec::from(model.clone()), "after {tag}");
            }
            assert_eq!((table.len(), table.octets()), (model.len(), size(&model)));
            assert!(table.store.len() <= 2 * 4096 + WORTH_REMOVING + 4096, "store of {}", table.store.len());
        }
    }
}
