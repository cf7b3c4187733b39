//! How a server shares what it has: cores between calls of one connection that compute, and a connection between calls
//! that block and calls that do not.
//!
//! Two workers and a load generator, none pinned: where the scheduler puts them is part of what is measured.

use std::time::Duration;

use crate::load::Printed;
use crate::peer::{Peer, load_average};
use crate::programs::{Contender, Programs, Scheduler, Stack};
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
    SHARED.iter().filter(|shared| wanted(shared.id)).map(|shared| shared.section(programs, effort)).collect()
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
        for row in &mut rows {
            row.name = row.name.replace("x1", "x2");
        }
        let targets = vec![Target { scheduler: None, bar: self.bar }];
        let Self { id, title, unit, .. } = *self;
        Ok(Section { id: id.into(), title: title.into(), unit, rows, targets, load: load_average() })
    }
}

/// Ours and tonic's with two workers: the other programs have neither method.
fn two_workers(programs: &Programs) -> Vec<Contender> {
    let mut contenders = programs.rust_servers();
    contenders.retain(|contender| {
        contender.scheduler == Scheduler::OneWorker
            && matches!(contender.stack, Stack::Tonic | Stack::Clearway)
    });
    for contender in &mut contenders {
        for arg in &mut contender.command.args {
            if arg == "--workers=1" {
                "--workers=2".clone_into(arg);
            }
        }
    }
    contenders
}
