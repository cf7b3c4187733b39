//! Running a server: pinned to a core, waited for, its CPU time and memory read, and stopped when it goes out of scope.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::programs::{Invocation, Port};

/// A server that has not said where it listens by then is broken.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Which core runs what; `None` leaves it to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) server: Option<usize>,
    pub(crate) load: Option<usize>,
}

impl Cores {
    /// The first two cores that this process may use, when `taskset` is there to pin programs to them.
    pub(crate) fn choose() -> Self {
        let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = allowed_cores(&status);
        match (taskset.is_ok_and(|status| status.success()), &allowed[..]) {
            (true, [server, load, ..]) => Self { server: Some(*server), load: Some(*load) },
            (false, _) => {
                eprintln!(
                    "taskset is not installed (Debian package util-linux): nothing is pinned to a core"
                );
                Self { server: None, load: None }
            }
            (true, _) => {
                eprintln!("only one core to run on: server and load generator share it");
                Self { server: None, load: None }
            }
        }
    }
}

/// The cores named by `Cpus_allowed_list` in `/proc/PID/status`, such as `0-1,4`.
fn allowed_cores(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    });
    ranges.flatten().collect()
}

/// The processor's name, for the reader of a table.
pub(crate) fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

/// A command that runs on `core`.
pub(crate) fn pinned(core: Option<usize>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A server that accepts connections.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    /// Starts a server and waits until it accepts connections.
    pub(crate) fn start(server: &Invocation, core: Option<usize>) -> Outcome<Self> {
        match server.port {
            Port::Announced => Self::start_and_read(server, core),
            Port::Last => Self::start_and_try(server, core),
        }
    }

    /// Waits for the line `listening on ADDRESS:PORT`.
    fn start_and_read(server: &Invocation, core: Option<usize>) -> Outcome<Self> {
        let name = server.program.display();
        let mut child = server
            .on_core(core)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let stdout = child.stdout.take();
        // From here on the child is stopped however this ends.
        let mut peer = Self { child, port: 0 };
        let (said, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut first = String::new();
            if let Some(stdout) = stdout {
                // A server that prints nothing is found by the limit on the other side.
                drop(BufReader::new(stdout).read_line(&mut first));
            }
            drop(said.send(first));
        });
        let line =
            line.recv_timeout(START_LIMIT).map_err(|_| format!("{name} does not say where it listens"))?;
        peer.port = port_in(&line).ok_or_else(|| format!("{name} says {line:?} instead of its address"))?;
        Ok(peer)
    }

    /// For servers that do not say when they are ready: gives a free port as the last argument and tries to connect.
    fn start_and_try(server: &Invocation, core: Option<usize>) -> Outcome<Self> {
        let name = server.program.display();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = server
            .on_core(core)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let peer = Self { child, port };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if start.elapsed() > START_LIMIT {
                return Err(format!("{name} does not accept connections").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(peer)
    }

    /// Where it listens on 127.0.0.1.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Outcome<()> {
        signal("-TERM", self.child.id())?;
        self.child.wait()?;
        Ok(())
    }

    /// Memory of the process that is in RAM, in octets.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        resident_in(&status).ok_or_else(|| "no VmRSS in /proc/PID/status".into())
    }

    /// The part of its CPU time that was not spent in the kernel, from 0 to 1 since it started, in the kernel's estimate.
    pub(crate) fn user_ticks(&self) -> Outcome<Ticks> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        Ticks::read(&stat).ok_or_else(|| "cannot read /proc/PID/stat".into())
    }

    /// How long all its threads ran so far, as the kernel's scheduler counts it.
    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        let mut total = Duration::ZERO;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            total += run_time(&schedstat).ok_or_else(|| format!("cannot read schedstat {schedstat:?}"))?;
        }
        Ok(total)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Clock ticks spent in user space and in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    user: u64,
    system: u64,
}

impl Ticks {
    /// Fields 14 and 15 of `/proc/PID/stat`, counted after the program's name, which may hold blanks.
    fn read(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        Some(Self { user: fields.next()?.parse().ok()?, system: fields.next()?.parse().ok()? })
    }

    /// The share of user space in what was spent since `before`; nothing when that is too little to say.
    pub(crate) fn user_share_since(self, before: Self) -> Option<f64> {
        let (user, system) = (self.user.checked_sub(before.user)?, self.system.checked_sub(before.system)?);
        (user + system >= 10).then(|| user as f64 / (user + system) as f64)
    }
}

/// Sends a signal, named as `kill` names it.
pub(crate) fn signal(name: &str, process: u32) -> Outcome<()> {
    let status = Command::new("kill").args([name, &process.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(format!("kill {name} {process}: {status}").into()) }
}

/// How busy the machine is: the average number of runnable threads in the last minute.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// `VmRSS` in octets.
fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// The port in `listening on ADDRESS:PORT`.
pub(crate) fn port_in(line: &str) -> Option<u16> {
    line.trim_end().strip_prefix("listening on ")?.rsplit_once(':')?.1.parse().ok()
}

/// The first field of a `schedstat` file: nanoseconds spent running.
fn run_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_line_all_servers_print() {
        assert_eq!(port_in("listening on 127.0.0.1:50051\n"), Some(50051));
        assert_eq!(port_in("listening on [::1]:7\n"), Some(7));
        assert_eq!(port_in("cannot listen on 127.0.0.1:1\n"), None);
        assert_eq!(port_in(""), None);
    }

    #[test]
    fn memory_is_read_in_octets() {
        assert_eq!(resident_in("VmSize:\t 9 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2 << 20));
        assert_eq!(resident_in("Threads:\t1\n"), None);
    }

    #[test]
    fn ticks_are_counted_after_the_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 9 0 0 0 30 70 0 0 20 0 1 0 5";
        let ticks = Ticks::read(stat).unwrap();
        assert_eq!(ticks, Ticks { user: 30, system: 70 });
        assert_eq!(ticks.user_share_since(Ticks { user: 0, system: 0 }), Some(0.3));
        assert_eq!(ticks.user_share_since(Ticks { user: 25, system: 68 }), None);
    }

    #[test]
    fn run_time_is_the_first_field() {
        assert_eq!(run_time("1234567 89 10\n"), Some(Duration::from_nanos(1_234_567)));
        assert_eq!(run_time(""), None);
    }

    #[test]
    fn allowed_cores_are_read_as_ranges() {
        assert_eq!(allowed_cores("Name:\tx\nCpus_allowed_list:\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(allowed_cores("Cpus_allowed_list:\t3"), [3]);
        assert_eq!(allowed_cores("nothing of the kind"), Vec::<usize>::new());
    }

    #[test]
    fn a_program_that_says_something_else_is_named() {
        let echo = Invocation::new("echo", ["hello"]);
        let error = Peer::start(&echo, None).unwrap_err().to_string();
        assert_eq!(error, "echo says \"hello\\n\" instead of its address");
    }
}
