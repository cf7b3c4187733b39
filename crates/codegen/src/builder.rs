//! The options of a build script, under the names tonic-build gave them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use prost_build::Config;
use prost_types::FileDescriptorSet;

use crate::compile::compile;
use crate::error::Error;
use crate::generate::{Options, generate};
use crate::output::{OutDir, write_if_changed};

/// What to generate and how; made by [`configure`](crate::configure).
///
/// Paths of options follow prost's rule: `.hello.Greeter` is a fully qualified prefix, `.` everything, and a path without
/// a leading dot a suffix.
#[derive(Debug)]
#[must_use = "nothing is generated before compile_protos"]
pub struct Builder {
    options: Options,
    out_dir: Option<PathBuf>,
    include_file: Option<PathBuf>,
    descriptor_set: Option<PathBuf>,
    rerun_if_changed: bool,
}

impl Builder {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            options: Options::new(config),
            out_dir: None,
            include_file: None,
            descriptor_set: None,
            rerun_if_changed: std::env::var_os("CARGO").is_some(),
        }
    }

    /// Whether clients are generated. Default: yes.
    pub fn build_client(mut self, enable: bool) -> Self {
        self.options.services.client = enable;
        self
    }

    /// Whether servers are generated. Default: yes.
    pub fn build_server(mut self, enable: bool) -> Self {
        self.options.services.server = enable;
        self
    }

    /// Whether clients know `clearway::transport::Channel`: as the default of their type parameter, and for `connect`.
    /// Default: yes.
    pub fn build_transport(mut self, enable: bool) -> Self {
        self.options.services.transport = enable;
        self
    }

    /// Where files are written. Default: cargo's `OUT_DIR`, where `include_proto!` looks for them.
    pub fn out_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.out_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Uses Rust types that exist already for what `proto_path` covers: `.common` as `crate::common`. Nothing is generated
    /// for it.
    pub fn extern_path(mut self, proto_path: impl AsRef<str>, rust_path: impl AsRef<str>) -> Self {
        self.options.messages.extern_path(proto_path.as_ref(), rust_path.as_ref());
        self.options.services.extern_paths.add(proto_path.as_ref(), rust_path.as_ref());
        self
    }

    /// Adds an attribute to the messages, enums and oneofs that `path` covers.
    pub fn type_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.options.messages.type_attribute(path.as_ref(), attribute.as_ref());
        self
    }

    /// Adds an attribute to the messages that `path` covers.
    pub fn message_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.options.messages.message_attribute(path.as_ref(), attribute.as_ref());
        self
    }

    /// Adds an attribute to the enums and oneofs that `path` covers.
    pub fn enum_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.options.messages.enum_attribute(path.as_ref(), attribute.as_ref());
        self
    }

    /// Adds an attribute to the fields that `path` covers.
    pub fn field_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.options.messages.field_attribute(path.as_ref(), attribute.as_ref());
        self
    }

    /// Adds an attribute to the client modules of the services that `path` covers.
    pub fn client_mod_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.options.services.client_mod_attributes.add(path.as_ref(), attribute.as_ref());
        self
    }

    /// Adds an attribute to the server modules of the services that `path` covers.
    pub fn server_mod_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.options.services.server_mod_attributes.add(path.as_ref(), attribute.as_ref());
        self
    }

    /// The codec of generated methods, a type with two parameters (what it encodes, what it decodes) and a `Default`.
    /// Default: `::clearway::codec::ProstCodec`.
    pub fn codec_path(mut self, path: impl AsRef<str>) -> Self {
        path.as_ref().clone_into(&mut self.options.services.codec_path);
        self
    }

    /// Generates `google.protobuf` types too. Default: they come from the `prost-types` crate, or are plain Rust types
    /// (`google.protobuf.Empty` is `()`).
    pub fn compile_well_known_types(mut self, enable: bool) -> Self {
        if enable {
            self.options.messages.compile_well_known_types();
        }
        self.options.services.well_known_types = enable;
        self
    }

    /// Writes one more file that includes all others at their places in the tree of packages.
    pub fn include_file(mut self, path: impl AsRef<Path>) -> Self {
        self.include_file = Some(path.as_ref().to_owned());
        self
    }

    /// Writes the checked descriptors, imports included, as an encoded `google.protobuf.FileDescriptorSet`: what server
    /// reflection and dynamic clients read.
    pub fn file_descriptor_set_path(mut self, path: impl AsRef<Path>) -> Self {
        self.descriptor_set = Some(path.as_ref().to_owned());
        self
    }

    /// Uses `bytes::Bytes` instead of `Vec<u8>` for the `bytes` fields that `path` covers.
    pub fn bytes(mut self, path: impl AsRef<str>) -> Self {
        self.options.messages.bytes([path.as_ref()]);
        self
    }

    /// Puts the fields that `path` covers into a `Box`: large ones in a oneof, for instance.
    pub fn boxed(mut self, path: impl AsRef<str>) -> Self {
        self.options.messages.boxed(path.as_ref());
        self
    }

    /// Leaves out `Debug` of the messages, enums and oneofs that `path` covers, so that an implementation by hand can take its place.
    pub fn skip_debug(mut self, path: impl AsRef<str>) -> Self {
        self.options.messages.skip_debug([path.as_ref()]);
        self
    }

    /// Uses `BTreeMap` instead of `HashMap` for the map fields that `path` covers.
    pub fn btree_map(mut self, path: impl AsRef<str>) -> Self {
        self.options.messages.btree_map([path.as_ref()]);
        self
    }

    /// Leaves out the comments of the items that `path` covers: messages, fields, services and methods.
    pub fn disable_comments(mut self, path: impl AsRef<str>) -> Self {
        self.options.messages.disable_comments([path.as_ref()]);
        self.options.services.disable_comments.add(path.as_ref(), "");
        self
    }

    /// Whether cargo is told which files were read, so that it runs the build script again when one of them changes.
    /// Default: yes when cargo runs us.
    pub fn emit_rerun_if_changed(mut self, enable: bool) -> Self {
        self.rerun_if_changed = enable;
        self
    }

    /// Generates code for `protos` and all they import, one file for each package.
    ///
    /// Each of `protos` and each import must lie below one of `includes`; `google/protobuf/*.proto` are built in.
    ///
    /// # Errors
    /// Faults of the files with line and column ([`Error::problems`]), files that cannot be read or written, options that
    /// make no sense.
    pub fn compile_protos(
        self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        let protos: Vec<&Path> = protos.iter().map(AsRef::as_ref).collect();
        let includes: Vec<&Path> = includes.iter().map(AsRef::as_ref).collect();
        if self.rerun_if_changed {
            print_rerun(protos.iter().map(|proto| proto.as_os_str()));
        }
        let compiled = compile(&protos, &includes)?;
        if self.rerun_if_changed {
            print_rerun(compiled.read.iter().map(|path| path.as_os_str()));
        }
        if let Some(path) = &self.descriptor_set {
            write_if_changed(path, &compiled.encoded)?;
        }
        self.write(compiled.set).map_err(|error| error.locate(&includes))
    }

    /// Generates code for descriptors that something else compiled. They must be complete: every import in the set.
    ///
    /// # Errors
    /// Descriptors that are not valid, and what [`compile_protos`](Self::compile_protos) says of options and output.
    pub fn compile_fds(self, set: FileDescriptorSet) -> Result<(), Error> {
        crate::compile::check(&set)?;
        self.write(set)
    }

    /// What the protoc plugin needs: it writes no files itself.
    pub(crate) fn into_plugin_parts(self) -> (Options, Option<PathBuf>) {
        (self.options, self.include_file)
    }

    fn write(self, set: FileDescriptorSet) -> Result<(), Error> {
        let out_dir = OutDir::resolve(self.out_dir)?;
        let modules = generate(self.options, set.file, |_| true)?;
        out_dir.write(&modules, self.include_file.as_deref())
    }
}

fn print_rerun<'a>(paths: impl Iterator<Item = &'a OsStr>) {
    for path in paths {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}
