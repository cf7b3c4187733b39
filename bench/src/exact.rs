//! What can be counted: system calls (strace), instructions (callgrind) and heap allocations (dhat) of a unary call.
//!
//! Instructions and allocations are differences between a long and a short run of the same kind, so that starting up
//! cancels out. Clocks do not matter here: one run says it. A tool that is not installed is a notice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::load::{H2load, Printed};
use crate::peer::{Peer, load_average, signal};
use crate::programs::{Contender, Invocation, Programs, Scheduler, Stack};
use crate::table::{Bar, Row, Sample, Section, Target};
use crate::{Effort, FULL, Outcome};

/// How many calls are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// While strace counts.
    traced: u64,
    /// In a short and in a long run under valgrind.
    pub(crate) few: u64,
    pub(crate) many: u64,
}

impl Calls {
    pub(crate) const fn of(effort: Effort) -> Self {
        if effort.rounds < FULL.rounds {
            Self { traced: 5_000, few: 1_000, many: 3_000 }
        } else {
            Self { traced: 20_000, few: 2_000, many: 12_000 }
        }
    }
}

pub(crate) const fn at_most(figure: f64) -> Target {
    Target { scheduler: None, bar: Bar::AtMost(figure) }
}

/// The sections, and notices about those that cannot be had.
pub(crate) fn sections(
    programs: &Programs,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
) -> Outcome<(Vec<Section>, Vec<String>)> {
    let calls = Calls::of(effort);
    let (mut sections, mut notices) = (Vec::new(), Vec::new());
    for (id, payload, most) in [("syscalls-20", 20, 0.06), ("syscalls-1024", 1024, 0.12)] {
        if wanted(id) && installed("strace", &mut notices) {
            sections.push(syscalls(programs, calls, id, payload, most)?);
        }
    }
    for counted in COUNTED.iter().filter(|counted| wanted(counted.id)) {
        if installed("valgrind", &mut notices) {
            sections.push(counted.section(programs, calls)?);
        }
    }
    Ok((sections, notices))
}

pub(crate) fn installed(tool: &str, notices: &mut Vec<String>) -> bool {
    let version = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
    let found = version.is_ok_and(|status| status.success());
    let notice = format!("{tool} is not installed: what it counts is left out");
    if !found && !notices.contains(&notice) {
        eprintln!("{notice}");
        notices.push(notice);
    }
    found
}

fn syscalls(programs: &Programs, calls: Calls, id: &str, payload: usize, most: f64) -> Outcome<Section> {
    let load = H2load::new(programs.scratch(), "Unary", 1, 100, payload)?;
    let mut rows = Vec::new();
    for contender in programs.grpc_servers() {
        let mut row = Row::new(&contender);
        row.samples.push(Sample::only(traced(&contender, &load, calls.traced, programs.scratch())?));
        rows.push(row);
    }
    Ok(Section {
        id: id.into(),
        title: format!(
            "System calls of the server, Unary, 1 connection x 100 at a time, payload {payload} B (strace)"
        ),
        unit: "system calls/call",
        rows,
        targets: vec![at_most(most)],
        load: load_average(),
    })
}

/// System calls for each of so many calls, the connection's opening and closing included.
fn traced(contender: &Contender, load: &H2load, calls: u64, scratch: &Path) -> Outcome<f64> {
    let server = Peer::start(&contender.command, None)?;
    load.run(None, server.port(), 1_000)?;
    let summary = scratch.join("strace.txt");
    drop(std::fs::remove_file(&summary));
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-q", "-p", &server.id().to_string(), "-o"])
        .arg(&summary)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Attached once the kernel says so; strace stops the server for that moment.
    let attached = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap_or_default();
        status.contains(&format!("TracerPid:\t{}\n", strace.id()))
    };
    let tries = std::iter::repeat_with(|| std::thread::sleep(Duration::from_millis(20))).take(250);
    let attached = tries.into_iter().any(|()| attached());
    // Threads are attached one after another.
    std::thread::sleep(Duration::from_millis(200));
    let outcome = load.run(None, server.port(), calls);
    signal("-INT", strace.id())?;
    strace.wait()?;
    outcome?;
    let text = std::fs::read_to_string(&summary)?;
    let total = total_calls(&text).filter(|_| attached).ok_or("strace counted nothing")?;
    Ok(total as f64 / calls as f64)
}

/// The number of calls in the last line of `strace -c`: `100.00  0.01  3  401  1 total`.
fn total_calls(summary: &str) -> Option<u64> {
    let line = summary.lines().rfind(|line| line.ends_with(" total"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// A tool of valgrind's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    Callgrind,
    Dhat,
}

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Callgrind => "callgrind",
            Self::Dhat => "dhat",
        }
    }

    /// What it says in the end: `==7== Collected : 123` or `==7== Total:     1,234 bytes in 56 blocks`.
    fn total(self, log: &str) -> Option<u64> {
        let after = |start: &str| log.lines().find_map(|line| Some(line.split_once(start)?.1));
        let number = match self {
            Self::Callgrind => after("Collected : ")?,
            Self::Dhat => after("Total: ")?.split_once(" bytes in ")?.1.split_once(" blocks")?.0,
        };
        number.trim().replace(',', "").parse().ok()
    }
}

