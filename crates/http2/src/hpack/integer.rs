//! Integers with an N-bit prefix (RFC 7541 §5.1).
//!
//! **Invariant:** what is decoded fits `u32` and took at most five continuation octets, which is all that 32 bits
//! can need. Larger values and longer zero-padded forms are errors: nothing in HPACK has a use for them, and they are
//! a known way to make decoders spin or overflow.

use super::HpackError;

/// Decodes an integer whose prefix is the low `N` bits of `first`; continuation octets are taken off `rest`.
#[inline]
pub(super) fn decode<const N: u32>(first: u8, rest: &mut &[u8]) -> Result<u32, HpackError> {
    let full = const { prefix_full(N) };
    let prefix = first & full;
    if prefix < full { Ok(u32::from(prefix)) } else { decode_continuation(full, rest) }
}

/// Decodes an integer whose prefix is all ones, by its continuation octets `rest`; and what follows it.
#[cold]
pub(super) fn decode_long<const N: u32>(mut rest: &[u8]) -> Result<(u32, &[u8]), HpackError> {
    let value = decode_continuation(const { prefix_full(N) }, &mut rest)?;
    Ok((value, rest))
}

fn decode_continuation(prefix: u8, rest: &mut &[u8]) -> Result<u32, HpackError> {
    // Five groups of seven bits and the prefix stay below 2^36: the sum cannot overflow.
    let mut value = u64::from(prefix);
    for shift in [0, 7, 14, 21, 28] {
        let (&octet, tail) = rest.split_first().ok_or(HpackError::Truncated)?;
        *rest = tail;
        value += u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| HpackError::IntegerOverflow);
        }
    }
    Err(HpackError::IntegerTooLong)
}

/// Appends `value` with an `N`-bit prefix; `flags` fills the bits above the prefix.
#[inline]
pub(super) fn encode<const N: u32>(flags: u8, value: usize, out: &mut Vec<u8>) {
    let full = const { prefix_full(N) };
    match u8::try_from(value) {
        Ok(small) if small < full => out.push(flags | small),
        _ => {
            out.push(flags | full);
            encode_continuation(value - usize::from(full), out);
        }
    }
}

fn encode_continuation(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(0x80 | low);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// An `N`-bit prefix of ones, which says that continuation octets follow.
const fn prefix_full(n: u32) -> u8 {
    assert!(0 < n && n <= 8);
    u8::MAX >> (8 - n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<const N: u32>(octets: &[u8]) -> Result<(u32, usize), HpackError> {
        let (&first, mut rest) = octets.split_first().unwrap();
        decode::<N>(first, &mut rest).map(|value| (value, rest.len()))
    }

    fn encoded<const N: u32>(flags: u8, value: usize) -> Vec<u8> {
        let mut out = Vec::new();
        encode::<N>(flags, value, &mut out);
        out
    }

    #[test]
    fn rfc7541_c_1_examples() {
        assert_eq!(encoded::<5>(0, 10), [0b0000_1010]);
        assert_eq!(encoded::<5>(0, 1337), [0b0001_1111, 0b1001_1010, 0b0000_1010]);
        assert_eq!(encoded::<8>(0, 42), [0b0010_1010]);
        assert_eq!(decoded::<5>(&[0b1110_1010]), Ok((10, 0)));
        assert_eq!(decoded::<5>(&[0b1111_1111, 0b1001_1010, 0b0000_1010]), Ok((1337, 0)));
        assert_eq!(decoded::<8>(&[0b0010_1010]), Ok((42, 0)));
    }

    #[test]
    fn every_prefix_length_round_trips_at_its_boundaries() {
        fn check<const N: u32>() {
            let full = usize::from(prefix_full(N));
            let around = [0, 1, full - 1, full, full + 1, full + 127, full + 128, 16_383, 16_384, 1 << 28];
            for value in around.into_iter().chain([u32::MAX as usize - 1, u32::MAX as usize]) {
                let mut octets = encoded::<N>(0, value);
                octets.push(0xaa); // must be left alone
                assert_eq!(
                    decoded::<N>(&octets),
                    Ok((u32::try_from(value).unwrap(), 1)),
                    "{N} bits, {value}"
                );
            }
        }
        check::<4>();
        check::<5>();
        check::<6>();
        check::<7>();
        check::<8>();
    }

    #[test]
    fn flags_are_kept() {
        assert_eq!(encoded::<7>(0x80, 2), [0x82]);
        assert_eq!(encoded::<6>(0x40, 63), [0x7f, 0x00]);
    }

    #[test]
    fn values_above_32_bits_are_refused() {
        // 31 + 0xffff_ffe0 = u32::MAX, and one more.
        assert_eq!(decoded::<5>(&[0x1f, 0xe0, 0xff, 0xff, 0xff, 0x0f]), Ok((u32::MAX, 0)));
        assert_eq!(decoded::<5>(&[0x1f, 0xe1, 0xff, 0xff, 0xff, 0x0f]), Err(HpackError::IntegerOverflow));
    }

    #[test]
    fn long_forms_are_refused() {
        let endless = [0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(decoded::<5>(&endless), Err(HpackError::IntegerTooLong));
        let zeros = [0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(decoded::<5>(&zeros), Err(HpackError::IntegerTooLong));
        assert_eq!(decoded::<5>(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00]), Ok((31, 0)));
    }

    #[test]
    fn an_integer_cut_short_is_truncated() {
        assert_eq!(decoded::<5>(&[0x1f]), Err(HpackError::Truncated));
        assert_eq!(decoded::<5>(&[0x1f, 0x80]), Err(HpackError::Truncated));
    }
}
