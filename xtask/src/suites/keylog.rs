//! What the key log is for: Wireshark's `tshark` captures a call over TLS on the loopback interface, and with the log, and only with
//! it, reads the frames and the path of the call.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::peer;
use super::tls::Certificates;
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

const PATH: &str = "/clearway.Tls/Who";
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let certificates = Certificates::make(workspace)?;
    let mut read = Vec::new();
    for version in ["1.2", "1.3"] {
        // Either side's log does.
        for side in ["client", "server"] {
            read.push(decrypt(workspace, &certificates, version, side)?);
        }
    }
    Ok(format!("TLS 1.2 and 1.3, both sides' logs; {}", read.join(", ")))
}

/// Makes a call and reads it out of a capture.
fn decrypt(
    workspace: &Workspace,
    certificates: &Certificates,
    version: &str,
    side: &str,
) -> Result<String, String> {
    let (capture, keys) = (workspace.peers.join("keylog.pcapng"), workspace.peers.join("keylog.keys"));
    for file in [&capture, &keys] {
        let _ = fs::remove_file(file);
    }
    let server = Server::start(|port| {
        let mut command = Command::new(workspace.program("tls-server"));
        command.arg("--port").arg(port.to_string()).args(["--max", version]);
        command.arg("--cert").arg(certificates.file("server.pem"));
        command.arg("--key").arg(certificates.file("server.key"));
        if side == "server" {
            command.arg("--key_log").arg(&keys);
        }
        command
    })?;
    let capturing = Capturing::start(workspace, server.port, &capture)?;
    let mut client = Command::new(workspace.program("tls-client"));
    client.arg("--target").arg(format!("https://127.0.0.1:{}", server.port));
    client.arg("--ca").arg(certificates.file("ca.pem"));
    if side == "client" {
        client.arg("--key_log").arg(&keys);
    }
    let called = process::run(&mut client, LIMIT)?;
    if !called.success() {
        return Err(format!("tls-client: {}", called.tail()));
    }
    capturing.end()?;
    let with = frames(workspace, &capture, server.port, Some(&keys))?;
    let without = frames(workspace, &capture, server.port, None)?;
    if !without.trim().is_empty() {
        return Err(format!("frames can be read without the key log:\n{without}"));
    }
    // The kinds of frame (RFC 9113 §6): SETTINGS, HEADERS, DATA.
    for wanted in ["4", "1", "0"] {
        let found = with.lines().flat_map(|line| line.split('\t').next().unwrap_or_default().split(','));
        if !found.into_iter().any(|kind| kind == wanted) {
            return Err(format!("{side}'s log, TLS {version}: no frame of kind {wanted}:\n{with}"));
        }
    }
    if with.contains(PATH) {
        Ok(format!("{} http2 packets", with.lines().count()))
    } else {
        Err(format!("{side}'s log, TLS {version}: {PATH} cannot be read:\n{with}"))
    }
}

/// The frames that tshark finds, a line for each packet: their kinds and paths.
fn frames(workspace: &Workspace, capture: &Path, port: u16, keys: Option<&Path>) -> Result<String, String> {
    let mut tshark = peer(workspace, "tshark");
    tshark.arg("-r").arg(capture).args(["-d", &format!("tcp.port=={port},tls"), "-Y", "http2"]);
    tshark.args(["-T", "fields", "-e", "http2.type", "-e", "http2.headers.path"]);
    if let Some(keys) = keys {
        tshark.arg("-o").arg(format!("tls.keylog_file:{}", keys.display()));
    }
    let finished = process::run(&mut tshark, LIMIT)?;
    if finished.success() { Ok(finished.stdout) } else { Err(format!("tshark: {}", finished.tail())) }
}

/// dumpcap, at work.
struct Capturing {
    child: Child,
}

impl Capturing {
    /// Returns when packets are captured.
    fn start(workspace: &Workspace, port: u16, to: &Path) -> Result<Self, String> {
        let mut dumpcap = peer(workspace, "dumpcap");
        // It ends by itself, soon after the call: what is ended from outside may leave packets behind.
        dumpcap.args(["-q", "-i", "lo", "-f", &format!("tcp port {port}"), "-a", "duration:3", "-w"]).arg(to);
        dumpcap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = dumpcap.spawn().map_err(|error| format!("cannot run dumpcap: {error}"))?;
        let capturing = Self { child };
        let deadline = Instant::now() + LIMIT;
        // The file is made when the interface is open.
        while fs::metadata(to).map_or(0, |file| file.len()) == 0 {
            if Instant::now() > deadline {
                return Err("dumpcap does not begin".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(500));
        Ok(capturing)
    }

    fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("dumpcap: {status}")) }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