/// Something that valgrind counts.
struct Counted {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    tool: Tool,
    side: Side,
    most: f64,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Server,
    Client,
}

const COUNTED: [Counted; 4] = [
    Counted {
        id: "instructions-server",
        title: "Instructions of the server in user space, Unary, 1 connection x 100 at a time, payload 20 B (callgrind)",
        unit: "instructions/call",
        tool: Tool::Callgrind,
        side: Side::Server,
        most: 6_000.0,
    },
    Counted {
        id: "instructions-client",
        title: "Instructions of the client in user space, the same",
        unit: "instructions/call",
        tool: Tool::Callgrind,
        side: Side::Client,
        most: f64::INFINITY,
    },
    Counted {
        id: "allocations-server",
        title: "Heap allocations of the server, the same (dhat); one of them is prost's, for the payload",
        unit: "allocations/call",
        tool: Tool::Dhat,
        side: Side::Server,
        most: 3.0,
    },
    Counted {
        id: "allocations-client",
        title: "Heap allocations of the client, the same (dhat); one is prost's, and one the load generator's copy of its message",
        unit: "allocations/call",
        tool: Tool::Dhat,
        side: Side::Client,
        most: 5.0,
    },
];

impl Counted {
    fn section(&self, programs: &Programs, calls: Calls) -> Outcome<Section> {
        let mut contenders = match self.side {
            Side::Server => programs.grpc_servers(),
            Side::Client => programs.grpc_clients(),
        };
        // Valgrind knows neither Go's allocator nor much of its scheduler; a second tokio scheduler adds little.
        contenders.retain(|Contender { stack, scheduler, .. }| match stack {
            Stack::Go => false,
            Stack::Tonic | Stack::Clearway => *scheduler == Scheduler::CurrentThread,
            Stack::RawTcp | Stack::Cpp | Stack::Nghttpd => true,
        });
        let mut rows = Vec::new();
        for contender in contenders {
            let few = self.run(programs, &contender, calls.few)?;
            let many = self.run(programs, &contender, calls.many)?;
            let mut row = Row::new(&contender);
            let each = many.saturating_sub(few) as f64 / (calls.many - calls.few) as f64;
            // To a tenth: a buffer that grows once in a run is not a cost of each call.
            row.samples.push(Sample::only((each * 10.0).round() / 10.0));
            rows.push(row);
        }
        let targets = if self.most.is_finite() { vec![at_most(self.most)] } else { Vec::new() };
        let Self { id, title, unit, .. } = *self;
        Ok(Section { id: id.into(), title: title.into(), unit, rows, targets, load: load_average() })
    }

    fn run(&self, programs: &Programs, contender: &Contender, calls: u64) -> Outcome<u64> {
        match self.side {
            Side::Server => count_server(self.tool, programs, &contender.command, |port| {
                H2load::new(programs.scratch(), "Unary", 1, 100, 20)?.run(None, port, calls).map(drop)
            }),
            Side::Client => {
                let (command, total) = under(self.tool, programs, &contender.command);
                let server = Peer::start(&programs.our_server(Scheduler::CurrentThread).command, None)?;
                let client = command.with(["--concurrency=100", "--payload=20"]);
                Printed::of(&client, None, server.port(), &[format!("--requests={calls}")])?;
                total()
            }
        }
    }
}

/// What a tool counts in a server from its start to its end, when `load` is what happens in between.
pub(crate) fn count_server(
    tool: Tool,
    programs: &Programs,
    server: &Invocation,
    load: impl FnOnce(u16) -> Outcome<()>,
) -> Outcome<u64> {
    let (command, total) = under(tool, programs, server);
    let server = Peer::start(&command, None)?;
    load(server.port())?;
    server.end()?;
    total()
}

/// A program under a tool, and what the tool has counted once the program has ended.
fn under(
    tool: Tool,
    programs: &Programs,
    command: &Invocation,
) -> (Invocation, impl FnOnce() -> Outcome<u64>) {
    let name = tool.name();
    let log = programs.scratch().join("valgrind.log");
    let out = programs.scratch().join("valgrind.out");
    let args = [
        format!("--tool={name}"),
        format!("--log-file={}", log.display()),
        format!("--{name}-out-file={}", out.display()),
    ];
    let total = move || {
        let log = std::fs::read_to_string(&log)?;
        tool.total(&log).ok_or_else(|| format!("valgrind counted nothing:\n{log}").into())
    };
    (command.under("valgrind", args), total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_total_is_read() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.000600           3       200           recvfrom\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.001000           2       401         1 total\n";
        assert_eq!(total_calls(summary), Some(401));
        assert_eq!(total_calls(""), None);
    }

    #[test]
    fn valgrinds_totals_are_read() {
        let log = "==7== Events    : Ir\n==7== Collected : 1234567\n";
        assert_eq!(Tool::Callgrind.total(log), Some(1_234_567));
        let log = "==7== Total:     8,206,000 bytes in 1,036 blocks\n==7== At t-gmax: 9 bytes in 1 blocks\n";
        assert_eq!(Tool::Dhat.total(log), Some(1_036));
        assert_eq!(Tool::Dhat.total("==7== killed\n"), None);
    }
}
