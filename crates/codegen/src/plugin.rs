//! The protoc plugin: a `CodeGeneratorRequest` in, a `CodeGeneratorResponse` out (google/protobuf/compiler/plugin.proto).
//!
//! For projects whose build already runs protoc or buf. Generated code is that of the build script. Options come in the
//! request's parameter, separated by commas; `\,` is a comma inside a value:
//!
//! | option | as in the build script |
//! |---|---|
//! | `no_client`, `no_server`, `no_transport` | `build_client(false)`, ... |
//! | `compile_well_known_types` | the same |
//! | `extern_path=.proto.path=::rust::path` | the same |
//! | `type_attribute=.path=#[attribute]`, `field_attribute`, `client_mod_attribute`, `server_mod_attribute` | the same |
//! | `bytes=.path`, `btree_map=.path`, `disable_comments=.path` | the same |
//! | `codec_path=::path` | the same |
//! | `include_file=mod.rs` | the same |
//!
//! Invariant: whatever comes in, a response goes out; what is wrong is said in its `error`.

use std::collections::HashSet;
use std::panic::catch_unwind;

use prost::Message;
use prost_types::compiler::code_generator_response::{Feature, File};
use prost_types::compiler::{CodeGeneratorRequest, CodeGeneratorResponse};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::builder::Builder;
use crate::compile::check;
use crate::error::Error;
use crate::output::{file_name, include_all};

/// Answers one request of protoc, encoded as it comes on standard input; the answer goes to standard output.
#[must_use]
pub fn respond(request: &[u8]) -> Vec<u8> {
    let mut response = CodeGeneratorResponse {
        // proto3 `optional` is a field that prost knows by itself.
        supported_features: Some(Feature::Proto3Optional as u64),
        ..CodeGeneratorResponse::default()
    };
    match catch_unwind(|| generate(request)) {
        Ok(Ok(files)) => response.file = files,
        Ok(Err(error)) => response.error = Some(error.to_string()),
        // prost-build and prost-reflect assert what protoc never breaks; the panic's text is on standard error.
        Err(_) => response.error = Some("these descriptors are not what protoc makes".to_owned()),
    }
    response.encode_to_vec()
}

fn generate(request: &[u8]) -> Result<Vec<File>, Error> {
    let request = CodeGeneratorRequest::decode(request)
        .map_err(|error| Error::option(format!("not a CodeGeneratorRequest: {error}")))?;
    let builder = parse(request.parameter())?;
    let set = FileDescriptorSet { file: request.proto_file };
    check(&set)?;
    let asked: HashSet<String> = request.file_to_generate.into_iter().collect();
    let known: HashSet<&str> = set.file.iter().map(FileDescriptorProto::name).collect();
    if let Some(unknown) = asked.iter().find(|name| !known.contains(name.as_str())) {
        return Err(Error::option(format!("{unknown}: asked for, but not among the descriptors")));
    }
    let wanted = |file: &FileDescriptorProto| asked.contains(file.name());
    let (options, include_file) = builder.into_plugin_parts();
    let modules = crate::generate::generate(options, set.file, wanted)?;

    let mut files: Vec<File> =
        modules.iter().map(|(module, code)| file(file_name(module), code.clone())).collect();
    if let Some(name) = include_file {
        files.push(file(name.display().to_string(), include_all(modules.keys(), false)));
    }
    Ok(files)
}

fn file(name: String, content: String) -> File {
    File { name: Some(name), content: Some(content), ..File::default() }
}

fn parse(parameter: &str) -> Result<Builder, Error> {
    split(parameter).into_iter().filter(|option| !option.is_empty()).try_fold(crate::configure(), apply)
}

/// The options of a parameter: separated by commas, except those after a backslash.
fn split(parameter: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut letters = parameter.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.next_if_eq(&',').is_some() => push(&mut options, ','),
            ',' => options.push(String::new()),
            other => push(&mut options, other),
        }
    }
    options
}

fn push(options: &mut [String], letter: char) {
    if let Some(last) = options.last_mut() {
        last.push(letter);
    }
}

fn apply(builder: Builder, option: String) -> Result<Builder, Error> {
    let (name, value) = option.split_once('=').unwrap_or((&option, ""));
    let pair = || {
        let (path, second) = value.split_once('=').unwrap_or((value, ""));
        let complete = !path.is_empty() && !second.is_empty();
        complete
            .then_some((path, second))
            .ok_or_else(|| Error::option(format!("option {name} is {name}=PATH=VALUE")))
    };
    let one = || {
        (!value.is_empty())
            .then_some(value)
            .ok_or_else(|| Error::option(format!("option {name} needs a value")))
    };
    Ok(match name {
        "no_client" => builder.build_client(false),
        "no_server" => builder.build_server(false),
        "no_transport" => builder.build_transport(false),
        "compile_well_known_types" => builder.compile_well_known_types(true),
        "codec_path" => builder.codec_path(one()?),
        "include_file" => builder.include_file(one()?),
        "bytes" => builder.bytes(one()?),
        "btree_map" => builder.btree_map(one()?),
        "disable_comments" => builder.disable_comments(one()?),
        "extern_path" => pair().map(|(path, rust)| builder.extern_path(path, rust))?,
        "type_attribute" => pair().map(|(path, text)| builder.type_attribute(path, text))?,
        "field_attribute" => pair().map(|(path, text)| builder.field_attribute(path, text))?,
        "client_mod_attribute" => pair().map(|(path, text)| builder.client_mod_attribute(path, text))?,
        "server_mod_attribute" => pair().map(|(path, text)| builder.server_mod_attribute(path, text))?,
        _ => return Err(Error::option(format!("unknown option `{name}`"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_keeps_a_comma_inside_a_value() {
        assert_eq!(
            split(r"no_client,type_attribute=.=#[derive(A\, B)],x=\y"),
            ["no_client", "type_attribute=.=#[derive(A, B)]", r"x=\y"]
        );
        assert_eq!(split(""), [""]);
    }
}
