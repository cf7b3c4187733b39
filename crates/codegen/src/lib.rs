//! From `.proto` files to Rust, in a build script, without `protoc`.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     clearway_build::compile_protos("proto/helloworld.proto")?;
//!     Ok(())
//! }
//! ```
//!
//! and in the program `pub mod hello { clearway::include_proto!("hello"); }`, where `hello` is the package named in the
//! file. [`configure`] has the options. Names and shapes are those of tonic-build.
//!
//! How it works: protox parses and checks the files, prost-build writes the messages, and the code of services is ours: for
//! each one a module `x_client` with `XClient`, and a module `x_server` with the trait `X` and `XServer`. Generated code
//! names everything by absolute path (`::clearway::..`), messages included, so a crate needs `clearway` alone; only
//! well-known types such as `google.protobuf.Timestamp` come from the `prost-types` crate.
//!
//! Errors say `proto/hello.proto:12:3: what is wrong`.
//!
//! Left out: protobuf editions (an error says so), generation of anything but Rust source.

mod builder;
mod comments;
mod compile;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod generate;
mod output;
mod paths;
pub mod plugin;
mod service;

use std::path::Path;

pub use builder::Builder;
pub use error::{Error, Problem};
pub use prost_build::Config;

/// Generates client and server code for one `.proto` file, with the defaults of [`configure`].
///
/// The file's own directory is where its imports are looked for. For anything else see [`Builder::compile_protos`].
///
/// # Errors
/// Those of [`Builder::compile_protos`].
pub fn compile_protos(proto: impl AsRef<Path>) -> Result<(), Error> {
    let proto = proto.as_ref();
    // A bare file name has the empty parent, which is the current directory.
    let include = match proto.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    configure().compile_protos(&[proto], &[include])
}

/// The options of code generation, all at their defaults.
pub fn configure() -> Builder {
    Builder::new(Config::new())
}

/// As [`configure`], on top of prost-build options that [`Builder`] does not name.
///
/// The service generator, the output directory and the include file of `config` are not used: the builder has its own.
pub fn configure_with(config: Config) -> Builder {
    Builder::new(config)
}
