//! The files in `proto/` compared with what their owners published: names, numbers and types.
//!
//! The published descriptors are those that Go modules carry inside their generated code. The modules are looked for in Go's
//! module cache, or where an environment variable says (`CLEARWAY_GRPC_GO`, `CLEARWAY_CONFORMANCE_GO`,
//! `CLEARWAY_GENPROTO_GO`); without one its test prints a notice and passes. Of any version but the one that was compared to the
//! last field, what is new is no error.

// Helpers of tests are tests too, which clippy cannot see here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, ServiceDescriptorProto};

/// A Go module that carries what we serve or call.
struct Module {
    /// Where it is, if not in the module cache.
    variable: &'static str,
    /// Its place in the module cache.
    folder: &'static str,
    name: &'static str,
    /// The version our files were compared with to the last field.
    version: &'static str,
    /// Our files and the Go files that carry the same.
    files: &'static [(&'static str, &'static str)],
}

const GRPC: Module = Module {
    variable: "CLEARWAY_GRPC_GO",
    folder: "google.golang.org",
    name: "grpc",
    version: "1.83.1",
    files: &[
        ("grpc/testing/empty.proto", "interop/grpc_testing/empty.pb.go"),
        ("grpc/testing/messages.proto", "interop/grpc_testing/messages.pb.go"),
        ("grpc/testing/test.proto", "interop/grpc_testing/test.pb.go"),
    ],
};

const CONFORMANCE: Module = Module {
    variable: "CLEARWAY_CONFORMANCE_GO",
    folder: "connectrpc.com",
    name: "conformance",
    version: "1.0.5",
    files: &[
        (
            "connectrpc/conformance/v1/config.proto",
            "internal/gen/proto/go/connectrpc/conformance/v1/config.pb.go",
        ),
        (
            "connectrpc/conformance/v1/service.proto",
            "internal/gen/proto/go/connectrpc/conformance/v1/service.pb.go",
        ),
        (
            "connectrpc/conformance/v1/server_compat.proto",
            "internal/gen/proto/go/connectrpc/conformance/v1/server_compat.pb.go",
        ),
        (
            "connectrpc/conformance/v1/client_compat.proto",
            "internal/gen/proto/go/connectrpc/conformance/v1/client_compat.pb.go",
        ),
    ],
};

const RPC: Module = Module {
    variable: "CLEARWAY_GENPROTO_GO",
    folder: "google.golang.org/genproto/googleapis",
    name: "rpc",
    version: "0.0.0",
    files: &[("google/rpc/status.proto", "status/status.pb.go")],
};

impl Module {
    /// The version that was compared with if it is there, otherwise the newest in the module cache.
    fn published(&self) -> Option<PathBuf> {
        if let Some(path) = std::env::var_os(self.variable) {
            return Some(path.into());
        }
        let output = Command::new("go").args(["env", "GOMODCACHE"]).output().ok()?;
        let cache = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()).join(self.folder);
        let modules = fs::read_dir(cache).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        let version = |path: &PathBuf| -> Option<Vec<u32>> {
            let (name, version) = path.file_name()?.to_str()?.split_once("@v")?;
            // A version without a tag has more to it than three numbers.
            let numbers = version.split('-').next()?.split('.').map(|number| number.parse().ok());
            (name == self.name).then(|| numbers.collect()).flatten()
        };
        modules
            .filter(|path| version(path).is_some())
            .max_by_key(|path| (self.is_compared(path), version(path), path.clone()))
    }

    fn is_compared(&self, path: &Path) -> bool {
        path.ends_with(format!("{}@v{}", self.name, self.version))
    }

    /// Compares our files with the published ones.
    fn compare(&self) {
        let Some(module) = self.published() else {
            eprintln!(
                "notice: no {}/{} in Go's module cache, proto/ is not compared with it",
                self.folder, self.name
            );
            return;
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
        for (proto, go) in self.files {
            let ours = protox::compile([proto], [&root]).unwrap().file.pop().unwrap();
            assert_eq!(ours.name(), *proto);
            let (ours, theirs) = (items(&ours), items(&descriptor(&module.join(go))));
            for (name, item) in &ours {
                let published =
                    &theirs.get(name).unwrap_or_else(|| panic!("{name} in {proto} was never published"));
                if self.is_compared(&module) {
                    assert_eq!(&item, published, "{name} in {proto}");
                }
                let missing =
                    item.lines().find(|line| !published.lines().any(|published| published == *line));
                assert_eq!(missing, None, "of {name} in {proto}; published: {published}");
            }
        }
    }
}

