//! Huffman-coded strings (RFC 7541 §5.2).
//!
//! **Invariant:** decoding costs a bounded amount of work for each octet of input and writes at most 8/5 of its
//! length. EOS inside a string, padding of more than seven bits and padding that is not all ones are errors: accepting
//! them would let two peers read different strings in the same octets.

use super::HpackError;
use super::huffman_code::{LongSymbol, SHORTEST, WINDOW, code, long_symbol, pair};

/// How many octets `text` takes when Huffman-coded.
pub(super) fn encoded_octets(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&octet| usize::from(code(octet).len)).sum();
    bits.div_ceil(8)
}

/// Appends `text`, Huffman-coded and padded, to `out`.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    // The low `pending` bits of `bits` are not written yet; fewer than 32 before each symbol, so 30 more always fit.
    let (mut bits, mut pending) = (0_u64, 0_u32);
    for &octet in text {
        let code = code(octet);
        bits = bits << code.len | u64::from(code.bits);
        pending += u32::from(code.len);
        if pending >= 32 {
            pending -= 32;
            out.extend_from_slice(&((bits >> pending & 0xffff_ffff) as u32).to_be_bytes());
        }
    }
    // §5.2: pad with the first bits of EOS, which are ones.
    let padding = pending.next_multiple_of(8) - pending;
    bits = bits << padding | ((1 << padding) - 1);
    pending += padding;
    while pending > 0 {
        pending -= 8;
        out.push((bits >> pending & 0xff) as u8);
    }
}

/// How much room [`decode`] needs for `coded` octets: the most that can come out, and eight octets more because it writes so
/// many at a time.
pub(super) const fn room(coded: usize) -> usize {
    coded.saturating_mul(8) / SHORTEST + BATCH_OCTETS
}

/// So many windows are looked up between two looks at the input, each for up to two octets of text.
const BATCH: u32 = 4;
const BATCH_OCTETS: usize = 2 * BATCH as usize;
/// More than this no batch can use up.
const BATCH_BITS: u32 = BATCH * WINDOW;

/// Writes the text of the Huffman-coded `coded` to the beginning of `text`, which has [`room`] for it, and says how long it is.
/// What stands behind it means nothing, and after an error all of it.
pub(super) fn decode(coded: &[u8], text: &mut [u8]) -> Result<usize, HpackError> {
    let mut input = Bits { bits: 0, len: 0, rest: coded };
    let mut written = 0;
    loop {
        input.refill();
        if input.len < BATCH_BITS {
            return decode_tail(input, text, written);
        }
        if pair(input.bits).len == 0 {
            let LongSymbol { octet, len } = long_symbol(input.bits);
            write(text, written, [octet.ok_or(HpackError::HuffmanEos)?]);
            written += 1;
            input.consume(len);
            continue;
        }
        // At a code longer than the window nothing more moves: the next look at the input is for it.
        let (mut octets, mut filled) = (0_u64, 0);
        for _ in 0..BATCH {
            let next = pair(input.bits);
            octets |= u64::from(next.symbols) << filled;
            filled += u32::from(next.filled);
            input.consume(u32::from(next.len));
        }
        write(text, written, octets.to_le_bytes());
        written += filled as usize / 8;
    }
}

/// Decodes the last bits, fewer than [`BATCH_BITS`], and checks the padding.
fn decode_tail(mut input: Bits<'_>, text: &mut [u8], mut written: usize) -> Result<usize, HpackError> {
    while input.len as usize >= SHORTEST {
        // Behind the end stand ones, as if the padding never ended: no code can be mistaken for a part of them.
        let bits = input.bits | u64::MAX >> input.len;
        let next = pair(bits);
        let [first, second] = next.symbols.to_le_bytes();
        let (octet, len) = if next.len == 0 {
            let LongSymbol { octet, len } = long_symbol(bits);
            if len > input.len {
                break;
            }
            (octet.ok_or(HpackError::HuffmanEos)?, len)
        } else if u32::from(next.len) <= input.len {
            if next.filled == 16 {
                write(text, written, [first]);
                written += 1;
                (second, u32::from(next.len))
            } else {
                (first, u32::from(next.len))
            }
        } else {
            // The second symbol, or the only one, is made of padding.
            (first, u32::from(code(first).len))
        };
        if len > input.len {
            break;
        }
        write(text, written, [octet]);
        written += 1;
        input.consume(len);
    }
    let ones = !(u64::MAX >> input.len);
    if input.bits & ones != ones {
        Err(HpackError::HuffmanPaddingNotOnes)
    } else if input.len > 7 {
        Err(HpackError::HuffmanPaddingTooLong)
    } else {
        Ok(written)
    }
}

