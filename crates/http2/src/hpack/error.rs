//! What a field block can do wrong (RFC 7541). One variant per rule.
//!
//! All of these are COMPRESSION_ERROR on the connection (RFC 9113 §4.3): once a block could not be decoded, both
//! sides disagree about the dynamic table and no later block can be trusted. Sections that are merely too large are
//! no error here; see [`FieldSection::exceeded`](super::FieldSection::exceeded).

use core::fmt;

/// A rule of RFC 7541 that a field block broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum HpackError {
    /// The block ends inside a representation (§6).
    Truncated,
    /// An integer has more than five continuation octets (§5.1 lets an implementation draw this line).
    IntegerTooLong,
    /// An integer does not fit 32 bits (§5.1).
    IntegerOverflow,
    /// An indexed field with index 0 (§6.1).
    IndexZero,
    /// An index beyond the end of both tables (§2.3.3).
    IndexOutOfRange,
    /// A dynamic table size update above our SETTINGS_HEADER_TABLE_SIZE (§6.3).
    SizeUpdateAboveLimit,
    /// A dynamic table size update after the first field of a block (§4.2).
    SizeUpdateAfterField,
    /// More than two dynamic table size updates in one block (§4.2).
    TooManySizeUpdates,
    /// We lowered SETTINGS_HEADER_TABLE_SIZE, the peer acknowledged it, and its next block does not open with the
    /// size update this demands (§4.2).
    SizeUpdateMissing,
    /// A Huffman-coded string contains EOS (§5.2).
    HuffmanEos,
    /// A Huffman-coded string is padded with more than seven bits (§5.2).
    HuffmanPaddingTooLong,
    /// The padding of a Huffman-coded string is not the start of EOS, all ones (§5.2).
    HuffmanPaddingNotOnes,
}

impl fmt::Display for HpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "field block ends inside a representation",
            Self::IntegerTooLong => "integer has more than five continuation octets",
            Self::IntegerOverflow => "integer does not fit 32 bits",
            Self::IndexZero => "indexed field with index 0",
            Self::IndexOutOfRange => "index beyond the end of both tables",
            Self::SizeUpdateAboveLimit => "table size update above the announced limit",
            Self::SizeUpdateAfterField => "table size update after the first field",
            Self::TooManySizeUpdates => "more than two table size updates in one block",
            Self::SizeUpdateMissing => "no table size update after the limit was lowered",
            Self::HuffmanEos => "huffman-coded string contains EOS",
            Self::HuffmanPaddingTooLong => "huffman padding is longer than seven bits",
            Self::HuffmanPaddingNotOnes => "huffman padding is not all ones",
        })
    }
}

impl core::error::Error for HpackError {}
