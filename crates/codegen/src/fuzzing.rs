//! What the fuzz targets of this crate do with their octets: `.proto` files and requests of protoc. Compiled for fuzzing and for
//! the tests that replay `fuzz/corpus/`; not part of the library.
//!
//! Anything may be wrong with what comes in: an error says so, and nothing panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test may fail")]

use std::path::PathBuf;

use crate::compile::compile;
use crate::generate::generate;

/// A `.proto` file of any octets: code comes of it, or an error that says what is wrong.
pub fn proto_file(octets: &[u8]) {
    let folder = folder();
    let file = folder.join("fuzzed.proto");
    std::fs::write(&file, octets).unwrap();
    let made = compile(&[&file], &[&folder]).and_then(|compiled| {
        let (options, _) = crate::configure().into_plugin_parts();
        generate(options, compiled.set.file, |_| true)
    });
    if let Err(error) = made {
        assert!(!error.to_string().is_empty());
        assert!(error.problems().iter().all(|problem| !problem.to_string().is_empty()));
    }
}

/// What protoc sends to its plugin.
pub fn plugin_request(octets: &[u8]) {
    assert!(!crate::plugin::respond(octets).is_empty(), "there is always a response");
}

/// A folder of this process and thread.
fn folder() -> PathBuf {
    let name = format!("clearway-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[cfg(test)]
mod tests {
    use clearway_testkit::fuzz::replay;

    #[test]
    fn proto_file() {
        replay("proto_file", super::proto_file);
    }

    #[test]
    fn plugin_request() {
        replay("plugin_request", super::plugin_request);
    }
}
