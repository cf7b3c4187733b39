//! The last field sections, kept decoded: steady peers send the same octets again and again. RFC 7541 §2.2.
//!
//! A block that neither changes nor depends on a changed dynamic table decodes to the same fields as before, so comparing
//! its octets is enough. Two are kept: a client sees responses and trailers in turn.
//!
//! Invariant: a kept section is given out only while the table's epoch is the one it was decoded in; a block that changed
//! the table is never kept.

use crate::error::Violation;
use crate::hpack::{Decoder, FieldSection, SectionLimits};
use crate::message::{self, Found, Section};
use crate::stream::ContentLength;

/// Longer blocks are not kept: they hold something that changes.
const KEPT_BLOCK: usize = 96;

/// One section and what it was decoded from.
#[derive(Debug, Default)]
struct Kept {
    /// The encoded block; empty if it may not be used again.
    block: Vec<u8>,
    epoch: u64,
    section: FieldSection,
    /// What the message layer said about it.
    walked: Option<(Section, Result<Found, Violation>)>,
    /// It was a good request: its number, and the length it promises.
    request: Option<(u64, ContentLength)>,
}

/// The last sections.
#[derive(Debug, Default)]
pub(super) struct SectionMemo {
    /// None before the first block, and at rest.
    kept: Option<Box<[Kept; 2]>>,
    /// Which of them was asked for last.
    second: bool,
    /// How many requests were numbered.
    numbered: u64,
}

impl SectionMemo {
    /// Decodes a block, or finds that it was decoded before.
    pub(super) fn decode(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        limits: &SectionLimits,
    ) -> Result<(), Violation> {
        let epoch = decoder.epoch();
        if !block.is_empty() && !decoder.owes_size_update() {
            for _ in 0..2 {
                if self.current().is_some_and(|kept| kept.epoch == epoch && kept.block == block) {
                    return Ok(());
                }
                self.second = !self.second;
            }
        }
        // The older one makes room.
        self.second = !self.second;
        let Kept { block: kept, epoch: kept_epoch, section, walked, request } = self.current_mut();
        kept.clear();
        (*walked, *request) = (None, None);
        decoder.decode(block, limits, section).map_err(|_| Violation::Compression)?;
        if decoder.epoch() == epoch && block.len() <= KEPT_BLOCK {
            kept.extend_from_slice(block);
            *kept_epoch = epoch;
        }
        Ok(())
    }

    /// The section decoded last.
    #[inline]
    pub(super) fn section(&self) -> &FieldSection {
        static NOTHING: FieldSection = FieldSection::new();
        self.current().map_or(&NOTHING, |kept| &kept.section)
    }

    /// The number that [`SectionMemo::number`] would give to the section decoded last; zero if it is not kept.
    #[inline]
    pub(super) fn next_number(&self) -> u64 {
        if self.current().is_some_and(|kept| !kept.block.is_empty()) {
            self.numbered.wrapping_add(1)
        } else {
            0
        }
    }

    /// The section decoded last was found to be a good request: if it is kept, it has a number from now on.
    pub(super) fn number(&mut self, length: ContentLength) {
        let number = self.next_number();
        if number > 0 {
            self.numbered = number;
            self.current_mut().request = Some((number, length));
        }
    }

    /// The number under which the section decoded last was a good request before, and the length it promises.
    #[inline]
    pub(super) fn known_request(&self) -> Option<(u64, ContentLength)> {
        self.current()?.request
    }

    /// Forgets all sections. Numbers go on, so that none is given out twice.
    pub(super) fn rest(&mut self) {
        self.kept = None;
    }

