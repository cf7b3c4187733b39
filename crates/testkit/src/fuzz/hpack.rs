//! HPACK by itself: any blocks decode within their limits, and what is encoded decodes to the same. RFC 7541.

use clearway_http2::hpack::{Decoder, Encoder, FieldSection, HeaderField, Indexing, Part, SectionLimits};

use super::Input;

/// No limit that a fuzzed block could reach.
pub(super) const UNLIMITED: SectionLimits = SectionLimits { list_octets: usize::MAX, fields: usize::MAX };

/// Any blocks, with changes of the table's limit between them.
///
/// Two decoders read each block, one of them under limits: both must come to the same verdict and the same table, and what
/// the limited one keeps must be the beginning of what the other keeps.
///
/// # Panics
/// If the decoder is wrong.
pub fn hpack_decode(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut largest = u32::from(input.octet()) * 32;
    let limits =
        SectionLimits { list_octets: usize::from(input.octet()) * 16, fields: usize::from(input.octet()) };
    let (mut free, mut limited) = (Decoder::new(largest), Decoder::new(largest));
    let (mut whole, mut kept) = (FieldSection::default(), FieldSection::default());
    while !input.is_empty() {
        let block = match input.octet() {
            255 => {
                let table = u32::from(input.octet()) * 40;
                largest = largest.max(table);
                free.set_max_table_octets(table);
                limited.set_max_table_octets(table);
                continue;
            }
            254 => input.rest(),
            length => input.take(usize::from(length)),
        };
        let verdict = free.decode(block, &UNLIMITED, &mut whole);
        assert_eq!(limited.decode(block, &limits, &mut kept), verdict, "limits change the verdict");
        assert!(free.table().eq(limited.table()), "limits change the table");
        let size: usize = free.table().map(|(name, value)| name.len() + value.len() + 32).sum();
        assert_eq!((size, free.table().count()), (free.table_octets(), free.table_entries()));
        assert!(size <= free.table_capacity() && free.table_capacity() <= largest as usize);
        let cost: usize = kept.iter().map(|field| field.name.len() + field.value.len() + 32).sum();
        assert!(cost <= limits.list_octets && kept.len() <= limits.fields);
        if verdict.is_err() {
            return;
        }
        assert_eq!(whole.list_octets(), kept.list_octets(), "what is dropped counts");
        assert!(whole.iter().take(kept.len()).eq(kept.iter()));
        assert_eq!(kept.exceeded(), kept.len() < whole.len());
    }
}

/// Sections encoded by every way there is, with changes of the peer's limit between them, decode to what they were; both
/// tables stay alike.
///
/// # Panics
/// If encoder or decoder is wrong.
pub fn hpack_identity(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut encoder = Encoder::new(u32::from(input.octet()) * 32);
    let mut decoder = Decoder::new(4096);
    let mut section = FieldSection::default();
    let mut sections: Vec<Vec<HeaderField<'_>>> = Vec::new();
    while !input.is_empty() {
        let how = input.below(8);
        if how == 0 {
            let limit = u32::from(input.octet()) * 40;
            encoder.set_peer_limit(limit);
            decoder.set_max_table_octets(limit);
            continue;
        }
        // A section that came before, or a new one.
        if how < 3 || sections.is_empty() {
            sections.push(new_section(&mut input));
        }
        let at = input.below(sections.len());
        let mut block = Vec::new();
        let mut expected: Vec<HeaderField<'_>> = Vec::new();
        match how {
            4 => {
                let second = input.below(sections.len());
                let between = input.flag().then(|| new_field(&mut input));
                let part = |number: usize| Part { number, fields: &sections[number] };
                encoder.encode_parts(part(at), between, part(second), &mut block);
                expected.extend(
                    sections[at].iter().copied().chain(between).chain(sections[second].iter().copied()),
                );
            }
            5 => {
                encoder.encode_fixed(FIXED, &mut block);
                expected.extend(FIXED);
            }
            6 => {
                encoder.begin(&mut block);
                sections[at].iter().for_each(|field| encoder.encode(*field, &mut block));
                expected.extend(&sections[at]);
            }
            _ => {
                encoder.encode_section(sections[at].iter().copied(), &mut block);
                expected.extend(&sections[at]);
            }
        }
        decoder.decode(&block, &UNLIMITED, &mut section).expect("what was encoded");
        assert_eq!(section.len(), expected.len());
        for (sent, got) in expected.iter().zip(section.iter()) {
            assert_eq!((sent.name, sent.value), (got.name, got.value));
            assert!(got.sensitive || sent.indexing != Indexing::Never, "a secret was indexed");
        }
        assert_eq!(encoder.table_octets(), decoder.table_octets(), "the tables differ");
    }
}

/// Fields that are part of the program.
const FIXED: &[HeaderField<'static>] = &[
    HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert },
    HeaderField { name: b"content-type", value: b"application/grpc", indexing: Indexing::Insert },
    HeaderField { name: b"grpc-status", value: b"0", indexing: Indexing::Without },
];

fn new_section<'a>(input: &mut Input<'a>) -> Vec<HeaderField<'a>> {
    (0..input.below(8)).map(|_| new_field(input)).collect()
}

fn new_field<'a>(input: &mut Input<'a>) -> HeaderField<'a> {
    let names: [&[u8]; 6] = [b":path", b"content-type", b"authorization", b"grpc-timeout", b"a", b"cookie"];
    let choice = input.octet();
    let indexing = match choice % 4 {
        0 => Indexing::Without,
        1 => Indexing::Never,
        _ => Indexing::Insert,
    };
    let name = match usize::from(choice >> 2) % 8 {
        known @ 0..6 => names[known],
        _ => input.string(),
    };
    HeaderField { name, value: input.string(), indexing }
}
