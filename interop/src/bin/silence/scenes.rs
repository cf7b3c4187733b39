//! The scenes: dead peers on links that drop everything, connections that a NAT forgot, and grpc-go's rules about PINGs.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::net::{Lab, SERVER};
use crate::program::Program;

/// One scene. It says what it saw, or what was wrong.
pub(crate) struct Scene {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// It needs network namespaces.
    pub(crate) lab: bool,
    /// It needs grpc-go.
    pub(crate) go: bool,
    pub(crate) play: fn(&Stage) -> Result<String, String>,
}

pub(crate) const ALL: &[Scene] = &[
    Scene {
        id: "K1",
        name: "dead server, our client asks every 10 s",
        lab: true,
        go: false,
        play: dead_ours,
    },
    Scene {
        id: "K2",
        name: "dead server of grpc-go, our client asks every 10 s",
        lab: true,
        go: true,
        play: dead_go,
    },
    Scene {
        id: "K3",
        name: "dead client, our server asks every 4 s",
        lab: true,
        go: false,
        play: dead_client,
    },
    Scene {
        id: "K4",
        name: "dead client without calls, TCP keepalive",
        lab: true,
        go: false,
        play: dead_idle,
    },
    Scene {
        id: "K5",
        name: "call on a dead link, TCP_USER_TIMEOUT",
        lab: true,
        go: false,
        play: unacknowledged,
    },
    Scene {
        id: "K6",
        name: "forgotten by a NAT after 31 s, defaults",
        lab: true,
        go: false,
        play: forgotten_ours,
    },
    Scene { id: "K7", name: "forgotten by a NAT, grpc-go's server", lab: true, go: true, play: forgotten_go },
    Scene {
        id: "K8",
        name: "our client asks a default grpc-go server every 10 s",
        lab: false,
        go: true,
        play: strict_go,
    },
    Scene {
        id: "K9",
        name: "our client probes a default grpc-go server before every call",
        lab: false,
        go: true,
        play: probes_go,
    },
    Scene {
        id: "K10",
        name: "grpc-go asks our default server every 10 s",
        lab: false,
        go: true,
        play: strict_ours,
    },
    Scene { id: "K11", name: "grpc-go asks our server as agreed", lab: false, go: true, play: agreed },
    Scene {
        id: "K12",
        name: "grpc-go downloads and measures our default server",
        lab: false,
        go: true,
        play: download,
    },
];

/// The programs of a scene.
pub(crate) struct Stage {
    pub(crate) ours: PathBuf,
    pub(crate) go: PathBuf,
}

const SOON: Duration = Duration::from_secs(10);
/// After so long nothing is on its way any more, so that it is not the kernel that notices first.
const SETTLED: Duration = Duration::from_millis(700);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Stage {
    /// This program in a role, with what it is told.
    fn role(&self, role: &str, told: &str) -> Result<Program, String> {
        Program::start(Command::new(&self.ours).arg("--role").arg(role).args(told.split_whitespace()))
    }

    fn role_in(&self, lab: &Lab, end: &str, role: &str, told: &str) -> Result<Program, String> {
        Program::start(lab.within(end, &self.ours).arg("--role").arg(role).args(told.split_whitespace()))
    }

    /// A server of ours in its namespace, which listens.
    fn server_in(&self, lab: &Lab, told: &str) -> Result<Program, String> {
        let mut server = self.role_in(lab, "s", "serve", &format!("listen={SERVER} {told}"))?;
        server.address().map(|_| server)
    }

    /// grpc-go's with its defaults.
    fn go_server_in(&self, lab: &Lab) -> Result<Program, String> {
        let mut server = Program::start(lab.within("s", &self.go).args(["server", "-listen", SERVER]))?;
        server.address().map(|_| server)
    }

    fn go(&self, words: &str) -> Result<Program, String> {
        Program::start(Command::new(&self.go).args(words.split_whitespace()))
    }
}

/// The seconds in `.. after 12.34 s: ..`, which must lie in a range.
fn took(line: &str, from: f64, to: f64) -> Result<f64, String> {
    let number = line.split_once(" after ").and_then(|(_, rest)| {
        rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?.parse::<f64>().ok()
    });
    match number {
        Some(seconds) if (from..to).contains(&seconds) => Ok(seconds),
        other => Err(format!("want {from} to {to} s, got {other:?}: {line}")),
    }
}

fn dead(stage: &Stage, lab: &Lab) -> Result<String, String> {
    let mut client = stage.role_in(lab, "c", "hold", &format!("to={SERVER} interval=10 timeout=2"))?;
    client.expect("open", SOON)?;
    std::thread::sleep(SETTLED);
    lab.cut()?;
    let line = client.expect("lost after", secs(20))?;
    let seconds = took(&line, 11.5, 14.0)?;
    if line.contains("keepalive expired") {
        Ok(format!("UNAVAILABLE after {seconds:.1} s: keepalive expired"))
    } else {
        Err(line)
    }
}

fn dead_ours(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let _server = stage.server_in(&lab, "")?;
    dead(stage, &lab)
}

fn dead_go(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let _server = stage.go_server_in(&lab)?;
    dead(stage, &lab)
}

fn dead_client(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let mut server = stage.server_in(&lab, "interval=4 timeout=2")?;
    let mut client = stage.role_in(&lab, "c", "hold", &format!("to={SERVER}"))?;
    client.expect("open", SOON)?;
    std::thread::sleep(SETTLED);
    lab.cut()?;
    let began = Instant::now();
    let line = server.expect("ended", secs(12))?;
    let seconds = began.elapsed().as_secs_f64();
    if !line.contains("keepalive expired") || seconds > 8.0 {
        return Err(format!("{seconds:.1} s: {line}"));
    }
    Ok(format!("the server's line after {seconds:.1} s: keepalive expired, 1 open"))
}

