//! The Huffman code of HPACK (RFC 7541 Appendix B) and the tables made from it.
//!
//! The code is canonical: codes of the same length are consecutive, in the order of their symbols, and each length
//! starts where the one before it ended. So the lengths say everything; codes and decoding tables are computed from
//! them when this file is compiled.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tables are built when this file is compiled: an index out of range or a lost bit fails the build"
)]

/// The symbol that ends the alphabet. It never appears in a string; its first bits pad the last octet (§5.2).
const EOS: usize = 256;

/// No code is shorter, which bounds how far a string can expand: 8 bits of output for 5 of input.
pub(super) const SHORTEST: usize = 5;

/// How many bits one lookup in [`PAIRS`] sees. Measured elsewhere as the best trade between hits and cache.
pub(super) const WINDOW: u32 = 12;

const WINDOWS: usize = 1 << WINDOW;

/// Length of each symbol's code in bits, EOS last.
#[rustfmt::skip]
const LENGTHS: [u8; EOS + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // EOS
];

/// The code of one symbol: its bits, right-aligned, and how many they are.
#[derive(Clone, Copy)]
pub(super) struct Code {
    pub(super) bits: u32,
    pub(super) len: u8,
}

/// The code of each octet.
static CODES: [Code; 256] = octet_codes();

/// The code of `octet`.
#[inline]
#[allow(clippy::indexing_slicing, reason = "an octet cannot exceed the table's 256 entries")]
pub(super) fn code(octet: u8) -> Code {
    CODES[octet as usize]
}

/// What the next [`WINDOW`] bits of a string decode to: up to two whole symbols.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    /// The first symbol in the low octet, the second in the high one; zeros where there is none.
    pub(super) symbols: u16,
    /// Bits of both codes; 0 if the first is longer than the window.
    pub(super) len: u8,
    /// How much of `symbols` means something: 0, 8 or 16 bits.
    pub(super) filled: u8,
}

/// 16 KiB: one entry for each value of the next [`WINDOW`] bits.
static PAIRS: [Pair; WINDOWS] = pairs();

/// Looks up the first [`WINDOW`] bits of `bits`.
#[inline]
#[allow(clippy::indexing_slicing, reason = "12 bits cannot exceed the table's 4096 entries")]
pub(super) fn pair(bits: u64) -> Pair {
    PAIRS[(bits >> (64 - WINDOW)) as usize]
}

