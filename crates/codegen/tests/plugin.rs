//! The protoc plugin as protoc drives it: a request on standard input, a response on standard output.

// Helpers of tests are tests too, which clippy cannot see here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prost::Message;
use prost_types::compiler::code_generator_response::Feature;
use prost_types::compiler::{CodeGeneratorRequest, CodeGeneratorResponse};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// What protoc sends for `library.proto`: the file to generate, and descriptors of it and all it imports.
fn request(parameter: &str) -> CodeGeneratorRequest {
    let set = protox::compile(["library.proto"], [tests().join("protos")]).unwrap();
    CodeGeneratorRequest {
        file_to_generate: vec!["library.proto".to_owned()],
        parameter: Some(parameter.to_owned()),
        proto_file: set.file,
        compiler_version: None,
    }
}

/// Answers in this process.
fn respond(request: &CodeGeneratorRequest) -> CodeGeneratorResponse {
    CodeGeneratorResponse::decode(&*clearway_build::plugin::respond(&request.encode_to_vec())).unwrap()
}

fn run(input: &[u8]) -> CodeGeneratorResponse {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_protoc-gen-clearway"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    plugin.stdin.take().unwrap().write_all(input).unwrap();
    let output = plugin.wait_with_output().unwrap();
    assert!(output.status.success(), "errors go into the response");
    CodeGeneratorResponse::decode(&*output.stdout).unwrap()
}

#[test]
fn the_plugin_generates_what_the_build_script_does() {
    let response = run(&request("").encode_to_vec());
    assert_eq!(response.error, None);
    assert_eq!(response.supported_features(), Feature::Proto3Optional as u64);
    let names: Vec<&str> = response.file.iter().map(|file| file.name()).collect();
    assert_eq!(names, ["sample.library.v1.rs"], "imports are not generated unless asked for");
    let expected = std::fs::read_to_string(tests().join("expected/sample.library.v1.rs")).unwrap();
    assert!(
        response.file[0].content() == expected,
        "differs from tests/expected, which expected_output.rs updates"
    );
}

