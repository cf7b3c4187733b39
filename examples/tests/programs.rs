//! Every example is run as a person runs it: a server program and its client, here over a Unix socket of their own.

#![cfg(unix)]
// Helpers of tests are tests too, which clippy cannot see here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A server program, ended when the test is.
struct Server(Child);

impl Server {
    /// Starts it and waits until it accepts.
    fn start(program: &str, socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let mut server =
            Self(Command::new(program).arg(format!("unix:{}", socket.display())).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(socket).is_err() {
            assert_eq!(server.0.try_wait().unwrap(), None, "{program} ended");
            assert!(Instant::now() < deadline, "{program} does not listen");
            // Another program's start is no event that this one could wait for.
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the client prints while the server runs.
fn run(name: &str, server: &str, client: &str) -> String {
    let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sock"));
    let _server = Server::start(server, &socket);
    let output = Command::new(client).arg(format!("unix:{}", socket.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hello() {
    let output = run("hello", env!("CARGO_BIN_EXE_hello-server"), env!("CARGO_BIN_EXE_hello-client"));
    assert_eq!(output, "Hello world\n");
}

#[test]
fn interceptors() {
    let output = Command::new(env!("CARGO_BIN_EXE_interceptors")).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Server: SayHello UNAUTHENTICATED, 0 octets received\n\
         Client: SayHello UNAUTHENTICATED, 0 octets received\n\
         UNAUTHENTICATED: who are you?\n\
         Server: SayHello OK, 5 octets received\n\
         Hello Ada\n"
    );
}

#[test]
fn routeguide() {
    let (server, client) = (env!("CARGO_BIN_EXE_routeguide-server"), env!("CARGO_BIN_EXE_routeguide-client"));
    assert_eq!(
        run("routeguide", server, client),
        "GetFeature: Berkshire Valley\n\
         ListFeatures: Berkshire Valley\n\
         ListFeatures: Kingston\n\
         RecordRoute: 3 points, 2 features\n\
         RouteChat: first\n\
         RouteChat: second\n"
    );
}

/// The successor answers, and the process that was told to go is gone.
#[test]
fn rolling() {
    let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rolling.sock");
    let mut server = Server::start(env!("CARGO_BIN_EXE_rolling-server"), &socket);
    let ask = || {
        let target = format!("unix:{}", socket.display());
        let output = Command::new(env!("CARGO_BIN_EXE_hello-client")).arg(target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().strip_prefix("Hello world from ").unwrap().to_owned()
    };
    let signal = |name: &str, process: &str| {
        assert!(Command::new("kill").args(["-s", name, process]).status().unwrap().success());
    };
    let old = ask();
    assert_eq!(old, server.0.id().to_string());
    signal("HUP", &old);
    // Every call is answered, by either of them, until the old one is gone.
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.0.try_wait().unwrap().is_none() {
        let by = ask();
        if Instant::now() >= deadline {
            signal("KILL", &by);
            panic!("the old one does not go");
        }
    }
    let new = ask();
    signal("TERM", &new);
    assert_ne!(new, old);
}

#[test]
fn every_program_is_under_60_lines() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 60, "{} has {lines} lines", path.display());
    }
}
