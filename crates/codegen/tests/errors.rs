//! What a person reads when a `.proto` file is wrong: the file as they named it, line and column, and the reason.

// Helpers of tests are tests too, which clippy cannot see here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use clearway_build::Error;

/// A directory with one file, `broken.proto`, of a test's own.
fn write(name: &str, proto: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("errors").join(name);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("broken.proto"), proto).unwrap();
    path
}

fn compile(directory: &Path, proto: &str) -> Result<(), Error> {
    clearway_build::configure()
        .out_dir(directory)
        .emit_rerun_if_changed(false)
        .compile_protos(&[directory.join(proto)], &[directory])
}

/// The whole error, with the directory cut off.
fn error(name: &str, proto: &str) -> String {
    let directory = write(name, proto);
    let error = compile(&directory, "broken.proto").unwrap_err();
    assert_eq!(format!("{error}"), format!("{error:?}"), "build scripts print Debug");
    error.to_string().replace(&format!("{}/", directory.display()), "")
}

#[test]
fn a_syntax_error_has_its_place() {
    assert_eq!(
        error("syntax", "syntax = \"proto3\";\n\nmessage A {\n  string name 1;\n}\n"),
        "broken.proto:4:15: expected '=', but found '1'"
    );
}

#[test]
fn every_syntax_error_is_reported() {
    let text = error(
        "two",
        "syntax = \"proto3\";\nmessage A {\n  strin g name = 1;\n  int32 b = 0x;\n}\nservice {}\n",
    );
    assert!(text.lines().count() > 1, "{text}");
    assert!(text.starts_with("broken.proto:3:11: "), "{text}");
}

#[test]
fn a_missing_end_has_the_end_as_its_place() {
    let text = error("end", "syntax = \"proto3\";\nmessage A {\n  int32 b = 1;\n\n");
    assert!(text.starts_with("broken.proto:3:15: expected"), "{text}");
    assert!(text.ends_with("but reached end of file"), "{text}");
}

#[test]
fn an_unknown_type_has_its_place() {
    let proto = "syntax = \"proto3\";\npackage p;\nservice S {\n  rpc Go(Missing) returns (S);\n}\n";
    assert!(error("unknown", proto).starts_with("broken.proto:4:10: name 'Missing' is not defined"));
}

#[test]
fn a_column_counts_characters() {
    let proto = "syntax = \"proto3\";\nmessage A { /* größer */ B b = 1; }\n";
    let text = error("column", proto);
    assert!(text.starts_with("broken.proto:2:26: name 'B' is not defined"), "{text}");
    let text = error("column_syntax", "syntax = \"proto3\";\nmessage A { /* größer */ 5; }\n");
    assert!(text.starts_with("broken.proto:2:26: expected"), "{text}");
}

#[test]
fn a_number_used_twice_names_both_places() {
    let proto = "syntax = \"proto3\";\nmessage A {\n  int32 b = 1;\n  int32 c = 1;\n}\n";
    let text = error("twice", proto);
    assert!(text.starts_with("broken.proto:4:"), "the second one is wrong: {text}");
    assert!(text.contains("\n  broken.proto:3:"), "and clashes with the first: {text}");
}

#[test]
fn a_missing_import_is_named_where_it_is_imported() {
    let text = error("import", "syntax = \"proto3\";\nimport \"nowhere.proto\";\n");
    assert!(text.starts_with("broken.proto:2:"), "{text}");
    assert!(text.contains("import 'nowhere.proto' not found"), "{text}");
}

#[test]
fn methods_that_coincide_in_rust_are_named() {
    let proto = "syntax = \"proto3\";\npackage p;\nmessage M {}\nservice S {\n  rpc GetIt(M) returns (M);\n  \
                 rpc get_it(M) returns (M);\n}\n";
    assert_eq!(
        error("coincide", proto),
        "broken.proto:6:3: service S: methods GetIt and get_it are both `get_it` in Rust"
    );
}

#[test]
fn modules_that_coincide_in_rust_are_named() {
    let proto =
        "syntax = \"proto3\";\npackage p;\nmessage EchoClient { message Inner {} }\nservice Echo {}\n";
    let text = error("modules", proto);
    assert!(text.contains("two items generate the Rust module `echo_client`"), "{text}");
}

#[test]
fn an_edition_is_refused() {
    let text = error("edition", "edition = \"2023\";\nmessage A {}\n");
    assert!(text.starts_with("broken.proto:1:1: "), "{text}");
}

#[test]
fn files_that_are_not_there_are_named() {
    let directory = write("absent", "syntax = \"proto3\";\n");
    let error = compile(&directory, "other.proto").unwrap_err();
    assert_eq!(error.to_string(), format!("{}/other.proto: no such file", directory.display()));

    let outside = write("outside", "syntax = \"proto3\";\n").join("broken.proto");
    let error = clearway_build::configure()
        .out_dir(&directory)
        .emit_rerun_if_changed(false)
        .compile_protos(&[&outside], &[&directory])
        .unwrap_err();
    assert!(error.to_string().contains("is not in any include path"), "{error}");
}

#[test]
fn problems_can_be_read_one_by_one() {
    let directory = write("problems", "syntax = \"proto3\";\nmessage A {\n  B b = 1;\n}\n");
    let error = compile(&directory, "broken.proto").unwrap_err();
    let problem = &error.problems()[0];
    assert_eq!((problem.line(), problem.column()), (Some(3), Some(3)));
    assert_eq!(problem.file().map(Path::new), Some(&*directory.join("broken.proto")));
    assert_eq!(problem.message(), "name 'B' is not defined");
    let io: std::io::Error = error.into();
    assert!(io.to_string().ends_with("name 'B' is not defined"));
}

#[test]
fn an_output_directory_that_is_not_there_is_named() {
    let directory = write("output", "syntax = \"proto3\";\npackage p;\nmessage A {}\n");
    let nowhere = directory.join("nowhere");
    let error = clearway_build::configure()
        .out_dir(&nowhere)
        .emit_rerun_if_changed(false)
        .compile_protos(&[directory.join("broken.proto")], &[&directory])
        .unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot write {}/p.rs: ", nowhere.display())), "{error}");
}
