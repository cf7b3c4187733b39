//! The programs that are measured: built here, and known by name and flags.
//!
//! Ours come from this workspace; peers from `bench/peers`, with a target directory of their own. A peer that cannot be
//! built is left out, and the table says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::load::framed_message;
use crate::peer::pinned;

/// How a server's port becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// It prints `listening on ADDRESS:PORT`.
    Announced,
    /// It wants one as its last argument.
    Last,
}

/// A program, its arguments, and whatever it needs in its environment.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    environment: Vec<(&'static str, String)>,
    pub(crate) port: Port,
}

impl Invocation {
    pub(crate) fn new(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { program: program.into(), args, environment: Vec::new(), port: Port::Announced }
    }

    /// The same with more arguments.
    pub(crate) fn with(mut self, more: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(more.into_iter().map(Into::into));
        self
    }

    /// The same under a program that runs programs, such as valgrind.
    pub(crate) fn under(&self, program: &str, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let inner = [self.program.display().to_string()].into_iter().chain(self.args.iter().cloned());
        let args = args.into_iter().map(Into::into).chain(inner).collect();
        Self { program: program.into(), args, environment: self.environment.clone(), port: self.port }
    }

    /// Ready to be started on `core`.
    pub(crate) fn on_core(&self, core: Option<usize>) -> Command {
        let mut command = pinned(core, &self.program);
        command.args(&self.args).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Threads that a program may use, and tonic on which scheduler it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduler {
    CurrentThread,
    OneWorker,
    TwoWorkers,
    /// Two threads with a listener each, which share nothing.
    TwoCores,
}

impl Scheduler {
    pub(crate) const BOTH: [Self; 2] = [Self::CurrentThread, Self::OneWorker];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current_thread",
            Self::OneWorker => "multi_thread x1",
            Self::TwoWorkers => "multi_thread x2",
            Self::TwoCores => "thread_per_core x2",
        }
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::CurrentThread => &["--runtime=current_thread"],
            Self::OneWorker => &["--runtime=multi_thread", "--workers=1"],
            Self::TwoWorkers => &["--runtime=multi_thread", "--workers=2"],
            Self::TwoCores => &["--runtime=thread_per_core", "--workers=2"],
        }
    }
}

/// Whose stack a program is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    RawTcp,
    Tonic,
    Clearway,
    Go,
    Cpp,
    Nghttpd,
}

impl Stack {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RawTcp => "raw TCP",
            Self::Tonic => "tonic",
            Self::Clearway => "clearway",
            Self::Go => "grpc-go",
            Self::Cpp => "C++ gRPC",
            Self::Nghttpd => "nghttpd",
        }
    }
}

/// A program in the table.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) stack: Stack,
    /// For programs without tokio: the one of tonic's that is most like theirs.
    pub(crate) scheduler: Scheduler,
    pub(crate) command: Invocation,
}

impl Contender {
    /// As the table names it.
    pub(crate) fn name(&self) -> String {
        match self.stack {
            Stack::Go | Stack::Cpp | Stack::Nghttpd => self.stack.name().to_owned(),
            Stack::RawTcp | Stack::Tonic | Stack::Clearway => {
                format!("{}, {}", self.stack.name(), self.scheduler.name())
            }
        }
    }
}

/// Where the built programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    ours: PathBuf,
    peers: PathBuf,
    go: Option<PathBuf>,
    cpp: Option<PathBuf>,
    /// The files it serves.
    nghttpd: Option<PathBuf>,
    scratch: PathBuf,
    /// What is missing in the table, and why.
    pub(crate) notices: Vec<String>,
    /// What is compared, each with its version.
    pub(crate) versions: Vec<String>,
}