/// The real protoc, from `PATH` or named by `PROTOC` as other tools do, agrees with protox to the last octet.
#[test]
fn protoc_itself_gets_the_same() {
    let protoc = std::env::var_os("PROTOC").unwrap_or_else(|| "protoc".into());
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin");
    std::fs::create_dir_all(&out).unwrap();
    let outcome = Command::new(&protoc)
        .current_dir(tests().join("protos"))
        .arg(concat!("--plugin=", env!("CARGO_BIN_EXE_protoc-gen-clearway")))
        .arg(format!("--clearway_out={}", out.display()))
        .args(["-I.", "library.proto"])
        .output();
    let Ok(output) = outcome else {
        eprintln!("notice: {} is not there, the plugin is not run by it", protoc.display());
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let expected = read(tests().join("expected/sample.library.v1.rs"));
    assert!(read(out.join("sample.library.v1.rs")) == expected, "differs from tests/expected");
}

#[test]
fn every_file_asked_for_is_generated() {
    let mut request = request("include_file=mod.rs");
    request.file_to_generate.push("plain.proto".to_owned());
    let response = respond(&request);
    let names: Vec<&str> = response.file.iter().map(|file| file.name()).collect();
    assert_eq!(names, ["_.rs", "sample.library.v1.rs", "mod.rs"]);
    assert!(response.file[2].content().contains("include!(\"sample.library.v1.rs\");"));
}

#[test]
fn options_come_in_the_parameter() {
    let response = respond(&request(
        "no_server,no_transport,bytes=.,btree_map=.,extern_path=.sample.shared=::shared,codec_path=::own::Codec,\
         type_attribute=.sample.library.v1.Book=#[derive(A\\, B)],field_attribute=Book.name=#[c],\
         client_mod_attribute=Library=#[d],server_mod_attribute=Library=#[e],disable_comments=Library,\
         compile_well_known_types",
    ));
    assert_eq!(response.error, None);
    let code = response.file[0].content();
    for part in [
        "#[derive(A, B)]",
        "#[c]",
        "#[d]\npub mod library_client",
        "::own::Codec<",
        "bytes::Bytes",
        "BTreeMap",
    ] {
        assert!(code.contains(part), "{part}");
    }
    assert!(code.contains("IntoRequest<::shared::Page>"));
    assert!(code.contains("google::protobuf::Timestamp") && !code.contains("::prost_types"));
    for part in ["_server", "async fn connect", "Lends books."] {
        assert!(!code.contains(part), "{part}");
    }
    assert_eq!(respond(&request("no_client")).file[0].content().matches("_client").count(), 0);
}

#[test]
fn what_is_wrong_is_said_in_the_response() {
    let error = |parameter: &str| respond(&request(parameter)).error.unwrap();
    assert_eq!(error("colour=red"), "unknown option `colour`");
    assert_eq!(error("extern_path=.a"), "option extern_path is extern_path=PATH=VALUE");
    assert_eq!(error("bytes"), "option bytes needs a value");
    assert!(error("extern_path=a=b").contains("fully qualified"));
    assert!(run(b"\xff\xff").error.unwrap().starts_with("not a CodeGeneratorRequest: "));
    assert_eq!(run(b"").error, None, "nothing asked for, nothing generated");

    let mut editions = request("");
    editions.proto_file[0].syntax = Some("editions".to_owned());
    assert!(respond(&editions).error.unwrap().contains("syntax `editions` is not supported"));

    let mut incomplete = request("");
    incomplete.proto_file.retain(|file| file.name() != "plain.proto");
    let text = respond(&incomplete).error.unwrap();
    assert!(text.contains("library.proto:9:1: ") && text.contains("plain.proto"), "{text}");

    let mut unknown = request("");
    unknown.file_to_generate.push("other.proto".to_owned());
    assert_eq!(respond(&unknown).error.unwrap(), "other.proto: asked for, but not among the descriptors");
}

/// prost-reflect uses up the stack on them. Found by the fuzz target `plugin_request`.
#[test]
fn imports_that_go_round_in_a_circle_are_an_error() {
    let file = |name: &str, import: &str| prost_types::FileDescriptorProto {
        name: Some(name.to_owned()),
        dependency: vec![import.to_owned()],
        public_dependency: vec![0],
        ..prost_types::FileDescriptorProto::default()
    };
    for files in [vec![file("a", "a")], vec![file("a", "b"), file("b", "c"), file("c", "b")]] {
        let answer = respond(&CodeGeneratorRequest { proto_file: files, ..CodeGeneratorRequest::default() });
        assert!(answer.error().contains("circle"), "{answer:?}");
    }
}

/// Descriptors that protoc would never send get an answer too. (Libraries below us assert some things; their messages show
/// up in this test's output.)
#[test]
fn every_mutation_of_a_request_is_answered() {
    let mut request = request("include_file=mod.rs");
    // Comments and positions only multiply the cases; google's own files are not what is generated.
    request.proto_file.iter_mut().for_each(|file| file.source_code_info = None);
    let bytes = request.encode_to_vec();
    let mut state = 0x9e37_79b9_u32;
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut mutated = bytes.clone();
        for _ in 0..2 {
            // xorshift32: the same run every time.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let place = state as usize % mutated.len();
            mutated[place] ^= 1 << (state >> 29);
        }
        let answer = clearway_build::plugin::respond(&mutated);
        let answer = CodeGeneratorResponse::decode(&*answer).unwrap();
        assert!(answer.error.is_none() || answer.file.is_empty());
        refused += usize::from(answer.error.is_some());
    }
    assert!(refused > 100, "{refused} of 1,000 were refused: mutations reach the checks");
}

#[test]
fn a_person_gets_help() {
    let output =
        |argument| Command::new(env!("CARGO_BIN_EXE_protoc-gen-clearway")).arg(argument).output().unwrap();
    let version = String::from_utf8(output("--version").stdout).unwrap();
    assert_eq!(version, format!("protoc-gen-clearway {}\n", env!("CARGO_PKG_VERSION")));
    assert!(String::from_utf8(output("--help").stdout).unwrap().contains("protoc --clearway_out=DIR"));
}
