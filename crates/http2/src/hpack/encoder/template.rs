//! The last sections as they were encoded, to be sent again as they are: steady traffic repeats itself.
//!
//! A template is what a section's fields were encoded to while the dynamic table stayed as it was; it is good until the
//! table changes.
//!
//! **Invariant:** a field that must never be indexed, or that names a secret, is in no template: its octets are not kept.

use super::{HeaderField, Indexing};

/// Larger sections are not kept.
const MOST_OCTETS: usize = 512;
/// Nor are sections of more fields.
const MOST_FIELDS: usize = 24;
/// After so many misses in a row only one section in so many is kept: what never repeats is not worth the copy.
const PATIENCE: u32 = 16;

/// One section: what went in and what came out.
#[derive(Clone, Debug, Default)]
struct Template {
    epoch: u64,
    /// Length of each field's name and value; empty if there is nothing here.
    lengths: Vec<(u16, u16)>,
    /// All names and values, one after the other.
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Template {
    /// Whether these fields, in this order, went in.
    #[inline]
    fn is_of<'a>(&self, fields: impl Iterator<Item = HeaderField<'a>>) -> bool {
        let (mut lengths, mut rest) = (self.lengths.iter(), self.input.as_slice());
        for HeaderField { name, value, indexing } in fields {
            let Some(&(name_len, value_len)) = lengths.next() else { return false };
            if name.len() != usize::from(name_len)
                || value.len() != usize::from(value_len)
                || indexing == Indexing::Never
            {
                return false;
            }
            let Some(behind) = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(value)) else {
                return false;
            };
            rest = behind;
        }
        lengths.next().is_none()
    }
}

/// The last sections: a server sends headers and trailers in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Templates {
    kept: [Template; 2],
    second: bool,
    misses: u32,
}

impl Templates {
    /// What these fields are encoded to while the table is in this epoch, if they were among the last.
    #[inline]
    pub(super) fn find<'a>(
        &mut self,
        epoch: u64,
        fields: &(impl Iterator<Item = HeaderField<'a>> + Clone),
    ) -> Option<&[u8]> {
        for _ in 0..2 {
            let [first, second] = &self.kept;
            let template = if self.second { second } else { first };
            if template.epoch == epoch && !template.lengths.is_empty() && template.is_of(fields.clone()) {
                self.misses = 0;
                let [first, second] = &self.kept;
                return Some(if self.second { &second.output } else { &first.output });
            }
            self.second = !self.second;
        }
        self.misses = self.misses.saturating_add(1);
        None
    }

    /// Keeps a section that was encoded without a change of the table, in the place of the older one.
    pub(super) fn keep<'a>(
        &mut self,
        epoch: u64,
        fields: impl Iterator<Item = HeaderField<'a>>,
        output: &[u8],
    ) {
        if self.misses > PATIENCE && !self.misses.is_multiple_of(PATIENCE) {
            return;
        }
        self.second = !self.second;
        let [first, second] = &mut self.kept;
        let template = if self.second { second } else { first };
        template.lengths.clear();
        template.input.clear();
        template.output.clear();
        for HeaderField { name, value, .. } in fields {
            let lengths = (u16::try_from(name.len()), u16::try_from(value.len()));
            let (Ok(name_len), Ok(value_len)) = lengths else { return template.lengths.clear() };
            template.lengths.push((name_len, value_len));
            template.input.extend_from_slice(name);
            template.input.extend_from_slice(value);
            if template.lengths.len() > MOST_FIELDS || template.input.len() > MOST_OCTETS {
                return template.lengths.clear();
            }
        }
        template.output.extend_from_slice(output);
        template.epoch = epoch;
    }
}

/// Parts with higher numbers are not kept.
const PARTS: usize = 16;

/// The blocks of parts of sections, by the numbers their owner gave them. Takes no memory before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(Option<Box<[Part; PARTS]>>);

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    epoch: u64,
    block: [u8; FIXED_OCTETS],
    length: u8,
    list_octets: u32,
}

impl Parts {
    /// What a part is encoded to while the table is in this epoch, if that is known, and what it counts in a list.
    #[inline]
    pub(super) fn find(&self, epoch: u64, number: usize) -> Option<(&[u8], u32)> {
        let kept = self.0.as_ref()?.get(number).filter(|kept| kept.epoch == epoch)?;
        let block = kept.block.get(..usize::from(kept.length)).filter(|block| !block.is_empty())?;
        Some((block, kept.list_octets))
    }

    /// Keeps a part that was encoded without a change of the table.
    pub(super) fn keep(&mut self, epoch: u64, number: usize, output: &[u8], list_octets: u32) {
        let mut block = [0; FIXED_OCTETS];
        let (Some(place), Ok(length)) = (block.get_mut(..output.len()), u8::try_from(output.len())) else {
            return;
        };
        place.copy_from_slice(output);
        if let Some(kept) = self.0.get_or_insert_default().get_mut(number) {
            *kept = Part { epoch, block, length, list_octets };
        }
    }
}

/// Fixed sections that are kept: a server's heads and trailers.
const FIXED: usize = 2;
/// The longest block of one; steady ones are an octet for each field.
const FIXED_OCTETS: usize = 7;

/// The blocks of sections that are part of the program, found by where their fields lie.
#[derive(Clone, Debug, Default)]
pub(super) struct FixedSections {
    kept: [Fixed; FIXED],
    second: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default)]
struct Fixed {
    fields: &'static [HeaderField<'static>],
    epoch: u64,
    block: [u8; FIXED_OCTETS],
    length: u8,
}

impl FixedSections {
    /// What these fields are encoded to while the table is in this epoch, if that is known.
    #[inline]
    pub(super) fn find(&self, epoch: u64, fields: &'static [HeaderField<'static>]) -> Option<&[u8]> {
        // What is static never changes: the same place and length are the same fields.
        let kept = self.kept.iter().find(|kept| core::ptr::eq(kept.fields, fields) && kept.epoch == epoch)?;
        kept.block.get(..usize::from(kept.length)).filter(|block| !block.is_empty())
    }

    /// Keeps a section that was encoded without a change of the table.
    pub(super) fn keep(&mut self, epoch: u64, fields: &'static [HeaderField<'static>], output: &[u8]) {
        let mut block = [0; FIXED_OCTETS];
        let (Some(place), Ok(length)) = (block.get_mut(..output.len()), u8::try_from(output.len())) else {
            return;
        };
        place.copy_from_slice(output);
        let same = self.kept.iter().position(|kept| core::ptr::eq(kept.fields, fields));
        if same.is_none() {
            self.second = !self.second;
        }
        let at = same.unwrap_or(usize::from(self.second));
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = Fixed { fields, epoch, block, length };
        }
    }
}
