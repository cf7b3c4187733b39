//! The public corpora of encoded header lists: ten encoders, and the lists they started from.

use std::fs;
use std::path::Path;

use clearway_http2::hpack::{Decoder, Encoder, FieldSection, HeaderField, Indexing, SectionLimits};
use serde_json::Value;

const ENCODERS: [&str; 10] = [
    "go-hpack",
    "haskell-http2-linear",
    "haskell-http2-linear-huffman",
    "haskell-http2-naive",
    "haskell-http2-naive-huffman",
    "haskell-http2-static",
    "haskell-http2-static-huffman",
    "nghttp2",
    "nghttp2-16384-4096",
    "python-hpack",
];

const LIMITS: SectionLimits = SectionLimits { list_octets: 1 << 20, fields: 1 << 12 };

/// One header list as it is in the file, in order, duplicates included.
fn headers(case: &Value) -> Vec<(String, String)> {
    let maps = case["headers"].as_array().unwrap();
    maps.iter()
        .flat_map(|map| map.as_object().unwrap())
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

fn fields(section: &FieldSection) -> Vec<(String, String)> {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    section.iter().map(|field| (text(field.name), text(field.value))).collect()
}

/// The cases of every story in a folder, one list for each compression context.
fn stories(folder: &Path) -> Vec<Vec<Value>> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    paths.into_iter().map(|path| read(path)["cases"].as_array().unwrap().clone()).collect()
}

/// Every block of ten encoders decodes to the header list it was made from.
///
/// `header_table_size` is the setting agreed before a case; the size in use follows only by a size update in the block.
#[test]
fn every_block_of_ten_encoders_decodes() {
    let Some(data) = crate::data_set("hpack-test-case") else { return };
    let (mut stories_read, mut blocks) = (0, 0);
    for encoder in ENCODERS {
        let mut here = 0;
        for (story, cases) in stories(&data.join(encoder)).iter().enumerate() {
            stories_read += 1;
            let mut decoder = Decoder::new(4096);
            let mut section = FieldSection::default();
            for case in cases {
                if let Some(size) = case["header_table_size"].as_u64() {
                    decoder.set_max_table_octets(u32::try_from(size).unwrap());
                }
                let wire = crate::octets(case["wire"].as_str().unwrap());
                let verdict = decoder.decode(&wire, &LIMITS, &mut section);
                assert_eq!(verdict, Ok(()), "{encoder}, story {story}, case {}", case["seqno"]);
                assert_eq!(
                    fields(&section),
                    headers(case),
                    "{encoder}, story {story}, case {}",
                    case["seqno"]
                );
                assert!(decoder.table_octets() <= decoder.table_capacity());
                here += 1;
            }
        }
        println!("{encoder}: {here} blocks");
        blocks += here;
    }
    println!("{blocks} blocks of {stories_read} stories decoded");
    assert_eq!((stories_read, blocks), (319, 33_723));
}

/// What our encoder makes of the raw lists, our decoder turns back into them, with both tables alike.
#[test]
fn our_own_blocks_decode_to_the_raw_lists() {
    let Some(data) = crate::data_set("hpack-test-case") else { return };
    let (mut blocks, mut plain, mut coded) = (0, 0, 0);
    for cases in stories(&data.join("raw-data")) {
        for indexing in [Indexing::Insert, Indexing::Without, Indexing::Never] {
            let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
            let mut section = FieldSection::default();
            for case in &cases {
                let list = headers(case);
                let mut block = Vec::new();
                encoder.begin(&mut block);
                for (name, value) in &list {
                    let field = HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing };
                    encoder.encode(field, &mut block);
                }
                decoder.decode(&block, &LIMITS, &mut section).unwrap();
                assert_eq!(fields(&section), list);
                assert_eq!(encoder.table_octets(), decoder.table_octets());
                assert!(indexing != Indexing::Never || section.iter().all(|field| field.sensitive));
                blocks += 1;
                if indexing == Indexing::Insert {
                    plain += list.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
                    coded += block.len();
                }
            }
        }
    }
    println!("{blocks} blocks encoded and decoded; {plain} octets of fields took {coded} with indexing");
    assert!(blocks > 3000 && coded * 2 < plain, "{blocks} blocks, {coded} of {plain} octets");
}