fn dead_idle(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let mut server = stage.server_in(&lab, "tcp_keepalive=2 tcp_user_timeout=2")?;
    let mut client = stage.role_in(&lab, "c", "calls", &format!("to={SERVER} pause=100 count=1"))?;
    client.expect("call 0 after", SOON)?;
    lab.cut()?;
    let began = Instant::now();
    let line = server.expect("ended", secs(12))?;
    if !line.contains("tcp_keepalive") {
        return Err(line);
    }
    Ok(format!(
        "the server's line after {:.1} s: the peer's system does not answer",
        began.elapsed().as_secs_f64()
    ))
}

fn unacknowledged(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let _server = stage.server_in(&lab, "")?;
    let mut client = stage.role_in(&lab, "c", "calls", &format!("to={SERVER} pause=2 count=2"))?;
    client.expect("call 0 after", SOON)?;
    lab.cut()?;
    let line = client.expect("call 1 after", secs(40))?;
    let seconds = took(&line, 18.0, 28.0)?;
    if !line.contains("tcp_user_timeout") {
        return Err(line);
    }
    Ok(format!("UNAVAILABLE after {seconds:.1} s: limit tcp_user_timeout"))
}

fn forgotten(stage: &Stage, lab: &Lab, told: &str) -> Result<String, String> {
    let mut client = stage.role_in(lab, "c", "calls", &format!("to={SERVER} count=2 {told}"))?;
    client.expect("call 0 after", SOON)?;
    lab.forget()?;
    let line = client.expect("call 1 after", secs(60))?;
    let seconds = took(&line, 0.9, 2.5)?;
    if !line.ends_with(": ok") {
        return Err(line);
    }
    let done = client.expect("done", secs(60))?;
    if done.contains(" 2 connections") {
        Ok(format!("the next call: ok after {seconds:.2} s, on a new connection"))
    } else {
        Err(done)
    }
}

fn forgotten_ours(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let _server = stage.server_in(&lab, "")?;
    forgotten(stage, &lab, "pause=31")
}

fn forgotten_go(stage: &Stage) -> Result<String, String> {
    let lab = Lab::new()?;
    let _server = stage.go_server_in(&lab)?;
    forgotten(stage, &lab, "pause=4 silence=3")
}

fn strict_go(stage: &Stage) -> Result<String, String> {
    let mut server = stage.go("server")?;
    let mut client = stage.role("hold", &format!("to={} interval=10", server.address()?))?;
    client.expect("open", SOON)?;
    let said = client.expect("WARN", secs(50))?;
    if !(said.contains("interval=10s")
        && said.contains("next=20s")
        && said.contains("http2_keep_alive_interval"))
    {
        return Err(said);
    }
    let line = client.expect("lost after", SOON)?;
    let seconds = took(&line, 38.0, 45.0)?;
    if !line.contains("too_many_pings") || !line.contains("raise http2_keep_alive_interval") {
        return Err(line);
    }
    client.expect("open", SOON)?;
    Ok(format!("too_many_pings after {seconds:.1} s; the line in the log: interval=10s next=20s"))
}

fn probes_go(stage: &Stage) -> Result<String, String> {
    let mut server = stage.go("server")?;
    let told = format!("to={} silence=0.2 pause=0.4 count=60", server.address()?);
    let done = stage.role("calls", &told)?.expect("done", secs(50))?;
    match done.strip_prefix("done: ").and_then(|rest| rest.strip_suffix(" PINGs, 1 connections")) {
        Some(pings) if pings.parse().is_ok_and(|pings: u32| pings >= 50) => {
            Ok(format!("60 calls, {pings} PINGs without calls, one connection"))
        }
        _ => Err(done),
    }
}

fn strict_ours(stage: &Stage) -> Result<String, String> {
    let mut server = stage.role("serve", "listen=127.0.0.1:0")?;
    let mut client = stage.go(&format!("hold -to {} -time 10s -for 90s", server.address()?))?;
    let line = client.expect("ended after", secs(60))?;
    let seconds = took(&line, 38.0, 46.0)?;
    if !line.contains("too_many_pings") || !line.contains("ENHANCE_YOUR_CALM") {
        return Err(line);
    }
    server.expect("too_many_pings", SOON)?;
    Ok(format!("grpc-go saw GOAWAY ENHANCE_YOUR_CALM too_many_pings after {seconds:.1} s"))
}

fn agreed(stage: &Stage) -> Result<String, String> {
    let mut server = stage.role("serve", "listen=127.0.0.1:0 min_ping_interval=5")?;
    let mut client = stage.go(&format!("hold -to {} -time 10s -for 48s", server.address()?))?;
    client.expect("held", secs(60))?;
    drop(client);
    let line = server.expect("ended", SOON)?;
    if line.contains("ended after 4 PINGs") { Ok("48 s, 4 PINGs, no strike".into()) } else { Err(line) }
}

fn download(stage: &Stage) -> Result<String, String> {
    let mut server = stage.role("serve", "listen=127.0.0.1:0")?;
    let mut client = stage.go(&format!("download -to {} -for 12s", server.address()?))?;
    let line = client.expect("downloaded", secs(40))?;
    drop(client);
    let end = server.expect("ended after", SOON)?;
    let pings = end.strip_prefix("ended after ").and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    if !line.ends_with("over 1 connections") || pings.is_none_or(|pings| pings < 5) {
        return Err(format!("{line}; {end}"));
    }
    Ok(format!("{line}, {} PINGs, no strike", pings.unwrap_or_default()))
}
