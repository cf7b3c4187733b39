//! RFC 7541 appendix C, typed in, and every way a block can be wrong.

use super::*;
use crate::hpack::HpackError as Error;

const LIMITS: SectionLimits = SectionLimits { list_octets: 16 * 1024, fields: 128 };

type Pairs = Vec<(String, String)>;

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn decode(decoder: &mut Decoder, hex: &str) -> Result<FieldSection, Error> {
    let mut section = FieldSection::default();
    decoder.decode(&octets(hex), &LIMITS, &mut section).map(|()| section)
}

fn pairs(section: &FieldSection) -> Pairs {
    section.iter().map(|field| (text(field.name), text(field.value))).collect()
}

fn table(decoder: &Decoder) -> Pairs {
    decoder.table().map(|(name, value)| (text(name), text(value))).collect()
}

fn owned(fields: &[(&str, &str)]) -> Pairs {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

type Fields<'a> = &'a [(&'a str, &'a str)];
/// A block in hex, its fields, and the table after it: its size and its entries.
type Step<'a> = (&'a str, Fields<'a>, usize, Fields<'a>);

/// Decodes blocks of one context; after each compares the fields and the dynamic table with the appendix.
fn replay(size: u32, steps: &[Step<'_>]) {
    let mut decoder = Decoder::new(size);
    for (hex, fields, table_octets, entries) in steps {
        let section = decode(&mut decoder, hex).unwrap();
        assert_eq!(pairs(&section), owned(fields), "{hex}");
        assert_eq!(table(&decoder), owned(entries), "table after {hex}");
        assert_eq!(decoder.table_octets(), *table_octets, "size after {hex}");
        assert_eq!(decoder.table_entries(), entries.len());
        let wire: u32 = section.iter().map(|field| field.wire_octets).sum();
        assert_eq!(wire as usize, octets(hex).len(), "every octet belongs to a field");
    }
}

#[test]
fn c_2_1_literal_with_indexing() {
    let field = [("custom-key", "custom-header")];
    replay(4096, &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &field, 55, &field)]);
}

#[test]
fn c_2_2_literal_without_indexing() {
    replay(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0, &[])]);
}

#[test]
fn c_2_3_literal_never_indexed() {
    let hex = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    replay(4096, &[(hex, &[("password", "secret")], 0, &[])]);
    let section = decode(&mut Decoder::new(4096), hex).unwrap();
    assert!(section.field(0).unwrap().sensitive, "an intermediary must keep it a never-indexed literal");
}

