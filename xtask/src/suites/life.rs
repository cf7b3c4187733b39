//! Servers that are replaced and connections that do not live long, under load from our client and from grpc-go's: no call may
//! fail.
//!
//! `restart`: ten times a server starts its successor with the listening socket, and drains; and one started by systemd's own
//! tool. `life`: our server with connections of a second, grpc-go's server with the same.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::peer;
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// grpc-go with a load and a server of this suite.
pub(super) const GO: &str = "go-life-peer";

const RESTARTS: usize = 10;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(400);
/// For a server to begin or to end; drains take as long as their longest call.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long connections live, and how long there is load meanwhile.
const AGE_MS: u32 = 1000;
const LOAD: Duration = Duration::from_secs(10);
/// Listens, and starts a server with the socket when somebody connects.
const SYSTEMD: &str = "systemd-socket-activate";

/// Ten restarts.
pub(super) fn restart(workspace: &Workspace) -> Verdict {
    let port = process::free_port().map_err(|error| error.to_string())?;
    let mut servers = Rolling::start(server(workspace, port, &[]))?;
    let loads = [Load::ours(workspace, port)?, Load::go(workspace, port)?];
    for _ in 0..RESTARTS {
        thread::sleep(PAUSE);
        servers.replace()?;
    }
    thread::sleep(PAUSE);
    let ended = loads.map(Load::end);
    servers.end()?;
    let activated = activated(workspace)?;
    let [ours, go] = ended;
    Ok(format!("{RESTARTS} restarts; ours {}, grpc-go {}{activated}", ours?, go?))
}

/// Connections of a second.
pub(super) fn short_lives(workspace: &Workspace) -> Verdict {
    let port = process::free_port().map_err(|error| error.to_string())?;
    let age = AGE_MS.to_string();
    let mut servers = Rolling::start(server(workspace, port, &["--max_age_ms", &age]))?;
    let loads = [Load::ours(workspace, port)?, Load::go(workspace, port)?];
    let theirs = Server::start(|port| {
        let mut command = peer(workspace, GO);
        command.args(["serve", &port.to_string(), &format!("{AGE_MS}ms")]);
        command
    })?;
    let at_theirs = Load::ours(workspace, theirs.port)?;
    thread::sleep(LOAD);
    let ended = loads.map(Load::end);
    let at_theirs = at_theirs.end();
    servers.end()?;
    let [ours, go] = ended;
    Ok(format!("at our server: ours {}, grpc-go {}; ours at grpc-go's {}", ours?, go?, at_theirs?))
}

/// A server that systemd's tool listens for, if it is there.
fn activated(workspace: &Workspace) -> Result<String, String> {
    let Some(tool) = workspace.peer(SYSTEMD) else { return Ok(String::new()) };
    let port = process::free_port().map_err(|error| error.to_string())?;
    let mut command = Command::new(tool);
    // The server would listen elsewhere by itself.
    command
        .arg("-l")
        .arg(format!("127.0.0.1:{port}"))
        .arg(workspace.program("restart-server"))
        .args(["--port", "1"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Ended(child_of(child)?);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            return Err(format!("{SYSTEMD} does not listen"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let load = Load::ours(workspace, port)?;
    thread::sleep(PAUSE * 2);
    let calls = load.end()?;
    signal("TERM", child.0.id())?;
    let deadline = Instant::now() + PATIENCE;
    while child.0.try_wait().map_err(|error| error.to_string())?.is_none() {
        if Instant::now() > deadline {
            return Err(format!("a server under {SYSTEMD} does not end"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(format!("; under systemd-socket-activate {calls}"))
}

fn server(workspace: &Workspace, port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(workspace.program("restart-server"));
    command.arg("--port").arg(port.to_string()).args(more);
    command
}

fn child_of(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))
}

/// Sends a signal to a process that this program, or a server of it, has started.
fn signal(name: &str, pid: u32) -> Result<(), String> {
    let sent = process::run(Command::new("kill").args(["-s", name, &pid.to_string()]), PATIENCE)?;
    if sent.success() { Ok(()) } else { Err(format!("kill -s {name} {pid}: {}", sent.tail())) }
}

/// A child that is gone when this is.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server and those that replace it, all of which say what they do on one pipe.
struct Rolling {
    said: Receiver<String>,
    /// Those that serve or drain.
    alive: Vec<u32>,
    first: Child,
}

impl Rolling {
    fn start(mut command: Command) -> Result<Self, String> {
        let mut first = child_of(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let pipe = first.stdout.take().ok_or("no pipe")?;
        let (tell, said) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(pipe).lines().map_while(Result::ok);
            // A suite that is over does not listen.
            lines.map(|line| tell.send(line)).take_while(Result::is_ok).count()
        });
        let mut servers = Self { said, alive: Vec::new(), first };
        let id = servers.first.id();
        servers.alive.push(id);
        servers.hear(&format!("{id} serves"))?;
        Ok(servers)
    }

    /// Waits for a line, or the first that begins like it.
    fn hear(&mut self, wanted: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while let Ok(line) = self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Some(id) = line.strip_suffix(" serves").and_then(|id| id.parse().ok())
                && !self.alive.contains(&id)
            {
                self.alive.push(id);
            }
            if line.contains("not replaced")
                || line.contains(" ended, ") && !line.ends_with(" ended, 0 calls cut off")
            {
                return Err(line);
            }
            if line.starts_with(wanted) {
                return Ok(line);
            }
            heard.push(line);
        }
        Err(format!("the server did not say {wanted:?} but {heard:?}"))
    }

    /// Replaces the server, and waits until it has ended.
    fn replace(&mut self) -> Result<(), String> {
        let old = *self.alive.last().ok_or("there is no server")?;
        signal("HUP", old)?;
        self.hear(&format!("{old} is replaced by"))?;
        self.hear(&format!("{old} ended"))?;
        self.alive.retain(|id| *id != old);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let last = *self.alive.last().ok_or("there is no server")?;
        signal("TERM", last)?;
        self.hear(&format!("{last} ended"))?;
        self.alive.clear();
        Ok(())
    }
}

impl Drop for Rolling {
    fn drop(&mut self) {
        for id in &self.alive {
            // What has ended meanwhile cannot be told.
            let _ = signal("KILL", *id);
        }
        let _ = self.first.wait();
    }
}

/// A client that calls until it is ended.
struct Load(Ended);

impl Load {
    fn ours(workspace: &Workspace, port: u16) -> Result<Self, String> {
        let mut command = Command::new(workspace.program("life-client"));
        command.args(["--server_port", &port.to_string()]);
        Self::start(command)
    }

    fn go(workspace: &Workspace, port: u16) -> Result<Self, String> {
        let mut command = peer(workspace, GO);
        command.args(["load", &port.to_string()]);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        child_of(&mut command).map(|child| Self(Ended(child)))
    }

    /// `N calls`, none of which failed.
    fn end(mut self) -> Result<String, String> {
        let child = &mut self.0.0;
        drop(child.stdin.take());
        let said = child.stdout.take().map(std::io::read_to_string);
        let said = said.ok_or("no pipe")?.map_err(|error| error.to_string())?;
        let status = child.wait().map_err(|error| error.to_string())?;
        let last = said.lines().last().unwrap_or_default();
        match last.strip_suffix(", 0 failed") {
            Some(calls) if status.success() => Ok(calls.to_owned()),
            _ => Err(format!("{status}: {said}")),
        }
    }
}