impl Programs {
    /// Builds everything, with the compilers' output on stderr.
    pub(crate) fn build() -> Outcome<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("bench/ has no parent directory")?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => std::path::absolute(directory)?,
            None => root.join("target"),
        };
        let peers = target.join("peers-bench");
        let scratch = target.join("bench-scratch");
        std::fs::create_dir_all(&scratch)?;
        cargo(root, &target, &["-p", "clearway-interop", "--bin", "bench-server"])?;
        cargo(root, &target, &["-p", "clearway-bench", "--bin", "bench-client", "--bin", "delay-relay"])?;
        cargo(&root.join("bench/peers"), &peers, &["--locked"])?;
        let mut notices = Vec::new();
        let mut or_notice = |what: &str, built: Outcome<PathBuf>| match built {
            Ok(path) => Some(path),
            Err(error) => {
                let notice = format!("no {what}: {error}");
                eprintln!("{notice}");
                notices.push(notice);
                None
            }
        };
        let go = or_notice("grpc-go", build_go(&root.join("bench/peers/go"), &target.join("bench-go")));
        let cpp = or_notice("C++ gRPC", build_cpp(root, &target.join("bench-cpp")));
        let nghttpd = or_notice("nghttpd (Debian package nghttp2-server)", nghttpd_files(&scratch));
        let mut programs = Self {
            ours: target.join("release"),
            peers: peers.join("release"),
            go,
            cpp,
            nghttpd,
            scratch,
            notices,
            versions: Vec::new(),
        };
        programs.versions = programs.read_versions(root);
        Ok(programs)
    }

    fn read_versions(&self, root: &Path) -> Vec<String> {
        let mut versions = Vec::new();
        let commit = first_line(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]));
        versions.push(format!(
            "clearway {} ({})",
            env!("CARGO_PKG_VERSION"),
            commit.as_deref().unwrap_or("no commit")
        ));
        let lock = std::fs::read_to_string(root.join("bench/peers/Cargo.lock")).unwrap_or_default();
        for name in ["tonic", "hyper", "h2", "tokio"] {
            versions.extend(locked_version(&lock, name).map(|version| format!("{name} {version}")));
        }
        if let Some(go) = &self.go {
            versions.extend(first_line(Command::new(go.join("server")).arg("-version")));
        }
        if let Some(cpp) = &self.cpp {
            versions.extend(first_line(Command::new(cpp.join("server")).arg("--version")));
        }
        if self.nghttpd.is_some() {
            versions.extend(first_line(Command::new("nghttpd").arg("--version")));
        }
        versions.extend(first_line(Command::new("h2load").arg("--version")));
        versions.extend(first_line(Command::new("rustc").arg("--version")));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // BBR sets timers, on loopback too, and makes large messages dearer for all who leave it on.
        let congestion =
            std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        versions.push(format!("Linux {} with TCP {}", kernel.trim(), congestion.trim()));
        versions
    }

    /// A directory for files that a load generator reads.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The load on `raw-server`.
    pub(crate) fn raw_client(&self) -> Invocation {
        Invocation::new(self.peers.join("raw-client"), [""; 0])
    }

    /// A long link.
    pub(crate) fn delay_relay(&self) -> Invocation {
        Invocation::new(self.ours.join("delay-relay"), [""; 0])
    }

    /// The floor.
    pub(crate) fn raw_server(&self) -> Contender {
        let command = Invocation::new(self.peers.join("raw-server"), ["--port=0"]);
        Contender {
            stack: Stack::RawTcp,
            scheduler: Scheduler::CurrentThread,
            command: command.with(Scheduler::CurrentThread.flags().iter().copied()),
        }
    }

    /// Our server.
    pub(crate) fn our_server(&self, scheduler: Scheduler) -> Contender {
        let command = Invocation::new(self.ours.join("bench-server"), ["--port=0"]);
        let command = command.with(scheduler.flags().iter().copied());
        Contender { stack: Stack::Clearway, scheduler, command }
    }

    /// Our client on one thread.
    pub(crate) fn our_client(&self, scheduler: Scheduler) -> Contender {
        let command = Invocation::new(self.ours.join("bench-client"), scheduler.flags().iter().copied());
        Contender { stack: Stack::Clearway, scheduler, command }
    }

    /// tonic's server.
    pub(crate) fn tonic_server(&self, scheduler: Scheduler) -> Contender {
        let command = Invocation::new(self.peers.join("tonic-server"), ["--port=0"]);
        let command = command.with(scheduler.flags().iter().copied());
        Contender { stack: Stack::Tonic, scheduler, command }
    }

    /// Ours and tonic's, on either scheduler.
    pub(crate) fn rust_servers(&self) -> Vec<Contender> {
        let both = |scheduler| [self.tonic_server(scheduler), self.our_server(scheduler)];
        Scheduler::BOTH.into_iter().flat_map(both).collect()
    }

    /// All gRPC servers, each on one core's worth of threads.
    pub(crate) fn grpc_servers(&self) -> Vec<Contender> {
        let mut servers = self.rust_servers();
        servers.extend(self.others("server", ["--port=0"].map(str::to_owned).as_slice()));
        servers
    }

    /// A C server that knows HTTP/2 but not gRPC: it sends a file as large as the echo.
    pub(crate) fn nghttpd(&self, payload: usize) -> Option<Contender> {
        let files = self.nghttpd.as_ref()?.join(payload.to_string()).display().to_string();
        let mut command = Invocation::new("nghttpd", ["--no-tls", "--address=127.0.0.1", "--htdocs", &files]);
        command.port = Port::Last;
        Some(Contender { stack: Stack::Nghttpd, scheduler: Scheduler::CurrentThread, command })
    }

    /// Ours and tonic's clients, on either scheduler.
    pub(crate) fn rust_clients(&self) -> Vec<Contender> {
        let tonic = |scheduler: Scheduler| Contender {
            stack: Stack::Tonic,
            scheduler,
            command: Invocation::new(self.peers.join("tonic-client"), scheduler.flags().iter().copied()),
        };
        Scheduler::BOTH.into_iter().flat_map(|each| [tonic(each), self.our_client(each)]).collect()
    }

    /// All gRPC clients.
    pub(crate) fn grpc_clients(&self) -> Vec<Contender> {
        let mut clients = self.rust_clients();
        clients.extend(self.others("client", &[]));
        clients
    }

    fn others(&self, program: &str, args: &[String]) -> Vec<Contender> {
        let other = |stack, directory: &PathBuf| {
            let mut command = Invocation::new(directory.join(program), args.iter().cloned());
            // One thread of Go code, as one worker of tokio.
            command.environment.push(("GOMAXPROCS", "1".to_owned()));
            Contender { stack, scheduler: Scheduler::OneWorker, command }
        };
        let go = self.go.iter().map(|directory| other(Stack::Go, directory));
        go.chain(self.cpp.iter().map(|directory| other(Stack::Cpp, directory))).collect()
    }
}

