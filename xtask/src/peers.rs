//! `cargo xtask peers`: fetches and builds the programs of other people that the suites need. Quick when all is there.
//!
//! What cannot be had is said and left out: the suites that need it are skipped, with a notice, and nothing else. Only an
//! error of the command line fails this verb.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::workspace::Workspace;

/// A Go program that `go install` builds with its own pinned dependencies.
struct GoProgram {
    /// What it is called in target/peers/bin.
    name: &'static str,
    package: &'static str,
    /// In order of preference: the proxy does not have every commit.
    versions: &'static [&'static str],
}

const GO_PROGRAMS: &[GoProgram] = &[
    GoProgram {
        name: "h2spec",
        package: "github.com/summerwind/h2spec/cmd/h2spec",
        // Its module path lacks /v2, so that of the later tags none can be named, and of its last commit only the hash.
        versions: &["af83a65f0b6273ef38bf778d400d98892e7653d8", "v2.2.1+incompatible"],
    },
    GoProgram {
        name: "connectconformance",
        package: "connectrpc.com/conformance/cmd/connectconformance",
        versions: &["v1.0.5"],
    },
    GoProgram {
        name: "go-interop-client",
        package: "google.golang.org/grpc/interop/client",
        versions: &["v1.83.1"],
    },
    GoProgram {
        name: "go-interop-server",
        package: "google.golang.org/grpc/interop/server",
        versions: &["v1.83.1"],
    },
    GoProgram {
        name: "go-interop-http2",
        package: "google.golang.org/grpc/interop/http2",
        versions: &["v1.83.1"],
    },
];

/// Programs of ours around other people's Go: what they are called, where their source is, and its files.
const OWN_GO: &[(&str, &str, &[&str])] = &[
    ("go-hpack-judge", "interop/hpack", &["go.mod", "judge.go"]),
    ("go-tls-peer", "interop/tls", &["go.mod", "peer.go"]),
    ("go-compressing", "interop/go", &["go.mod", "main.go"]),
    ("go-life-peer", "interop/life", &["go.mod", "main.go"]),
    ("go-retries", "interop/retries", &["go.mod", "peer.go"]),
    ("go-keepalive", "interop/keepalive", &["go.mod", "main.go"]),
];

/// Debian packages, and the programs by which one knows that they are there.
const DEBIAN_PACKAGES: &[(&str, &[&str])] = &[
    ("nghttp2-client", &["nghttp", "h2load"]),
    ("curl", &["curl"]),
    ("openssl", &["openssl"]),
    ("tshark", &["tshark", "dumpcap"]),
    ("valgrind", &["valgrind"]),
];

const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
/// Builds and downloads; the longest takes some minutes on two cores.
const LIMIT: Duration = Duration::from_secs(15 * 60);

pub(crate) fn run(workspace: &Workspace, mut parser: lexopt::Parser) -> Result<bool, String> {
    if let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        return Err(argument.unexpected().to_string());
    }
    let bin = workspace.peers_bin();
    fs::create_dir_all(&bin).map_err(|error| format!("cannot make {}: {error}", bin.display()))?;
    debian(workspace);
    for program in GO_PROGRAMS {
        say(program.name, go(workspace, program));
    }
    for (name, source, files) in OWN_GO {
        say(name, own_go(workspace, name, source, files));
    }
    say("python", python(workspace));
    say("grpc-js", node(workspace));
    say("grpc-java", java(workspace));
    say("cargo-deny", cargo_program(workspace, "cargo-deny", CARGO_DENY));
    say("cargo-fuzz", cargo_program(workspace, "cargo-fuzz", CARGO_FUZZ));
    Ok(true)
}

/// What became of a peer: `Ok` in a word, `Err` with the reason why it cannot be had.
type Got = Result<&'static str, String>;

fn say(name: &str, got: Got) {
    match got {
        Ok(how) => println!("{name:<18} {how}"),
        Err(why) => println!("{name:<18} NOT AVAILABLE, its suites will be skipped: {why}"),
    }
}

/// Runs a command; its last words are the error.
fn quietly(command: &mut Command) -> Result<(), String> {
    let finished = process::run(command, LIMIT)?;
    if finished.success() { Ok(()) } else { Err(finished.tail()) }
}

fn debian(workspace: &Workspace) {
    let lacks = |programs: &[&str]| programs.iter().any(|program| workspace.peer(program).is_none());
    let missing: Vec<&str> =
        DEBIAN_PACKAGES.iter().filter(|(_, programs)| lacks(programs)).map(|(package, _)| *package).collect();
    let installed = if missing.is_empty() { Ok("there") } else { apt_get(workspace, &missing) };
    for (package, programs) in DEBIAN_PACKAGES {
        let got = if lacks(programs) { installed.clone() } else { Ok("there") };
        say(package, got);
    }
}

