//! HPACK (RFC 7541) against data other people made, and properties over random input.
//!
//! The data sets lie beside the project (CLEARWAY_TEST_DATA names another place); without them those tests print a
//! notice and pass. Appendix C of the RFC is in the unit tests of the decoder and the encoder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod corpora;
mod frames;
mod properties;

use std::path::PathBuf;

/// A data set's folder, or none with a notice.
fn data_set(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CLEARWAY_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("NOTICE: {} is not there: skipped", folder.display());
    None
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16).unwrap()).collect()
}