fn cargo(directory: &Path, target: &Path, args: &[&str]) -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(directory).args(["build", "--release", "--target-dir"]).arg(target).args(args);
    succeed(&mut command)
}

fn succeed(command: &mut Command) -> Outcome<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("cannot run {name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}").into()) }
}

fn build_go(module: &Path, out: &Path) -> Outcome<PathBuf> {
    std::fs::create_dir_all(out)?;
    let mut command = Command::new("go");
    // What go prints goes to stderr only.
    succeed(command.current_dir(module).args(["build", "-o"]).arg(out).arg("./cmd/..."))?;
    Ok(out.to_owned())
}

fn build_cpp(root: &Path, out: &Path) -> Outcome<PathBuf> {
    const PACKAGES: &str = "Debian packages libgrpc++-dev, protobuf-compiler-grpc, pkg-config, g++";

    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "grpc++", "protobuf"]).output();
    let flags = flags.ok().filter(|output| output.status.success()).ok_or(PACKAGES)?;
    let flags = String::from_utf8(flags.stdout)?;
    let plugin = first_line(Command::new("sh").args(["-c", "command -v grpc_cpp_plugin"])).ok_or(PACKAGES)?;
    std::fs::create_dir_all(out)?;
    let (protos, sources) = (root.join("proto/bench"), root.join("bench/peers/cpp"));
    let proto = protos.join("echo.proto");
    let mut protoc = Command::new("protoc");
    protoc.current_dir(out).arg("-I").arg(&protos).args(["--cpp_out=.", "--grpc_out=."]);
    succeed(protoc.arg(format!("--plugin=protoc-gen-grpc={plugin}")).arg(&proto))?;
    for name in ["server", "client"] {
        let source = sources.join(name).with_extension("cc");
        if is_newer(&out.join(name), &[&source, &sources.join("process.h"), &proto]) {
            continue;
        }
        let mut compiler = Command::new("g++");
        compiler.current_dir(out).args(["-std=c++17", "-O2", "-I.", "-I"]).arg(&sources).arg(&source);
        compiler.args(["echo.pb.cc", "echo.grpc.pb.cc", "-o", name]).args(flags.split_whitespace());
        succeed(compiler.arg("-pthread"))?;
    }
    Ok(out.to_owned())
}

/// Whether `built` exists and is newer than all its sources.
fn is_newer(built: &Path, sources: &[&Path]) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    changed(built).is_some_and(|built| {
        sources.iter().all(|source| changed(source).is_some_and(|source| source < built))
    })
}

/// What nghttpd sends: the answer to every call, as a file at the call's path.
fn nghttpd_files(scratch: &Path) -> Outcome<PathBuf> {
    Command::new("nghttpd").arg("--version").output().map_err(|error| format!("nghttpd: {error}"))?;
    let root = scratch.join("nghttpd");
    for payload in [20, 1024] {
        let directory = root.join(payload.to_string()).join("bench.Echo");
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("Unary"), framed_message(payload)?)?;
    }
    Ok(root)
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned())
}

/// The version of a package in a Cargo.lock; the first, if there are several.
fn locked_version(lock: &str, name: &str) -> Option<String> {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\""));
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock_file() {
        let lock = "[[package]]\nname = \"h2-like\"\nversion = \"9.0.0\"\n\n[[package]]\nname = \"h2\"\nversion = \"0.4.20\"\n";
        assert_eq!(locked_version(lock, "h2").as_deref(), Some("0.4.20"));
        assert_eq!(locked_version(lock, "hyper"), None);
    }

    #[test]
    fn a_program_under_another_keeps_its_arguments() {
        let server = Invocation::new("server", ["--port=0"]).under("valgrind", ["--tool=callgrind"]);
        assert_eq!(server.program, Path::new("valgrind"));
        assert_eq!(server.args, ["--tool=callgrind", "server", "--port=0"]);
    }

    #[test]
    fn contenders_are_named_with_their_scheduler() {
        let contender = |stack| Contender {
            stack,
            scheduler: Scheduler::OneWorker,
            command: Invocation::new("program", [""; 0]),
        };
        assert_eq!(contender(Stack::Tonic).name(), "tonic, multi_thread x1");
        assert_eq!(contender(Stack::Go).name(), "grpc-go");
    }
}