fn apt_get(workspace: &Workspace, packages: &[&str]) -> Got {
    let apt_get = workspace.peer("apt-get").ok_or("not installed, and there is no apt-get")?;
    if !is_root() {
        return Err(format!("not installed, and only root may: apt-get install {}", packages.join(" ")));
    }
    let command = |args: &[&str]| {
        let mut command = Command::new(&apt_get);
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // The lists may be old or absent; without new ones the install may still go well.
    let updated = quietly(&mut command(&["update"]));
    let mut install = command(&["install", "-y", "--no-install-recommends"]);
    quietly(install.args(packages)).map_err(|error| match updated {
        Ok(()) => error,
        Err(update) => format!("{error}\n(before that: {update})"),
    })?;
    Ok("installed")
}

fn is_root() -> bool {
    let asked = process::run(Command::new("id").arg("-u"), Duration::from_secs(5));
    asked.is_ok_and(|finished| finished.stdout.trim() == "0")
}

fn go(workspace: &Workspace, program: &GoProgram) -> Got {
    let marker = workspace.peers.join(format!("{}.version", program.name));
    let installed = workspace.peers_bin().join(program.name);
    let stamps = || program.versions.iter().map(|version| format!("{}@{version}", program.package));
    if installed.is_file() && stamps().any(|stamp| is_stamped(&marker, &stamp)) {
        return Ok("there");
    }
    if workspace.peer("go").is_none() {
        return Err("there is no Go".into());
    }
    // Each program is installed under the last part of its package's name, which several share.
    let staging = workspace.peers.join("staging").join(program.name);
    let staged = staging.join(Path::new(program.package).file_name().unwrap_or_default());
    fs::create_dir_all(&staging).map_err(|error| error.to_string())?;
    let mut failure = String::new();
    for stamp in stamps() {
        let mut command = Command::new("go");
        command.args(["install", &stamp]).env("GOBIN", &staging).current_dir(&staging);
        match quietly(&mut command) {
            Ok(()) => {
                fs::rename(&staged, &installed).map_err(|error| format!("{}: {error}", staged.display()))?;
                fs::write(&marker, stamp).map_err(|error| error.to_string())?;
                return Ok("built");
            }
            Err(error) => failure = error,
        }
    }
    if workspace.peer(program.name).is_some() { Ok("on PATH, of unknown version") } else { Err(failure) }
}

/// A program of ours that is written in Go.
fn own_go(workspace: &Workspace, name: &str, source: &str, files: &[&str]) -> Got {
    let source = workspace.root.join(source);
    let read = |name: &&str| fs::read_to_string(source.join(name)).map_err(|error| error.to_string());
    let stamp = files.iter().map(read).collect::<Result<String, String>>()?;
    let marker = workspace.peers.join(format!("{name}.source"));
    let installed = workspace.peers_bin().join(name);
    if installed.is_file() && is_stamped(&marker, &stamp) {
        return Ok("there");
    }
    let go = workspace.peer("go").ok_or("there is no Go")?;
    quietly(Command::new(go).args(["build", "-o"]).arg(&installed).arg(".").current_dir(&source))?;
    fs::write(&marker, stamp).map_err(|error| error.to_string())?;
    Ok("built")
}

/// The modules that interop/node needs.
fn node(workspace: &Workspace) -> Got {
    let wanted = fs::read_to_string(workspace.root.join("interop/node/package.json"));
    let wanted = wanted.map_err(|error| error.to_string())?;
    let (folder, marker) = (workspace.peers.join("node"), workspace.peers.join("node.package"));
    if workspace.node_modules().is_some() && is_stamped(&marker, &wanted) {
        return Ok("there");
    }
    workspace.peer("node").ok_or("there is no Node")?;
    let npm = workspace.peer("npm").ok_or("there is no npm")?;
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    fs::write(folder.join("package.json"), &wanted).map_err(|error| error.to_string())?;
    let mut install = Command::new(npm);
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    quietly(install.current_dir(&folder))?;
    fs::write(&marker, wanted).map_err(|error| error.to_string())?;
    Ok("installed")
}

/// grpc-java's interop programs, with all they need.
fn java(workspace: &Workspace) -> Got {
    let pom = workspace.root.join("interop/java/pom.xml");
    let wanted = fs::read_to_string(&pom).map_err(|error| error.to_string())?;
    let marker = workspace.peers.join("java.pom");
    if workspace.java_classes().is_some() && is_stamped(&marker, &wanted) {
        return Ok("there");
    }
    workspace.peer("java").ok_or("there is no Java")?;
    let maven = workspace.peer("mvn").ok_or("there is no Maven")?;
    let library = workspace.peers.join("java/lib");
    // Half a library must not look like one.
    let partial = workspace.peers.join("java/partial");
    let mut copy = Command::new(maven);
    copy.args(["-q", "-B", "dependency:copy-dependencies", "-f"]).arg(&pom);
    quietly(copy.arg(format!("-DoutputDirectory={}", partial.display())))?;
    let _ = fs::remove_dir_all(&library);
    fs::rename(&partial, &library).map_err(|error| error.to_string())?;
    fs::write(&marker, wanted).map_err(|error| error.to_string())?;
    Ok("installed")
}

fn python(workspace: &Workspace) -> Got {
    let requirements = workspace.root.join("interop/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements).map_err(|error| error.to_string())?;
    let (venv, marker) = (workspace.peers.join("venv"), workspace.peers.join("venv.requirements"));
    if workspace.python().is_some() && is_stamped(&marker, &wanted) {
        return Ok("there");
    }
    quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    quietly(Command::new(venv.join("bin/python")).args(pip).arg(&requirements))?;
    fs::write(&marker, wanted).map_err(|error| error.to_string())?;
    Ok("installed")
}

/// A program that cargo builds.
fn cargo_program(workspace: &Workspace, name: &str, version: &str) -> Got {
    if workspace.peer(name).is_some() {
        return Ok("there");
    }
    let mut command = workspace.cargo();
    command.args(["install", name, "--locked", "--debug", "--version", version, "--root"]);
    // Its build must not meet ours in one directory.
    let build = workspace.peers.join(format!("{name}-build"));
    command.arg(&workspace.peers).env("CARGO_TARGET_DIR", &build);
    let built = quietly(&mut command);
    // Hundreds of megabytes that nobody needs any more.
    let _ = fs::remove_dir_all(build);
    built.map(|()| "built")
}

fn is_stamped(marker: &Path, stamp: &str) -> bool {
    // An offline run must not rebuild what is there because of a line ending.
    fs::read_to_string(marker).is_ok_and(|found| found.trim() == stamp.trim())
}