/// A symbol whose code did not fit the window.
pub(super) struct LongSymbol {
    /// `None` is EOS.
    pub(super) octet: Option<u8>,
    pub(super) len: u32,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct LengthClass {
    len: u32,
    /// The first code of this length, right-aligned.
    first: u32,
    /// The first value of the next 32 bits that is beyond all codes of this length and shorter ones.
    end: u64,
    /// Where this length begins in [`ORDER`].
    offset: u32,
}

const LONG_CLASSES: usize = 30 - WINDOW as usize;

/// The lengths 13 to 30.
static LONG: [LengthClass; LONG_CLASSES] = long_classes();

/// All symbols, sorted by the length of their code and then by value.
static ORDER: [u16; EOS + 1] = order();

/// Decodes the symbol at the start of `bits`, for codes longer than [`WINDOW`]. Takes at most 18 steps.
pub(super) fn long_symbol(bits: u64) -> LongSymbol {
    let next = bits >> 32;
    for class in &LONG {
        if next < class.end {
            let code = u32::try_from(next >> (32 - class.len)).unwrap_or(u32::MAX);
            let rank = code.wrapping_sub(class.first).wrapping_add(class.offset) as usize;
            let octet = ORDER.get(rank).and_then(|&symbol| u8::try_from(symbol).ok());
            return LongSymbol { octet, len: class.len };
        }
    }
    LongSymbol { octet: None, len: 30 } // all ones: the last class ends at 2^32, so nothing gets here
}

const fn order() -> [u16; EOS + 1] {
    let mut order = [0; EOS + 1];
    let mut filled = 0;
    let mut len = SHORTEST as u8;
    while filled < order.len() {
        let mut symbol = 0;
        while symbol <= EOS as u16 {
            if LENGTHS[symbol as usize] == len {
                order[filled] = symbol;
                filled += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    order
}

const fn codes() -> [Code; EOS + 1] {
    let order = order();
    let mut codes = [Code { bits: 0, len: 0 }; EOS + 1];
    let mut bits: u64 = 0;
    let mut previous = LENGTHS[order[0] as usize];
    let mut rank = 0;
    while rank < order.len() {
        let symbol = order[rank] as usize;
        let len = LENGTHS[symbol];
        bits <<= len - previous;
        previous = len;
        assert!(bits < 1 << len, "a code must fit its length");
        codes[symbol] = Code { bits: (bits & 0xffff_ffff) as u32, len };
        bits += 1;
        rank += 1;
    }
    assert!(bits == 1 << previous, "the code must leave no string of bits undefined");
    codes
}

const fn octet_codes() -> [Code; 256] {
    let codes = codes();
    let mut octets = [codes[0]; 256];
    let mut octet = 0;
    while octet < octets.len() {
        octets[octet] = codes[octet];
        octet += 1;
    }
    octets
}

const fn pairs() -> [Pair; WINDOWS] {
    let codes = octet_codes();
    let mut table = [Pair { symbols: 0, len: 0, filled: 0 }; WINDOWS];
    let mut octet: u8 = 0;
    loop {
        let Code { bits, len } = codes[octet as usize];
        if len as u32 <= WINDOW {
            let spare = WINDOW - len as u32;
            let mut window = (bits << spare) as usize;
            let end = window + (1 << spare);
            while window < end {
                table[window] = Pair { symbols: octet as u16, len, filled: 8 };
                window += 1;
            }
        }
        if octet == u8::MAX {
            break;
        }
        octet += 1;
    }
    add_second_symbols(table)
}

const fn add_second_symbols(firsts: [Pair; WINDOWS]) -> [Pair; WINDOWS] {
    let mut table = firsts;
    let mut window = 0;
    while window < WINDOWS {
        let first = firsts[window];
        // What is left of the window behind the first symbol, followed by zeros.
        let second = firsts[(window << first.len) & (WINDOWS - 1)];
        let both = first.len + second.len;
        if first.len != 0 && second.len != 0 && both as u32 <= WINDOW {
            table[window] = Pair { symbols: first.symbols | second.symbols << 8, len: both, filled: 16 };
        }
        window += 1;
    }
    table
}

const fn long_classes() -> [LengthClass; LONG_CLASSES] {
    let (codes, order) = (codes(), order());
    let mut classes = [LengthClass { len: 0, first: 0, end: 0, offset: 0 }; LONG_CLASSES];
    let mut rank: u32 = 0;
    while (codes[order[rank as usize] as usize].len as u32) <= WINDOW {
        rank += 1;
    }
    // Lengths without a code of their own end where the length before them ended, so that nothing matches them.
    let mut end = (codes[order[rank as usize - 1] as usize].bits as u64 + 1)
        << (32 - codes[order[rank as usize - 1] as usize].len);
    let mut class = 0;
    while class < LONG_CLASSES {
        let len = WINDOW + 1 + class as u32;
        let (offset, mut first) = (rank, 0);
        while (rank as usize) < order.len() && codes[order[rank as usize] as usize].len as u32 == len {
            let bits = codes[order[rank as usize] as usize].bits;
            if rank == offset {
                first = bits;
            }
            end = (bits as u64 + 1) << (32 - len);
            rank += 1;
        }
        classes[class] = LengthClass { len, first, end, offset };
        class += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_the_rfc() {
        // Appendix B, a few of every kind.
        for (octet, bits, len) in [
            (b'0', 0x0, 5),
            (b' ', 0x14, 6),
            (b':', 0x5c, 7),
            (b'&', 0xf8, 8),
            (b'?', 0x3fc, 10),
            (b'|', 0x7fc, 11),
            (b'#', 0xffa, 12),
            (b'$', 0x1ff9, 13),
            (b'<', 0x7ffc, 15),
            (b'\\', 0x7fff0, 19),
            (0xc3, 0x7fff1, 19),
            (0xd0, 0x7fff2, 19),
            (0x80, 0xfffe6, 20),
            (0x01, 0x7f_ffd8, 23),
            (0xff, 0x3ff_ffee, 26),
            (0x0a, 0x3fff_fffc, 30),
            (0x16, 0x3fff_fffe, 30),
        ] {
            let code = code(octet);
            assert_eq!((code.bits, code.len), (bits, len), "octet {octet:#x}");
        }
        // The code is full: no string of bits is without a meaning (Kraft), and each length has as many codes as the
        // appendix lists.
        let mut of_length = [0u32; 31];
        for len in LENGTHS {
            of_length[usize::from(len)] += 1;
        }
        let listed = [
            (5, 10),
            (6, 26),
            (7, 32),
            (8, 6),
            (10, 5),
            (11, 3),
            (12, 2),
            (13, 6),
            (14, 2),
            (15, 3),
            (19, 3),
            (20, 8),
            (21, 13),
            (22, 26),
            (23, 29),
            (24, 12),
            (25, 4),
            (26, 15),
            (27, 19),
            (28, 29),
            (30, 4),
        ];
        for (len, count) in listed {
            assert_eq!(of_length[len], count, "codes of {len} bits");
        }
        assert_eq!(listed.iter().map(|(_, count)| count).sum::<u32>(), 257);
        assert_eq!(listed.iter().map(|(len, count)| u64::from(*count) << (30 - len)).sum::<u64>(), 1 << 30);
        let eos = codes()[EOS];
        assert_eq!((eos.bits, eos.len), (0x3fff_ffff, 30));
    }

    #[test]
    fn every_window_decodes_to_the_symbols_it_starts_with() {
        for window in 0..WINDOWS as u64 {
            let bits = window << (64 - WINDOW);
            let pair = pair(bits);
            if pair.len == 0 {
                assert_eq!((pair.symbols, pair.filled), (0, 0));
                assert!(long_symbol(bits).len > WINDOW);
                continue;
            }
            let [first, second] = pair.symbols.to_le_bytes().map(code);
            assert_eq!(bits >> (64 - u32::from(first.len)), u64::from(first.bits));
            if pair.filled == 16 {
                assert_eq!(first.len + second.len, pair.len);
                assert_eq!((bits << first.len) >> (64 - u32::from(second.len)), u64::from(second.bits));
            } else {
                assert_eq!((first.len, 8, 0), (pair.len, pair.filled, pair.symbols >> 8));
            }
        }
    }

    #[test]
    fn every_long_code_is_found() {
        for octet in 0..=u8::MAX {
            let Code { bits, len } = code(octet);
            if u32::from(len) > WINDOW {
                for padding in [0, u64::MAX >> len] {
                    let found = long_symbol(u64::from(bits) << (64 - u32::from(len)) | padding);
                    assert_eq!((found.octet, found.len), (Some(octet), u32::from(len)));
                }
            }
        }
        assert!(long_symbol(u64::MAX).octet.is_none());
        assert_eq!(long_symbol(u64::MAX).len, 30);
    }
}
