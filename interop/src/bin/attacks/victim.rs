//! The program under attack: its process, what it says and uses, and a well-behaved neighbour that calls it meanwhile.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::wire::{self, Conn};

/// A server in a process of its own, ended when this is dropped.
pub(crate) struct Victim {
    child: Child,
    pub(crate) port: u16,
    said: Arc<Mutex<String>>,
}

/// What the process used at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident now, and at most so far.
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) cpu: Duration,
}

impl Victim {
    /// Starts a program and waits for the line that names its port.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let said = Arc::new(Mutex::new(String::new()));
        let (tell, port) = mpsc::channel();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if let Some(port) =
                        line.rsplit(':').next().and_then(|port| port.trim().parse::<u16>().ok())
                    {
                        let _ = tell.send(port);
                    }
                }
            });
            let said = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push_str(&line);
                    said.push('\n');
                }
            });
        }
        match port.recv_timeout(Duration::from_secs(20)) {
            Ok(port) => Ok(Self { child, port, said }),
            Err(_) => {
                // It is of no use.
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{command:?} does not listen"))
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line that the victim writes about the end of the connection to `peer`, if it comes in time.
    pub(crate) fn line(&self, peer: std::net::SocketAddr, limit: Duration) -> Option<String> {
        let wanted = format!("connection to {peer} ");
        let until = Instant::now() + limit;
        loop {
            let line = self.said().lines().find(|line| line.starts_with(&wanted)).map(str::to_owned);
            if line.is_some() || Instant::now() >= until {
                return line;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process must run, and no thread of it may have panicked.
    pub(crate) fn is_well(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => {}
            other => return Err(format!("the victim is gone: {other:?}")),
        }
        let said = self.said();
        if said.contains("panicked") { Err(format!("a panic: {said}")) } else { Ok(()) }
    }

    pub(crate) fn usage(&self) -> Result<Usage, String> {
        usage(self.child.id())
    }
}

/// What a process uses.
pub(crate) fn usage(process: u32) -> Result<Usage, String> {
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{process}/{file}")).map_err(|error| format!("/proc: {error}"))
    };
    let status = read("status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    // By threads, in nanoseconds: ticks are charged whole to whoever runs when one comes.
    let tasks =
        std::fs::read_dir(format!("/proc/{process}/task")).map_err(|error| format!("/proc: {error}"))?;
    let nanos = tasks.map_while(Result::ok).filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(Usage { resident_kib: kib("VmRSS:"), peak_kib: kib("VmHWM:"), cpu: Duration::from_nanos(nanos.sum()) })
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that keeps to the rules.
pub(crate) struct Neighbour {
    conn: Conn,
    next: u32,
}

impl Neighbour {
    pub(crate) fn connect(port: u16) -> Result<Self, String> {
        let mut conn = Conn::open(port, None)?;
        conn.start(&[])?;
        Ok(Self { conn, next: 1 })
    }

    pub(crate) fn local(&self) -> std::net::SocketAddr {
        self.conn.local
    }

    /// One unary call of 16 octets; how long it took.
    pub(crate) fn call(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let id = self.next;
        self.next = self.next.saturating_add(2);
        let body = [&[0x0a, 16][..], &[7; 16]].concat();
        let request = [
            wire::headers(id, 0, &wire::call("/bench.Echo/Unary")),
            wire::frame(wire::DATA, wire::END_STREAM, id, &wire::message(&body)),
        ];
        if !self.conn.send(&request.concat(), 2) {
            return Err("the neighbour cannot send".into());
        }
        loop {
            let frame = self.conn.next(Duration::from_secs(10)).ok_or("the neighbour is not answered")?;
            if frame.kind == wire::DATA {
                // What comes is read, and its credit goes back.
                let octets = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
                self.conn.send(&wire::window_update(0, octets), 1);
            }
            if frame.kind == wire::HEADERS && frame.stream == id && frame.flags & wire::END_STREAM != 0 {
                return match frame.field("grpc-status") {
                    Some("0") => Ok(began.elapsed()),
                    other => Err(format!("the neighbour is answered {other:?}")),
                };
            }
        }
    }
}

/// What became of a neighbour's calls.
pub(crate) struct Watched {
    pub(crate) neighbour: Neighbour,
    pub(crate) calls: u32,
    /// The longest that one took.
    pub(crate) worst: Duration,
}

/// A neighbour that calls all the time, on a thread of its own.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Watched, String>>,
}

impl Watch {
    pub(crate) fn begin(mut neighbour: Neighbour) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut calls, mut worst) = (0u32, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                worst = worst.max(neighbour.call()?);
                calls = calls.saturating_add(1);
                thread::sleep(Duration::from_millis(10));
            }
            Ok(Watched { neighbour, calls, worst })
        });
        Self { stop, thread }
    }

    /// Stops calling.
    pub(crate) fn end(self) -> Result<Watched, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the neighbour's thread panicked".to_owned())?
    }
}
