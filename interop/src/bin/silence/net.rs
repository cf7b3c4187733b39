//! Three network namespaces in a row: a client's, a router's and a server's. The router can drop everything, or forget one connection as
//! a NAT does; neither end is told.
//!
//! Invariant: what was made is removed when its [`Lab`] is dropped. Only root can make one.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the server listens in its namespace.
pub(crate) const SERVER: &str = "10.77.2.2:5000";
const SERVER_PORT: u16 = 5000;

/// The namespaces of one scene.
pub(crate) struct Lab {
    name: String,
}

/// Runs `ip`.
fn ip(args: &str) -> Result<String, String> {
    let output =
        Command::new("ip").args(args.split(' ')).output().map_err(|error| format!("ip {args}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Lab {
    /// Makes the namespaces and what joins them.
    pub(crate) fn new() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let lab = Self { name: format!("cw{}x{n}", std::process::id()) };
        let name = &lab.name;
        for end in ["c", "r", "s"] {
            ip(&format!("netns add {name}{end}"))?;
            ip(&format!("-n {name}{end} link set lo up"))?;
        }
        for (end, net, port) in [("c", 1, "r0"), ("s", 2, "r1")] {
            ip(&format!("link add eth0 netns {name}{end} type veth peer name {port} netns {name}r"))?;
            ip(&format!("-n {name}{end} addr add 10.77.{net}.2/24 dev eth0"))?;
            ip(&format!("-n {name}r addr add 10.77.{net}.1/24 dev {port}"))?;
            ip(&format!("-n {name}{end} link set eth0 up"))?;
            ip(&format!("-n {name}r link set {port} up"))?;
            ip(&format!("-n {name}{end} route add default via 10.77.{net}.1"))?;
        }
        let forward = Command::new("ip")
            .args([
                "netns",
                "exec",
                &format!("{name}r"),
                "sh",
                "-c",
                "echo 1 > /proc/sys/net/ipv4/ip_forward",
            ])
            .status();
        match forward {
            Ok(status) if status.success() => Ok(lab),
            other => Err(format!("the router does not forward: {other:?}")),
        }
    }

    /// A command in the client's (`c`) or the server's (`s`) namespace.
    pub(crate) fn within(&self, end: &str, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}{end}", self.name)]).arg(program);
        command
    }

    /// From here on the router drops everything, without a word.
    pub(crate) fn cut(&self) -> Result<(), String> {
        ip(&format!("-n {}r route add blackhole 10.77.1.2/32", self.name))?;
        ip(&format!("-n {}r route add blackhole 10.77.2.2/32", self.name)).map(drop)
    }

    /// From here on the router drops what belongs to connections there are; new ones pass.
    pub(crate) fn forget(&self) -> Result<(), String> {
        let ports = self.client_ports()?;
        if ports.is_empty() {
            return Err("there is no connection to forget".into());
        }
        for port in ports {
            for side in ["sport", "dport"] {
                ip(&format!("-n {}r rule add ipproto tcp {side} {port} blackhole", self.name))?;
            }
        }
        Ok(())
    }

    /// The client's ports of connections to the server.
    fn client_ports(&self) -> Result<Vec<u16>, String> {
        const ESTABLISHED: &str = "01";
        let table = ip(&format!("netns exec {}c cat /proc/net/tcp", self.name))?;
        let port =
            |address: &str| address.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        let client_port = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
            (state == ESTABLISHED && port(remote) == Some(SERVER_PORT)).then(|| port(local)).flatten()
        };
        Ok(table.lines().filter_map(client_port).collect())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for end in ["c", "r", "s"] {
            // It may never have been made.
            let _ = ip(&format!("netns del {}{end}", self.name));
        }
    }
}
