//! Where things are: the checkout, its build directory, and the programs of ours and of others.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout and its directories.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where `cargo xtask peers` puts what it builds.
    pub(crate) peers: PathBuf,
    /// Where release builds of our own programs are.
    release: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self, String> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().ok_or("xtask is not in a workspace")?.to_owned();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { peers: root.join("target/peers"), release: target.join("release"), root })
    }

    /// Where programs of other people are installed.
    pub(crate) fn peers_bin(&self) -> PathBuf {
        self.peers.join("bin")
    }

    /// A program of other people's: one that `cargo xtask peers` built, or one on PATH.
    pub(crate) fn peer(&self, program: &str) -> Option<PathBuf> {
        let on_path = env::var_os("PATH").unwrap_or_default();
        core::iter::once(self.peers_bin())
            .chain(env::split_paths(&on_path))
            .map(|directory| directory.join(program))
            .find(|path| path.is_file())
    }

    /// The interpreter that has the Python peers.
    pub(crate) fn python(&self) -> Option<PathBuf> {
        Some(self.peers.join("venv/bin/python")).filter(|path| path.is_file())
    }

    /// Where Node finds the modules of interop/node.
    pub(crate) fn node_modules(&self) -> Option<PathBuf> {
        let modules = self.peers.join("node/node_modules");
        Some(modules).filter(|modules| modules.join("@grpc/grpc-js/package.json").is_file())
    }

    /// The class path of grpc-java's programs.
    pub(crate) fn java_classes(&self) -> Option<PathBuf> {
        let library = self.peers.join("java/lib");
        library.is_dir().then(|| library.join("*"))
    }

    /// True if the interop package has a program of this name.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        let bin = self.root.join("interop/src/bin");
        bin.join(name).with_extension("rs").is_file() || bin.join(name).join("main.rs").is_file()
    }

    /// A program of ours, built for release.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.release.join(name)
    }

    /// A folder beside the release build, for one that must not mix with it.
    pub(crate) fn beside_release(&self, name: &str) -> PathBuf {
        self.release.with_file_name(name)
    }

    /// The cargo that runs us, in the root of the checkout.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        cargo.current_dir(&self.root);
        cargo
    }
}
