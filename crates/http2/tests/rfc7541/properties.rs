//! Properties over random input: nothing panics, limits hold, encoding and decoding are inverse.

use clearway_http2::hpack::{Decoder, Encoder, FieldSection, HeaderField, Indexing, SectionLimits};
use proptest::collection::vec;
use proptest::prelude::*;

fn indexing() -> impl Strategy<Value = Indexing> {
    prop_oneof![Just(Indexing::Insert), Just(Indexing::Without), Just(Indexing::Never)]
}

/// Names and values of every length that matters: empty, short, around the Huffman threshold, larger than the table.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b":path".to_vec()),
        Just(b"content-type".to_vec()),
        Just(b"a".to_vec()),
        vec(any::<u8>(), 0..40),
        vec(b'a'..=b'z', 0..60),
        vec(any::<u8>(), 0..300),
    ]
}

/// Octets that look like a block more often than noise does: opcodes with small operands among them.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(prop_oneof![0x80u8..0xc8, 0x00u8..0x08, Just(0x40), Just(0x20), Just(0x3f), Just(0xff)], 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn decoding_anything_never_panics_and_keeps_the_limits(
        blocks in vec(noise(), 1..8), table in 0u32..5000, list_octets in 0usize..2000, fields in 0usize..20,
    ) {
        let mut decoder = Decoder::new(table);
        let mut section = FieldSection::default();
        let limits = SectionLimits { list_octets, fields };
        for block in &blocks {
            let verdict = decoder.decode(block, &limits, &mut section);
            let kept: usize = section.iter().map(|field| field.name.len() + field.value.len() + 32).sum();
            prop_assert!(kept <= list_octets && section.len() <= fields);
            prop_assert!(decoder.table_octets() <= decoder.table_capacity());
            prop_assert!(decoder.table_capacity() <= table as usize);
            if verdict.is_err() {
                break;
            }
        }
    }

    #[test]
    fn encoding_and_decoding_is_the_identity(
        sections in vec(vec((text(), text(), indexing()), 0..12), 1..12), ours in 0u32..6000, limit in 0u32..6000,
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(ours), Decoder::new(4096));
        let mut out = FieldSection::default();
        let limits = SectionLimits { list_octets: usize::MAX, fields: usize::MAX };
        for (round, fields) in sections.iter().enumerate() {
            if round == 1 {
                encoder.set_peer_limit(limit);
                decoder.set_max_table_octets(limit);
            }
            let mut block = Vec::new();
            encoder.begin(&mut block);
            for (name, value, indexing) in fields {
                encoder.encode(HeaderField { name, value, indexing: *indexing }, &mut block);
            }
            prop_assert_eq!(decoder.decode(&block, &limits, &mut out), Ok(()));
            prop_assert_eq!(out.len(), fields.len());
            for (sent, got) in fields.iter().zip(out.iter()) {
                prop_assert_eq!((&sent.0[..], &sent.1[..]), (got.name, got.value));
                prop_assert!(got.sensitive || sent.2 != Indexing::Never);
            }
            prop_assert_eq!(encoder.table_octets(), decoder.table_octets());
        }
    }

    /// What arrives in one piece or in none must not matter to a later block: a decoder that took a block is as good as
    /// the encoder's copy of the table, and a cut block is an error or a shorter list, never something else.
    #[test]
    fn a_cut_block_yields_a_prefix_or_an_error(
        fields in vec((text(), text(), indexing()), 1..8), cut in any::<prop::sample::Index>(),
    ) {
        let mut encoder = Encoder::new(4096);
        let mut block = Vec::new();
        encoder.begin(&mut block);
        for (name, value, indexing) in &fields {
            encoder.encode(HeaderField { name, value, indexing: *indexing }, &mut block);
        }
        let mut out = FieldSection::default();
        let limits = SectionLimits { list_octets: usize::MAX, fields: usize::MAX };
        if Decoder::new(4096).decode(&block[..cut.index(block.len())], &limits, &mut out).is_ok() {
            prop_assert!(out.len() <= fields.len());
            for (sent, got) in fields.iter().zip(out.iter()) {
                prop_assert_eq!((&sent.0[..], &sent.1[..]), (got.name, got.value));
            }
        }
    }
}
