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

/// A few octets that are copied all at once, whatever they mean, because that takes fewer steps than to look how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short<const N: usize> {
    octets: [u8; N],
    length: u8,
}

impl<const N: usize> Short<N> {
    const EMPTY: Self = Self { octets: [0; N], length: 0 };

    /// None if they are none, or too many.
    fn of(output: &[u8]) -> Option<Self> {
        let mut octets = [0; N];
        octets.get_mut(..output.len())?.copy_from_slice(output);
        let length = u8::try_from(output.len()).ok().filter(|length| *length > 0)?;
        Some(Self { octets, length })
    }

    #[inline]
    pub(crate) fn octets(&self) -> u32 {
        u32::from(self.length)
    }

    #[inline]
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let end = out.len() + usize::from(self.length);
        out.extend_from_slice(&self.octets);
        out.truncate(end);
    }
}

/// Parts with higher numbers are not kept.
const PARTS: usize = 16;

/// The blocks of parts of sections, by the numbers their owner gave them, and the last whole one that was made of them. Takes
/// no memory before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(Option<Box<KeptParts>>);

#[derive(Clone, Debug, Default)]
struct KeptParts {
    whole: Whole,
    parts: [Part; PARTS],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    epoch: u64,
    pub(super) block: Short<FIXED_OCTETS>,
    /// What it counts in a list.
    pub(super) list_octets: u32,
}

impl Default for Part {
    fn default() -> Self {
        Self { epoch: 0, block: Short::EMPTY, list_octets: 0 }
    }
}

impl Parts {
    /// What a part is encoded to while the table is in this epoch, if that is known.
    #[inline]
    pub(super) fn find(&self, epoch: u64, number: usize) -> Option<&Part> {
        let kept = self.0.as_ref()?.parts.get(number);
        kept.filter(|kept| kept.epoch == epoch && kept.block.length > 0)
    }

    /// Keeps a part that was encoded without a change of the table, if it can be; says whether it is.
    pub(super) fn keep(&mut self, epoch: u64, number: usize, output: &[u8], list_octets: u32) -> bool {
        let Some(block) = Short::of(output) else { return false };
        let kept = self.0.get_or_insert_default().parts.get_mut(number);
        kept.map(|kept| *kept = Part { epoch, block, list_octets }).is_some()
    }

    /// The last section that was made of parts.
    #[inline]
    pub(super) fn whole(&mut self) -> Option<&mut Whole> {
        self.0.as_mut().map(|kept| &mut kept.whole)
    }
}

/// Longer blocks of two parts and a field are not kept.
pub(crate) const WHOLE_OCTETS: usize = 16;
/// Nor are those whose field has a name and a value of more octets together.
const BETWEEN_OCTETS: usize = 24;
/// A length of a name that none has which is kept.
const NO_FIELD: u8 = u8::MAX;

/// The last section that was made of two parts and perhaps a field between them: steady calls of one method have all the
/// same.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    epoch: u64,
    parts: [usize; 2],
    /// Name and value of the field, one after the other.
    between: [u8; BETWEEN_OCTETS],
    /// Octets of its name; [`NO_FIELD`] if there is none, which is not the same as an empty one.
    between_name: u8,
    between_len: u8,
    block: Short<WHOLE_OCTETS>,
    misses: u32,
}

impl Default for Whole {
    fn default() -> Self {
        let between = [0; BETWEEN_OCTETS];
        Self {
            epoch: 0,
            parts: [0; 2],
            between,
            between_name: NO_FIELD,
            between_len: 0,
            block: Short::EMPTY,
            misses: 0,
        }
    }
}

impl Whole {
    /// What the section is encoded to while the table is in this epoch, if it was the last.
    #[inline]
    pub(super) fn find(
        &mut self,
        epoch: u64,
        parts: [usize; 2],
        between: Option<HeaderField<'_>>,
    ) -> Option<&Short<WHOLE_OCTETS>> {
        let known =
            self.epoch == epoch && self.parts == parts && self.block.length > 0 && self.is_between(between);
        if !known {
            return None;
        }
        self.misses = 0;
        Some(&self.block)
    }

    #[inline]
    fn is_between(&self, between: Option<HeaderField<'_>>) -> bool {
        let Some(HeaderField { name, value, indexing }) = between else {
            return self.between_name == NO_FIELD;
        };
        let (name_len, len) = (usize::from(self.between_name), usize::from(self.between_len));
        name.len() == name_len
            && name_len + value.len() == len
            && indexing != Indexing::Never
            && self.between.get(..name_len) == Some(name)
            && self.between.get(name_len..len) == Some(value)
    }

    /// Keeps a section that was encoded without a change of the table.
    pub(super) fn keep(
        &mut self,
        epoch: u64,
        parts: [usize; 2],
        between: Option<HeaderField<'_>>,
        output: &[u8],
    ) {
        self.misses = self.misses.saturating_add(1);
        if self.misses > PATIENCE && !self.misses.is_multiple_of(PATIENCE) {
            return;
        }
        let (name, value) = between.map_or((&[][..], &[][..]), |field| (field.name, field.value));
        let (Some(block), Some(room)) = (Short::of(output), self.between.get_mut(..name.len() + value.len()))
        else {
            return;
        };
        room.iter_mut().zip(name.iter().chain(value)).for_each(|(to, from)| *to = *from);
        self.between_len = u8::try_from(room.len()).unwrap_or_default();
        self.between_name = between.map_or(NO_FIELD, |_| u8::try_from(name.len()).unwrap_or_default());
        (self.epoch, self.parts, self.block) = (epoch, parts, block);
    }
}

/// Fixed sections that are kept: a server's heads and trailers.
const FIXED: usize = 2;
/// The longest block of one; steady ones are an octet for each field.
pub(crate) const FIXED_OCTETS: usize = 7;

/// The blocks of sections that are part of the program, found by where their fields lie.
#[derive(Clone, Debug, Default)]
pub(super) struct FixedSections {
    kept: [Fixed; FIXED],
    second: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    fields: &'static [HeaderField<'static>],
    epoch: u64,
    block: Short<FIXED_OCTETS>,
}

impl Default for Fixed {
    fn default() -> Self {
        Self { fields: &[], epoch: 0, block: Short::EMPTY }
    }
}

impl FixedSections {
    /// What these fields are encoded to while the table is in this epoch, if that is known.
    #[inline]
    pub(super) fn find(
        &self,
        epoch: u64,
        fields: &'static [HeaderField<'static>],
    ) -> Option<&Short<FIXED_OCTETS>> {
        // What is static never changes: the same place and length are the same fields.
        let kept = self.kept.iter().find(|kept| core::ptr::eq(kept.fields, fields) && kept.epoch == epoch)?;
        (kept.block.length > 0).then_some(&kept.block)
    }

    /// Keeps a section that was encoded without a change of the table.
    pub(super) fn keep(&mut self, epoch: u64, fields: &'static [HeaderField<'static>], output: &[u8]) {
        let Some(block) = Short::of(output) else { return };
        let same = self.kept.iter().position(|kept| core::ptr::eq(kept.fields, fields));
        if same.is_none() {
            self.second = !self.second;
        }
        let at = same.unwrap_or(usize::from(self.second));
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = Fixed { fields, epoch, block };
        }
    }
}