    /// What the message layer finds in it.
    #[inline]
    pub(super) fn walk(&mut self, kind: Section) -> Result<Found, Violation> {
        let current = self.current_mut();
        match current.walked {
            Some((before, result)) if before == kind => result,
            _ => {
                let result = message::walk(&current.section, kind);
                current.walked = Some((kind, result));
                result
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.kept.is_none()
    }

    #[inline]
    fn current(&self) -> Option<&Kept> {
        let [first, second] = &**self.kept.as_ref()?;
        Some(if self.second { second } else { first })
    }

    #[inline]
    fn current_mut(&mut self) -> &mut Kept {
        let [first, second] = &mut **self.kept.get_or_insert_default();
        if self.second { second } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SectionLimits = SectionLimits { list_octets: 1 << 14, fields: 128 };

    fn fields(memo: &SectionMemo) -> Vec<(Vec<u8>, Vec<u8>)> {
        memo.section().iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
    }

    /// With and without the memo every block decodes to the same, whatever the order of blocks and table changes.
    #[test]
    fn it_makes_no_difference_but_time() {
        let blocks: [&[u8]; 8] = [
            &[0x82, 0x84],
            &[0x83, 0x84],
            &[0x40, 1, b'a', 1, b'b'],
            &[0x40, 1, b'c', 1, b'd'],
            &[0xbe],
            &[0x00, 1, b'x', 1, b'y'],
            &[0x20, 0x3f, 0xe1, 0x1f],
            &[0xbf, 0xbe],
        ];
        let (mut memo, mut with, mut without) =
            (SectionMemo::default(), Decoder::new(4096), Decoder::new(4096));
        let mut plain = FieldSection::default();
        let mut state = 1u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let block = blocks[(state >> 24) as usize % blocks.len()];
            let mut copy = without.clone();
            if copy.decode(block, &LIMITS, &mut plain).is_err() {
                continue;
            }
            without = copy;
            memo.decode(&mut with, block, &LIMITS).unwrap();
            let expected: Vec<_> = plain.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
            assert_eq!(fields(&memo), expected, "{block:x?}");
            assert_eq!(with.table_octets(), without.table_octets());
        }
    }

    #[test]
    fn two_blocks_in_turn_are_both_kept() {
        let (mut memo, mut decoder) = (SectionMemo::default(), Decoder::new(4096));
        for _ in 0..3 {
            memo.decode(&mut decoder, &[0x88], &LIMITS).unwrap();
            assert!(memo.walk(Section::Response).is_ok());
            memo.decode(&mut decoder, &[0x00, 1, b'x', 1, b'y'], &LIMITS).unwrap();
            assert!(memo.walk(Section::Trailers).is_ok());
        }
        assert!(
            memo.kept
                .iter()
                .flat_map(|kept| kept.iter())
                .all(|kept| kept.walked.is_some() && !kept.block.is_empty())
        );
        // The same octets may be judged as another kind.
        assert_eq!(memo.walk(Section::Trailers).err(), None);
        memo.decode(&mut decoder, &[0x88], &LIMITS).unwrap();
        assert_eq!(memo.walk(Section::Trailers).err(), Some(Violation::UnexpectedPseudo));
    }

    #[test]
    fn a_request_keeps_its_number_until_it_is_decoded_anew() {
        let (mut memo, mut decoder) = (SectionMemo::default(), Decoder::new(4096));
        let request = [0x83, 0x86, 0x84, 0x41, 1, b'a'];
        for expected in [0, 1] {
            // The first one changes the table: it is not kept.
            let block: &[u8] = if expected == 0 { &request } else { &[0x83, 0x86, 0x84, 0xbe] };
            memo.decode(&mut decoder, block, &LIMITS).unwrap();
            assert_eq!(memo.known_request(), None);
            assert_eq!(memo.next_number(), expected);
            memo.number(ContentLength::Unbound);
        }
        memo.decode(&mut decoder, &[0x88], &LIMITS).unwrap();
        assert_eq!(memo.known_request(), None);
        memo.decode(&mut decoder, &[0x83, 0x86, 0x84, 0xbe], &LIMITS).unwrap();
        assert_eq!(memo.known_request(), Some((1, ContentLength::Unbound)));
        // A change of the table makes it another section.
        memo.decode(&mut decoder, &[0x40, 1, b'c', 1, b'd'], &LIMITS).unwrap();
        memo.decode(&mut decoder, &[0x83, 0x86, 0x84, 0xbe], &LIMITS).unwrap();
        assert_eq!(memo.known_request(), None);
        assert_eq!(memo.next_number(), 2);
    }

    #[test]
    fn an_owed_size_update_is_not_overlooked() {
        let (mut memo, mut decoder) = (SectionMemo::default(), Decoder::new(4096));
        memo.decode(&mut decoder, &[0x88], &LIMITS).unwrap();
        decoder.set_max_table_octets(0);
        assert_eq!(memo.decode(&mut decoder, &[0x88], &LIMITS), Err(Violation::Compression));
    }
}
