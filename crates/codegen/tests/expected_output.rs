//! What is generated for `tests/protos`, compared with the files in `tests/expected`.
//!
//! `CLEARWAY_UPDATE_EXPECTED=1 cargo test -p clearway-build` writes those files anew; the difference is then for a
//! reviewer to read. `generated_code.rs` compiles and calls the same files.

// Helpers of tests are tests too, which clippy cannot see here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protos")
}

/// A directory of its own for each test, empty.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("expected_output").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn files(path: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), read(entry.path()))).collect()
}

fn generate(out: &Path, configure: impl FnOnce(clearway_build::Builder) -> clearway_build::Builder) {
    let builder = clearway_build::configure().out_dir(out).emit_rerun_if_changed(false);
    configure(builder).compile_protos(&[protos().join("library.proto")], &[protos()]).unwrap();
}

#[test]
fn the_output_is_what_was_reviewed() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected");
    if std::env::var_os("CLEARWAY_UPDATE_EXPECTED").is_some() {
        fs::create_dir_all(&expected).unwrap();
        files(&expected).keys().for_each(|name| fs::remove_file(expected.join(name)).unwrap());
        generate(&expected, |builder| builder.include_file("mod.rs"));
    }
    let out = scratch("reviewed");
    generate(&out, |builder| builder.include_file("mod.rs"));

    let (actual, expected) = (files(&out), files(&expected));
    assert_eq!(actual.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, code) in &actual {
        let difference = code.lines().zip(expected[name].lines()).find(|(ours, theirs)| ours != theirs);
        assert_eq!(difference, None, "in {name}, generated and expected");
        assert_eq!(code.lines().count(), expected[name].lines().count(), "lines of {name}");
    }
}

#[test]
fn one_side_can_be_left_out() {
    let out = scratch("client");
    generate(&out, |builder| builder.build_server(false).build_transport(false));
    let code = &files(&out)["sample.library.v1.rs"];
    assert!(code.contains("pub mod library_client {"));
    assert!(code.contains("pub struct LibraryClient<T> {"), "no default transport");
    assert!(!code.contains("async fn connect"));
    assert!(!code.contains("_server"));

    let out = scratch("server");
    generate(&out, |builder| builder.build_client(false));
    let code = &files(&out)["sample.library.v1.rs"];
    assert!(code.contains("pub mod library_server {"));
    assert!(!code.contains("_client"));
}

#[test]
fn options_reach_what_their_paths_cover() {
    let out = scratch("options");
    generate(&out, |builder| {
        builder
            .type_attribute(".sample.library.v1.Book", "#[derive(A)]")
            .field_attribute("Book.name", "#[b]")
            .message_attribute(".sample.library.v1.Book", "#[m]")
            .enum_attribute(".sample.library.v1", "#[e]")
            .boxed("Book.printed")
            .skip_debug(".sample.library.v1.GetBookRequest")
            .client_mod_attribute("Library", "#[c]")
            .server_mod_attribute(".sample.library.v1.Old", "#[d]")
            .bytes(".")
            .btree_map("notes")
            .codec_path("::own::Codec")
            .disable_comments(".sample.library.v1.Library.GetBook")
    });
    let code = &files(&out)["sample.library.v1.rs"];
    assert!(code.contains("#[derive(A)]\n"));
    assert!(code.contains("#[b]\n    pub name:"));
    assert!(code.contains("#[m]\n") && code.contains("#[e]\n"));
    assert!(code.contains("::core::option::Option<::clearway::codegen::prost::alloc::boxed::Box<"), "{code}");
    assert!(code.contains("#[prost(skip_debug)]"), "{code}");
    assert!(code.contains("#[c]\npub mod library_client {") && !code.contains("#[c]\npub mod old_client"));
    assert!(code.contains("#[d]\npub mod old_server {") && !code.contains("#[d]\npub mod library_server"));
    assert!(code.contains("pub cover: ::clearway::codegen::prost::bytes::Bytes"), "{code}");
    assert!(code.contains("BTreeMap<"));
    assert!(code.contains("let codec: ::own::Codec<super::GetBookRequest, super::Book> ="));
    assert!(!code.contains("One request, one response."));
    assert!(code.contains("Responses of one request"));
}

#[test]
fn extern_paths_replace_a_package() {
    let out = scratch("extern");
    generate(&out, |builder| {
        builder.extern_path(".sample.shared", "shared_types").extern_path(".Plain", "crate::P")
    });
    let files = files(&out);
    assert!(!files.contains_key("sample.shared.rs"));
    let code = &files["sample.library.v1.rs"];
    assert!(code.contains("::clearway::IntoRequest<shared_types::Page>"), "{code}");
    assert!(code.contains("::clearway::Request<crate::P>"));
}

#[test]
fn well_known_types_can_be_generated() {
    let out = scratch("well_known");
    generate(&out, |builder| builder.compile_well_known_types(true));
    let files = files(&out);
    assert!(files["google.protobuf.rs"].contains("pub struct Timestamp"));
    let code = &files["sample.library.v1.rs"];
    assert!(code.contains("IntoRequest<super::super::super::super::google::protobuf::Timestamp>"), "{code}");
}

#[test]
fn the_descriptor_set_has_the_imports() {
    use prost::Message;

    let out = scratch("descriptors");
    let path = out.join("set.bin");
    generate(&out, |builder| builder.file_descriptor_set_path(&path));
    let set = prost_types::FileDescriptorSet::decode(&*fs::read(path).unwrap()).unwrap();
    let names: Vec<&str> = set.file.iter().map(prost_types::FileDescriptorProto::name).collect();
    assert_eq!(names.last(), Some(&"library.proto"));
    for import in ["google/protobuf/timestamp.proto", "plain.proto", "shared/paging.proto"] {
        assert!(names.contains(&import), "{names:?}");
    }

    let again = scratch("from_descriptors");
    clearway_build::configure().out_dir(&again).compile_fds(set).unwrap();
    let (first, second) = (files_of_code(&out), files_of_code(&again));
    assert_eq!(first, second);
}

fn files_of_code(path: &Path) -> BTreeMap<String, String> {
    fs::remove_file(path.join("set.bin")).unwrap_or_default();
    files(path)
}

#[test]
fn an_unchanged_file_is_not_written_again() {
    let out = scratch("unchanged");
    generate(&out, |builder| builder);
    let path = out.join("sample.shared.rs");
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    generate(&out, |builder| builder);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}
