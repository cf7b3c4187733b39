//! Decisions taken from octets: what libFuzzer mutates is a list of small choices, not noise.

/// The octets that are left. When they are used up every choice is the first one.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Decisions from these octets.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// True when nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next octet.
    pub fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number from 0 to `below` - 1, `below` being at most 256.
    pub fn below(&mut self, below: usize) -> usize {
        usize::from(self.octet()) % below.max(1)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.octet() & 1 == 1
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// 32 bits.
    pub fn word(&mut self) -> u32 {
        u32::from_be_bytes(core::array::from_fn(|_| self.octet()))
    }

    /// The next `octets` octets, or as many as are left.
    pub fn take(&mut self, octets: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(octets.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Up to 255 octets, whose number comes first.
    pub fn string(&mut self) -> &'a [u8] {
        let octets = usize::from(self.octet());
        self.take(octets)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_the_octets_and_then_the_first_ones() {
        let mut input = Input::new(&[2, 7, 1, 9, 9, 0, 0, 1, 0]);
        assert_eq!(input.string(), [7, 1]);
        assert_eq!((input.below(4), input.flag()), (1, true));
        assert_eq!(input.word(), 256);
        assert!(input.is_empty());
        assert_eq!((input.octet(), input.below(3), input.one_of(&['a', 'b']), input.word()), (0, 0, 'a', 0));
        assert_eq!((input.take(3), input.rest()), (&[][..], &[][..]));
    }
}