/// The descriptor in a file that protoc-gen-go wrote: `const file_.._rawDesc = "" + "..." + "..."`, or in older files
/// `var file_.._rawDesc = []byte{0x0a, 0x2f, ...}`.
fn descriptor(go: &Path) -> FileDescriptorProto {
    let text = fs::read_to_string(go).unwrap();
    let bytes: Vec<u8> = match text.split_once("_rawDesc = []byte{\n") {
        Some((_, octets)) => {
            let (octets, _) = octets.split_once('}').unwrap();
            let octets = octets.split(',').map(str::trim).filter(|octet| !octet.is_empty());
            octets.map(|octet| u8::from_str_radix(octet.strip_prefix("0x").unwrap(), 16).unwrap()).collect()
        }
        None => {
            let (_, literal) = text.split_once("_rawDesc = \"\" +\n").unwrap();
            let lines = literal.lines().map(str::trim).map(|line| line.strip_suffix(" +").unwrap_or(line));
            lines.map_while(|line| line.strip_prefix('"')?.strip_suffix('"')).flat_map(unescape).collect()
        }
    };
    FileDescriptorProto::decode(&*bytes).unwrap()
}

/// The octets of an interpreted Go string literal.
fn unescape(literal: &str) -> Vec<u8> {
    let mut bytes = literal.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'a' => 0x07,
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 0x0b,
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                same @ (b'\\' | b'"') => same,
                other => panic!("escape \\{} is not known", other as char),
            },
            plain => plain,
        });
    }
    out
}

/// Everything of a message that the wire, JSON or a generated name depends on.
fn message(prefix: &str, message: &DescriptorProto, out: &mut BTreeMap<String, String>) {
    let name = format!("{prefix}.{}", message.name());
    let oneof = |index: i32| message.oneof_decl[usize::try_from(index).unwrap()].name().to_owned();
    let mut fields: Vec<String> = message
        .field
        .iter()
        .map(|field| {
            let (kind, label) = (field.r#type(), field.label());
            let oneof = field.oneof_index.map(oneof);
            let (number, name, ty) = (field.number(), field.name(), field.type_name());
            format!(
                "{number} {name} {kind:?} {label:?} {ty} {oneof:?} {} {:?}",
                field.json_name(),
                field.proto3_optional
            )
        })
        .collect();
    fields.sort();
    out.insert(name.clone(), fields.join("\n"));
    message.nested_type.iter().for_each(|nested| self::message(&name, nested, out));
    message.enum_type.iter().for_each(|nested| enumeration(&name, nested, out));
}

fn enumeration(prefix: &str, of: &EnumDescriptorProto, out: &mut BTreeMap<String, String>) {
    let values: Vec<String> =
        of.value.iter().map(|value| format!("{} {}", value.number(), value.name())).collect();
    out.insert(format!("{prefix}.{}", of.name()), values.join("\n"));
}

fn service(prefix: &str, of: &ServiceDescriptorProto, out: &mut BTreeMap<String, String>) {
    let mut methods: Vec<String> = of
        .method
        .iter()
        .map(|method| {
            let streams = (method.client_streaming(), method.server_streaming());
            format!("{} {} {} {streams:?}", method.name(), method.input_type(), method.output_type())
        })
        .collect();
    methods.sort();
    out.insert(format!("{prefix}.{}", of.name()), methods.join("\n"));
}

/// Each item of a file by its full name.
fn items(file: &FileDescriptorProto) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([("package".to_owned(), format!("{} {}", file.package(), file.syntax()))]);
    file.message_type.iter().for_each(|of| message(file.package(), of, &mut out));
    file.enum_type.iter().for_each(|of| enumeration(file.package(), of, &mut out));
    file.service.iter().for_each(|of| service(file.package(), of, &mut out));
    out
}

#[test]
fn our_files_are_the_published_ones() {
    GRPC.compare();
    CONFORMANCE.compare();
    RPC.compare();
}

/// Each file in `proto/` is well-formed and has Rust that a crate can include.
#[test]
fn everything_in_proto_generates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut directories = vec![root.clone()];
    let mut protos = Vec::new();
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { directories.push(path) } else { protos.push(path) }
        }
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contracts");
    fs::create_dir_all(&out).unwrap();
    clearway_build::configure()
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .compile_protos(&protos, &[root])
        .unwrap();
    for package in
        ["bench", "connectrpc.conformance.v1", "demo", "google.rpc", "grpc.testing", "hello", "routeguide"]
    {
        assert!(out.join(format!("{package}.rs")).exists(), "{package}");
    }
}

/// The comparison itself notices a difference; runs without any published file.
#[test]
fn a_different_number_is_noticed() {
    let file = |number: i32| {
        let text = format!("syntax = \"proto3\"; package p; message M {{ int32 a = {number}; }}");
        let file = protox::file::File::from_source("m.proto", &text).unwrap();
        items(file.file_descriptor_proto())
    };
    assert_eq!(file(1), file(1));
    assert_ne!(file(1), file(2));
}

#[test]
fn go_literals_are_read() {
    assert_eq!(unescape(r#"\n\x1bgrpc\\\"\t\a\v"#), b"\n\x1bgrpc\\\"\t\x07\x0b");
}
