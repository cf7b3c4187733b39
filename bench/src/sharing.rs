//! How a server shares what it has: cores between calls of one connection that compute, a connection between calls that block
//! and calls that do not or between streams that are read and streams that are not, and connections between two threads.
//!
//! Two workers and a load generator, none pinned: where the scheduler puts them is part of what is measured.

use std::time::Duration;

use crate::load::{H2load, Printed};
use crate::peer::{Cores, Peer, load_average};
use crate::programs::{Contender, Programs, Scheduler};
use crate::rounds::{Plan, Subject, Work};
use crate::table::{Bar, Row, Sample, Section, Target};
use crate::{Effort, Outcome};

/// What a `Spin` call computes, and how many of them are in flight.
const SPIN: Duration = Duration::from_micros(50);

/// What is asked of a server, and read of it.
struct Shared {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    client: &'static [&'static str],
    /// Calls in a second, about, for how long a measurement takes.
    rate: f64,
    read: fn(&Printed) -> Outcome<Sample>,
    bar: Bar,
}

const SHARED: [Shared; 2] = [
    Shared {
        id: "spin",
        title: "Spin (50 us), 64 in flight on 1 connection, 2 workers: cores at work for calls, of those the load generator left",
        unit: "of the cores left",
        client: &["--method=spin", "--micros=50", "--concurrency=64"],
        rate: 30_000.0,
        read: cores_used,
        bar: Bar::AtLeast(0.85),
    },
    Shared {
        id: "beside-block",
        title: "Unary, one at a time beside Block (5 ms), one at a time, on 1 connection, 2 workers: 99th percentile after 100 calls",
        unit: "us",
        client: &["--method=beside-block", "--micros=5000", "--latency"],
        rate: 5_000.0,
        read: slowest,
        bar: Bar::AtMost(2_000.0),
    },
];

fn cores_used(printed: &Printed) -> Outcome<Sample> {
    let seconds = printed.number("seconds")?;
    let rate = printed.number("calls")? / seconds;
    let left = 2.0 - printed.number("client_cpu_seconds")? / seconds;
    Ok(Sample { cost: rate * SPIN.as_secs_f64() / left, user: None, rate: Some(rate) })
}

fn slowest(printed: &Printed) -> Outcome<Sample> {
    let rate = printed.number("calls")? / printed.number("seconds")?;
    Ok(Sample { cost: printed.number("p99_micros")?, user: None, rate: Some(rate) })
}

pub(crate) fn sections(
    programs: &Programs,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
) -> Outcome<Vec<Section>> {
    let mut sections = Vec::new();
    for shared in SHARED.iter().filter(|shared| wanted(shared.id)) {
        sections.push(shared.section(programs, effort)?);
    }
    if wanted(UNREAD) {
        sections.push(beside_unread(programs, effort)?);
    }
    if wanted(PER_CORE) {
        sections.push(per_core(programs, effort)?);
    }
    Ok(sections)
}

impl Shared {
    fn section(&self, programs: &Programs, effort: Effort) -> Outcome<Section> {
        let client = programs.our_client(Scheduler::CurrentThread).command.with(self.client.iter().copied());
        let calls = Duration::as_secs_f64(&effort.each) * self.rate;
        let requests = [format!("--requests={calls:.0}")];
        let contenders = two_workers(programs);
        let mut rows: Vec<_> = contenders.iter().map(Row::new).collect();
        for _ in 0..effort.rounds {
            for (contender, row) in contenders.iter().zip(&mut rows) {
                let server = Peer::start(&contender.command, None)?;
                row.samples.push((self.read)(&Printed::of(&client, None, server.port(), &requests)?)?);
            }
        }
        let targets = vec![Target { scheduler: None, bar: self.bar }];
        let Self { id, title, unit, .. } = *self;
        Ok(Section { id: id.into(), title: title.into(), unit, rows, targets, load: load_average() })
    }
}

/// Ours and tonic's with two workers: the other programs have neither method.
fn two_workers(programs: &Programs) -> [Contender; 2] {
    [programs.tonic_server(Scheduler::TwoWorkers), programs.our_server(Scheduler::TwoWorkers)]
}

const UNREAD: &str = "beside-unread";

/// What 99 streams of a connection carry while another one is not read, of what they carry when there is no other.
fn beside_unread(programs: &Programs, effort: Effort) -> Outcome<Section> {
    /// Messages in each call, and about how many calls a second there are.
    const MESSAGES: f64 = 100.0;
    const RATE: f64 = 3_000.0;

    let client = programs.our_client(Scheduler::CurrentThread).command;
    let client =
        client.with(["--method=server-stream", "--concurrency=99", "--payload=1024", "--messages=100"]);
    let requests = format!("--requests={:.0}", (effort.each.as_secs_f64() * RATE).max(500.0));
    let rate = |contender: &Contender, unread: u32| -> Outcome<f64> {
        let server = Peer::start(&contender.command, None)?;
        let more = [requests.clone(), format!("--unread={unread}")];
        let printed = Printed::of(&client, None, server.port(), &more)?;
        Ok(printed.number("calls")? * MESSAGES / printed.number("seconds")?)
    };
    let contenders = programs.rust_servers();
    let mut rows: Vec<_> = contenders.iter().map(Row::new).collect();
    for _ in 0..effort.rounds {
        for (contender, row) in contenders.iter().zip(&mut rows) {
            let (alone, beside) = (rate(contender, 0)?, rate(contender, 1)?);
            row.samples.push(Sample { cost: beside / alone, user: None, rate: Some(beside) });
        }
    }
    Ok(Section {
        id: UNREAD.into(),
        title: "ServerStream, 99 calls at a time on 1 connection, 100 messages of 1 KiB each, beside one that is not read: messages/s as a part of what they are without it".into(),
        unit: "of the rate alone",
        rows,
        targets: vec![Target { scheduler: None, bar: Bar::AtLeast(0.95) }],
        load: load_average(),
    })
}

const PER_CORE: &str = "two-threads-20";

/// Connections spread over two threads: by stealing, and by the kernel.
fn per_core(programs: &Programs, effort: Effort) -> Outcome<Section> {
    let work = Work::H2load(H2load::new(programs.scratch(), "Unary", 10, 10, 20)?);
    let mut contenders = two_workers(programs).to_vec();
    contenders.push(programs.our_server(Scheduler::TwoCores));
    let subject = |contender| Subject::Server { contender, work: work.clone() };
    let plan = Plan {
        id: PER_CORE.into(),
        title: "Unary, 10 connections x 10 at a time, payload 20 B, two threads, nothing pinned: a work-stealing pool, and ThreadPerCore".into(),
        unit: "us server CPU/call",
        subjects: contenders.into_iter().map(subject).collect(),
        targets: Vec::new(),
        lonely: false,
    };
    plan.measure(effort, Cores { server: None, load: None })
}
