//! Inputs for the fuzz targets to begin with, made from the public corpora (where they lie beside the project) and by hand.
//!
//! `cargo run -p clearway-testkit --example fuzz-seeds -- FOLDER` writes `FOLDER/<target>/...`. They are not committed: what
//! libFuzzer finds from them, made small, is in `fuzz/corpus/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a tool of the developers"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An input's block cannot be longer: one octet says how long it is.
const LONGEST: usize = 250;
/// So many blocks of one story.
const BLOCKS: usize = 12;

fn main() {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).expect("FOLDER is missing");
    let data = std::env::var_os("CLEARWAY_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let mut made = by_hand(&folder);
    if data.is_dir() {
        made += hpack(&folder, &data.join("hpack-test-case"))
            + frames(&folder, &data.join("http2-frame-test-case"));
    } else {
        println!("NOTICE: {} is not there: fewer seeds", data.display());
    }
    println!("{made} seeds in {}", folder.display());
}

fn put(folder: &Path, target: &str, name: &str, octets: &[u8]) -> usize {
    let folder = folder.join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), octets).unwrap();
    1
}

fn by_hand(folder: &Path) -> usize {
    let mut made = 0;
    for (n, text) in
        ["1n", "20u", "300m", "5S", "2M", "99999999H", "00000001S", "999999999m"].iter().enumerate()
    {
        made += put(folder, "grpc_timeout", &n.to_string(), text.as_bytes());
    }
    for (n, text) in ["plain", "%09%0Atest", "100%", "%zz%4", "☺", "%E2%98%BA%FF"].iter().enumerate() {
        made += put(folder, "grpc_message", &n.to_string(), text.as_bytes());
    }
    let fields: [(&str, &str); 7] = [
        ("x-text", "value"),
        ("x-bin", "AAEC"),
        ("x-bin", "AAEC,/+8=, Zg"),
        ("grpc-status", "0"),
        ("user-agent", "a"),
        ("te", "trailers"),
        ("authorization", "secret"),
    ];
    let mut all = Vec::new();
    for (n, (name, value)) in fields.iter().enumerate() {
        let field = [&[name.len() as u8, value.len() as u8], name.as_bytes(), value.as_bytes()].concat();
        all.extend_from_slice(&field);
        made += put(folder, "metadata", &n.to_string(), &field);
    }
    made += put(folder, "metadata", "all", &all);
    let messages: &[&[u8]] = &[
        &[0, 0, 0, 0, 0, 0],
        &[2, 3, 4, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 1, 9],
        &[1, 7, 1, 0, 0, 0, 2, 1, 2],
        &[1, 7, 0, 0xff, 0xff, 0xff, 0xff, 2],
        &[1, 7, 2, 0, 0, 0, 1, 2],
    ];
    for (n, octets) in messages.iter().enumerate() {
        made += put(folder, "messages", &n.to_string(), octets);
    }
    made
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16).unwrap()).collect()
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

/// The first blocks of some stories of every encoder.
fn hpack(folder: &Path, data: &Path) -> usize {
    let mut made = 0;
    let encoders = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    for encoder in encoders.filter(|path| path.is_dir() && !path.ends_with("raw-data")) {
        let name = encoder.file_name().unwrap().to_string_lossy().into_owned();
        for (n, story) in json_files(&encoder).iter().step_by(6).enumerate() {
            let story: Value = serde_json::from_str(&fs::read_to_string(story).unwrap()).unwrap();
            let cases = story["cases"].as_array().unwrap();
            let blocks: Vec<Vec<u8>> =
                cases.iter().take(BLOCKS).map(|case| octets(case["wire"].as_str().unwrap())).collect();
            let short = || blocks.iter().filter(|block| block.len() <= LONGEST);
            let mut decode = vec![128, 255, 64];
            short().for_each(|block| decode.extend([&[block.len() as u8], &block[..]].concat()));
            made += put(folder, "hpack_decode", &format!("{name}-{n}"), &decode);
            let mut sections = Vec::new();
            short().for_each(|block| sections.extend([&[0, block.len() as u8], &block[..]].concat()));
            sections.extend([1, 0, 1, 1]);
            made += put(folder, "field_blocks", &format!("{name}-{n}"), &sections);
        }
    }
    made
}

fn frames(folder: &Path, data: &Path) -> usize {
    let mut made = 0;
    for kind in fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = kind.file_name().unwrap().to_string_lossy().into_owned();
        for (n, path) in json_files(&kind).iter().enumerate() {
            let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            let wire = octets(case["wire"].as_str().unwrap());
            let stream = if wire[5..9] == [0; 4] { 0 } else { 1 };
            let input = [&[wire[3], wire[4], stream], &wire[9..]].concat();
            made += put(folder, "frame", &format!("{name}-{n}"), &input);
            made += put(folder, "splits", &format!("{name}-{n}"), &[&[3, 0], &wire[..]].concat());
        }
    }
    made
}
