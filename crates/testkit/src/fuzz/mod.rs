//! What the fuzz targets of the engine do with their octets, and how committed inputs replay as plain tests.
//!
//! A target is a function from octets to nothing that panics when something is wrong. libFuzzer calls it from `fuzz/`; a test of
//! the crate calls it for every file of `fuzz/corpus/<target>/`, so that what was found once is looked at in every
//! `cargo test`. The bodies for gRPC and for code generation are in those crates: they need what is private there.
//!
//! Left out: anything random. The same octets are the same run.

#![allow(clippy::cast_possible_truncation, reason = "numbers are taken from octets")]

mod blocks;
mod dialogue;
mod engines;
mod frame;
mod hpack;
mod input;
mod splits;

use std::path::Path;

pub use blocks::field_blocks;
pub use dialogue::{connection_client, connection_server};
pub use engines::engines;
pub use frame::frame;
pub use hpack::{hpack_decode, hpack_identity};
pub use input::Input;
pub use splits::splits;

/// Runs a target's body on each of its committed inputs.
///
/// # Panics
/// If the body does, or if there are no inputs: then nothing would be tested.
pub fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let octets = std::fs::read(path).unwrap();
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&octets)));
        assert!(verdict.is_ok(), "{} fails", path.display());
    }
    println!("{target}: {} inputs", paths.len());
    assert!(!paths.is_empty(), "{} is empty", folder.display());
}