#[test]
fn c_2_4_indexed() {
    replay(4096, &[("82", &[(":method", "GET")], 0, &[])]);
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const REQUEST_TABLE: [(&str, &str); 3] =
    [("custom-key", "custom-value"), ("cache-control", "no-cache"), (":authority", "www.example.com")];

fn requests(blocks: [&str; 3]) {
    replay(
        4096,
        &[
            (blocks[0], &FIRST, 57, &REQUEST_TABLE[2..]),
            (blocks[1], &SECOND, 110, &REQUEST_TABLE[1..]),
            (blocks[2], &THIRD, 164, &REQUEST_TABLE),
        ],
    );
}

#[test]
fn c_3_requests_without_huffman() {
    requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn c_4_requests_with_huffman() {
    requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

const DATE_21: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
const DATE_22: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
const LOCATION: (&str, &str) = ("location", "https://www.example.com");
const PRIVATE: (&str, &str) = ("cache-control", "private");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const SET_COOKIE: (&str, &str) = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");

fn responses(blocks: [&str; 3]) {
    let (found, moved, good) = ((":status", "302"), (":status", "307"), (":status", "200"));
    replay(
        256,
        &[
            (blocks[0], &[found, PRIVATE, DATE_21, LOCATION], 222, &[LOCATION, DATE_21, PRIVATE, found]),
            (blocks[1], &[moved, PRIVATE, DATE_21, LOCATION], 222, &[moved, LOCATION, DATE_21, PRIVATE]),
            (
                blocks[2],
                &[good, PRIVATE, DATE_22, LOCATION, GZIP, SET_COOKIE],
                215,
                &[SET_COOKIE, GZIP, DATE_22],
            ),
        ],
    );
}

#[test]
fn c_5_responses_without_huffman() {
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
         3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn c_6_responses_with_huffman() {
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn an_empty_block_is_an_empty_section() {
    assert!(decode(&mut Decoder::new(4096), "").unwrap().is_empty());
}

/// §6.1: index 0 is an error, and so is an index behind the last entry of both tables.
#[test]
fn indexes_must_name_an_entry() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, "80").unwrap_err(), Error::IndexZero);
    assert_eq!(decode(&mut decoder, "bd").unwrap().field(0).unwrap().name, b"www-authenticate");
    assert_eq!(decode(&mut decoder, "be").unwrap_err(), Error::IndexOutOfRange);
    decode(&mut decoder, "4001 6101 62").unwrap();
    assert_eq!(pairs(&decode(&mut decoder, "be").unwrap()), owned(&[("a", "b")]));
    assert_eq!(decode(&mut decoder, "bf").unwrap_err(), Error::IndexOutOfRange);
    // Literals with an indexed name, all three kinds; and an index of 2^32 - 1.
    for hex in ["7f00 0162", "0f31 0162", "1f31 0162", "ff80 ffff ff0f"] {
        assert_eq!(decode(&mut decoder, hex).unwrap_err(), Error::IndexOutOfRange, "{hex}");
    }
    assert_eq!(decode(&mut decoder, "ff81 ffff ff0f").unwrap_err(), Error::IntegerOverflow);
    assert_eq!(decode(&mut decoder, "ffff ffff ffff ff7f").unwrap_err(), Error::IntegerTooLong);
}

/// §4.2: at most two size updates, at the start of a block, none above the limit.
#[test]
fn size_updates_have_their_place_and_their_limit() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, "4001 6101 62").unwrap();
    decode(&mut decoder, "3f e11f").unwrap();
    assert_eq!((decoder.table_capacity(), decoder.table_entries()), (4096, 1));
    decode(&mut decoder, "20 3f e11f 82").unwrap();
    assert_eq!(
        (decoder.table_capacity(), decoder.table_entries()),
        (4096, 0),
        "the first one emptied the table"
    );
    assert_eq!(decode(&mut decoder, "20 20 20").unwrap_err(), Error::TooManySizeUpdates);
    assert_eq!(decode(&mut Decoder::new(4096), "3f e21f").unwrap_err(), Error::SizeUpdateAboveLimit);
    assert_eq!(decode(&mut Decoder::new(4096), "82 20").unwrap_err(), Error::SizeUpdateAfterField);
    assert_eq!(decode(&mut Decoder::new(0), "21").unwrap_err(), Error::SizeUpdateAboveLimit);
}

/// A raised limit is only an allowance: the size in use stays until a size update changes it.
#[test]
fn limit_and_size_in_use_are_two_numbers() {
    let mut decoder = Decoder::new(4096);
    decoder.set_max_table_octets(16_384);
    assert_eq!((decoder.table_capacity(), decoder.owes_size_update()), (4096, false));
    decode(&mut decoder, "82").unwrap();
    decode(&mut decoder, "3fe1 7f").unwrap();
    assert_eq!(decoder.table_capacity(), 16_384);
}

/// §4.2: after the limit fell below the size in use, the next block must say so, with the smallest limit in between.
#[test]
fn a_lowered_limit_demands_a_size_update() {
    let mut decoder = Decoder::new(4096);
    decoder.set_max_table_octets(100);
    assert!(decoder.owes_size_update());
    assert_eq!(decode(&mut decoder.clone(), "82").unwrap_err(), Error::SizeUpdateMissing);
    assert_eq!(decode(&mut decoder.clone(), "").unwrap_err(), Error::SizeUpdateMissing);
    assert_eq!(decode(&mut decoder.clone(), "3f46 82").unwrap_err(), Error::SizeUpdateAboveLimit);
    decoder.set_max_table_octets(4096);
    assert_eq!(decode(&mut decoder.clone(), "3fe1 1f82").unwrap_err(), Error::SizeUpdateMissing);
    decode(&mut decoder, "3f45 3fe1 1f82").unwrap();
    assert_eq!((decoder.table_capacity(), decoder.owes_size_update()), (4096, false));
    decode(&mut decoder, "82").unwrap();
}