/// Writes whole words even if not all of their octets mean something: one store, and the next write covers the rest.
#[inline]
fn write<const N: usize>(text: &mut [u8], at: usize, octets: [u8; N]) {
    let room = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    debug_assert!(room.is_some(), "the caller makes room for the longest string");
    if let Some(room) = room {
        *room = octets;
    }
}

/// Input bits, the next one in the highest place.
struct Bits<'a> {
    /// Behind the first `len` bits stand zeros or, after a fast refill, the bits that follow in `rest`.
    bits: u64,
    len: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Takes as many whole octets as fit, up to 63 bits, or all there are.
    #[inline]
    fn refill(&mut self) {
        if let Some(chunk) = self.rest.first_chunk::<8>() {
            self.bits |= u64::from_be_bytes(*chunk) >> self.len;
            let octets = (63 - self.len) / 8;
            self.rest = self.rest.get(octets as usize..).unwrap_or_default();
            self.len += octets * 8;
        } else {
            while let Some((&octet, rest)) = self.rest.split_first()
                && self.len < 56
            {
                self.bits |= u64::from(octet) << (56 - self.len);
                self.len += 8;
                self.rest = rest;
            }
        }
    }

    /// Drops the first `count` bits; at most `len`, and at most 30.
    #[inline]
    fn consume(&mut self, count: u32) {
        self.bits <<= count;
        self.len -= count;
    }
}

const _: () = assert!(
    30 <= BATCH_BITS && BATCH_BITS <= 56,
    "a refill brings a whole batch, and the longest symbol is whole in as many bits"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_octets(text));
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut text = vec![0; room(coded.len())];
        let written = decode(coded, &mut text)?;
        assert!(written * SHORTEST <= coded.len() * 8);
        text.truncate(written);
        Ok(text)
    }

    #[test]
    fn rfc7541_strings() {
        let www = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(encoded(b"www.example.com"), www);
        assert_eq!(decoded(&www).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decoded(b"").unwrap(), b"");
    }

    #[test]
    fn every_octet_round_trips_beside_every_other() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                let text = [a, b, a];
                assert_eq!(decoded(&encoded(&text)).unwrap(), text);
            }
        }
    }

    #[test]
    fn lengths_around_the_refill_round_trip() {
        for len in 0..200 {
            for text in [vec![b'0'; len], vec![b'~'; len], vec![0x0a; len], (0..).take(len).collect()] {
                assert_eq!(decoded(&encoded(&text)).unwrap(), text, "{len} octets");
            }
        }
    }

    #[test]
    fn eos_inside_a_string_is_an_error() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(HpackError::HuffmanEos));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(HpackError::HuffmanEos));
        // "0" in front, then EOS, then "0".
        assert_eq!(decoded(&[0x07, 0xff, 0xff, 0xff, 0xe0]), Err(HpackError::HuffmanEos));
    }

    #[test]
    fn padding_is_at_most_seven_ones() {
        assert_eq!(decoded(&[0x07]).unwrap(), b"0");
        assert_eq!(decoded(&[0x00]), Err(HpackError::HuffmanPaddingNotOnes));
        assert_eq!(decoded(&[0x06]), Err(HpackError::HuffmanPaddingNotOnes));
        assert_eq!(decoded(&[0x07, 0xff]), Err(HpackError::HuffmanPaddingTooLong));
        assert_eq!(decoded(&[0xff]), Err(HpackError::HuffmanPaddingTooLong));
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(HpackError::HuffmanPaddingTooLong));
        // '&' is eight bits: nothing is left to pad.
        assert_eq!(decoded(&[0xf8]).unwrap(), b"&");
        assert_eq!(decoded(&[0xf8, 0xff]), Err(HpackError::HuffmanPaddingTooLong));
        // A code that was cut off is no padding: half of '<' (15 bits).
        assert_eq!(decoded(&[0xfe]), Err(HpackError::HuffmanPaddingNotOnes));
    }

    /// Every string of one, two and three octets: what decodes must be exactly what its text encodes to.
    #[test]
    fn a_string_decodes_only_if_it_is_the_one_encoding_of_its_text() {
        let mut accepted = 0;
        for value in 0..1_u32 << 24 {
            // Three octets thinned out, so that the test stays short in a debug build.
            if value >= 1 << 16 && value % 97 != 0 {
                continue;
            }
            let octets = value.to_be_bytes();
            for coded in [&octets[3..], &octets[2..], &octets[1..]] {
                if let Ok(text) = decoded(coded) {
                    accepted += 1;
                    assert_eq!(encoded(&text), coded);
                }
            }
        }
        assert!(accepted > 10_000);
    }
}
