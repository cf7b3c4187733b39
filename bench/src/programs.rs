//! The programs that are measured: built by cargo, and known by name and flags.
//!
//! Ours come from this workspace; peers from `bench/peers`, a workspace of its own with its own target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::load::Exchange;

/// How a contender is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `bench.Echo/Unary`, by h2load.
    Grpc,
    /// So many octets for so many, by raw-client.
    Octets,
}

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
}

/// A server in the table.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) command: Invocation,
}

/// Where the built programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    ours: PathBuf,
    peers: PathBuf,
    scratch: PathBuf,
}

impl Programs {
    /// Builds everything, with cargo's output on stderr.
    pub(crate) fn build() -> Outcome<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("bench/ has no parent directory")?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => std::path::absolute(directory)?,
            None => root.join("target"),
        };
        let peers = target.join("peers-bench");
        cargo(root, &target, &["-p", "clearway-interop", "--bin", "bench-server"])?;
        cargo(&root.join("bench/peers"), &peers, &["--locked"])?;
        let scratch = target.join("bench-scratch");
        std::fs::create_dir_all(&scratch)?;
        Ok(Self { ours: target.join("release"), peers: peers.join("release"), scratch })
    }

    /// A directory for files that a load generator reads.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The load on `raw-server`.
    pub(crate) fn raw_client(&self) -> PathBuf {
        self.peers.join("raw-client")
    }

    /// Our server on one thread.
    pub(crate) fn ours(&self) -> Invocation {
        let args = SINGLE.map(str::to_owned).into();
        Invocation { program: self.ours.join("bench-server"), args }
    }

    /// All servers, each on one core's worth of threads. A row is compared with ours on the same scheduler.
    pub(crate) fn contenders(&self, exchange: Exchange) -> Vec<Contender> {
        let tonic = self.peers.join("tonic-server");
        let clearway = self.ours.join("bench-server");
        let grpc = |name, program: &PathBuf, args: &[&str]| Contender {
            name,
            protocol: Protocol::Grpc,
            command: Invocation {
                program: program.clone(),
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            },
        };
        let mut raw = self.ours();
        raw.program = self.peers.join("raw-server");
        raw.args.extend([
            format!("--request-octets={}", exchange.request),
            format!("--response-octets={}", exchange.response),
        ]);
        vec![
            Contender { name: "raw TCP, current_thread", protocol: Protocol::Octets, command: raw },
            grpc("tonic, current_thread", &tonic, &SINGLE),
            grpc("clearway, current_thread", &clearway, &SINGLE),
            grpc("tonic, multi_thread x1", &tonic, &POOL_OF_ONE),
            grpc("clearway, multi_thread x1", &clearway, &POOL_OF_ONE),
        ]
    }
}

const SINGLE: [&str; 2] = ["--port=0", "--runtime=current_thread"];
const POOL_OF_ONE: [&str; 3] = ["--port=0", "--runtime=multi_thread", "--workers=1"];

fn cargo(directory: &Path, target: &Path, args: &[&str]) -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(directory)
        .args(["build", "--release", "--target-dir"])
        .arg(target)
        .args(args)
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo build {} failed", args.join(" ")).into()) }
}