#[test]
fn a_block_may_end_nowhere_but_between_fields() {
    let whole = octets("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    for cut in 1..whole.len() {
        let mut section = FieldSection::default();
        let result = Decoder::new(4096).decode(&whole[..cut], &LIMITS, &mut section);
        assert_eq!(result, Err(Error::Truncated), "cut at {cut}");
    }
    // A length far beyond the block must not be believed: nothing is reserved for it.
    assert_eq!(decode(&mut Decoder::new(4096), "007f ffff ff07 61").unwrap_err(), Error::Truncated);
}

#[test]
fn huffman_errors_are_errors_of_the_block() {
    assert_eq!(decode(&mut Decoder::new(4096), "0084 ffff ffff 00").unwrap_err(), Error::HuffmanEos);
    assert_eq!(decode(&mut Decoder::new(4096), "0081 0000").unwrap_err(), Error::HuffmanPaddingNotOnes);
    assert_eq!(decode(&mut Decoder::new(4096), "0082 07ff 00").unwrap_err(), Error::HuffmanPaddingTooLong);
}

/// What is over the limits is decoded and dropped, and the table is what the encoder thinks it is.
#[test]
fn a_section_over_the_limits_still_moves_the_table() {
    let mut decoder = Decoder::new(4096);
    let mut section = FieldSection::default();
    let block = octets("82 4001 6101 62 4001 6301 64");
    let limits = SectionLimits { list_octets: 42 + 33, fields: 128 };
    decoder.decode(&block, &limits, &mut section).unwrap();
    assert!(section.exceeded());
    assert_eq!((section.len(), section.list_octets()), (1, 42 + 34 + 34));
    assert_eq!(table(&decoder), owned(&[("c", "d"), ("a", "b")]));
    let limits = SectionLimits { list_octets: 1 << 20, fields: 2 };
    decoder.decode(&octets("8282 82"), &limits, &mut section).unwrap();
    assert_eq!((section.len(), section.exceeded()), (2, true));
}

/// CVE-2016-6581: a large entry and thousands of one-octet references to it.
#[test]
fn an_hpack_bomb_stays_inside_the_limits() {
    let mut decoder = Decoder::new(4096);
    let mut block = octets("4001 617f e01d");
    block.resize(block.len() + 3935, b'x');
    block.resize(block.len() + 16_000, 0xbe);
    let mut section = FieldSection::default();
    decoder.decode(&block, &LIMITS, &mut section).unwrap();
    assert!(section.exceeded());
    let kept: usize = section.iter().map(|field| field.name.len() + field.value.len()).sum();
    assert!(section.len() <= 4 && kept <= LIMITS.list_octets, "{} fields, {kept} octets", section.len());
    assert_eq!(section.list_octets(), 16_001 * (1 + 3935 + 32));
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(64);
    decode(&mut decoder, "4001 6101 62").unwrap();
    assert_eq!(decoder.table_entries(), 1);
    let mut block = octets("4001 6122");
    block.resize(block.len() + 0x22, b'x');
    let mut section = FieldSection::default();
    decoder.decode(&block, &LIMITS, &mut section).unwrap();
    assert_eq!((section.len(), decoder.table_entries(), decoder.table_octets()), (1, 0, 0));
}

/// §4.4: a literal may name an entry that its own insertion evicts.
#[test]
fn a_name_may_come_from_the_entry_it_evicts() {
    let mut decoder = Decoder::new(40);
    decode(&mut decoder, "4003 6b65 7905 7661 6c75 65").unwrap();
    let section = decode(&mut decoder, "7e05 6f74 6865 72").unwrap();
    assert_eq!(pairs(&section), owned(&[("key", "other")]));
    assert_eq!(table(&decoder), owned(&[("key", "other")]));
}

#[test]
fn the_epoch_changes_with_the_table_and_only_then() {
    let mut decoder = Decoder::new(4096);
    let start = decoder.epoch();
    decode(&mut decoder, "82 0001 6101 62 1001 6101 62").unwrap();
    assert_eq!(decoder.epoch(), start);
    decode(&mut decoder, "4001 6101 62").unwrap();
    let inserted = decoder.epoch();
    assert_ne!(inserted, start);
    decode(&mut decoder, "be").unwrap();
    assert_eq!(decoder.epoch(), inserted);
    decode(&mut decoder, "20").unwrap();
    assert_ne!(decoder.epoch(), inserted);
}
