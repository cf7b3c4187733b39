//! How long a call takes that is alone: percentiles of one call in flight.
//!
//! What to look for is the far end. Delayed acknowledgements and Nagle's algorithm show as 40 ms, a lost wake-up as whatever
//! wakes next. Left out: open loops, so that what waits behind a slow call is not counted for it.

use crate::exact::at_most;
use crate::load::Printed;
use crate::peer::{Cores, Peer, load_average};
use crate::programs::{Contender, Programs, Scheduler};
use crate::table::{Row, Sample, Section, Target};
use crate::{Effort, Outcome};

/// Calls a second, about.
const RATE: f64 = 15_000.0;

/// What is read of each run: the member, and what it is called.
const FIGURES: [(&str, &str); 4] =
    [("p50", "median"), ("p99", "99th percentile"), ("p999", "99.9th percentile"), ("max", "longest")];

/// No call may take so long, in microseconds: Linux delays acknowledgements by this.
const DELAYED_ACKNOWLEDGEMENT: f64 = 40_000.0;

/// One section for each figure, all of the same runs.
pub(crate) fn sections(
    programs: &Programs,
    effort: Effort,
    cores: Cores,
    wanted: &dyn Fn(&str) -> bool,
) -> Outcome<Vec<Section>> {
    if !FIGURES.iter().any(|(name, _)| wanted(&id(name))) {
        return Ok(Vec::new());
    }
    let contenders = programs.grpc_servers();
    let calls = (effort.each.as_secs_f64() * 2.0 * RATE).max(2_000.0);
    let mut runs: Vec<Vec<Printed>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..effort.lonely_rounds {
        let mut turn: Vec<_> = contenders.iter().zip(&mut runs).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (contender, runs) in turn {
            runs.push(run(programs, contender, cores, calls)?);
        }
    }
    FIGURES
        .iter()
        .filter(|(name, _)| wanted(&id(name)))
        .map(|(name, title)| section(name, title, &contenders, &runs))
        .collect()
}

fn id(name: &str) -> String {
    format!("alone-{name}")
}

fn run(programs: &Programs, contender: &Contender, cores: Cores, calls: f64) -> Outcome<Printed> {
    let server = Peer::start(&contender.command, cores.server)?;
    let client = programs.our_client(Scheduler::CurrentThread).command.with(["--latency"]);
    Printed::of(&client, cores.load, server.port(), &[format!("--requests={calls:.0}")])
}

fn section(name: &str, title: &str, contenders: &[Contender], runs: &[Vec<Printed>]) -> Outcome<Section> {
    let mut rows = Vec::new();
    for (contender, runs) in contenders.iter().zip(runs) {
        let mut row = Row::new(contender);
        for printed in runs {
            let rate = printed.number("calls")? / printed.number("seconds")?;
            let cost = printed.number(&format!("{name}_micros"))?;
            row.samples.push(Sample { cost, user: None, rate: Some(rate) });
        }
        rows.push(row);
    }
    let targets: Vec<Target> =
        if name == "max" { vec![at_most(DELAYED_ACKNOWLEDGEMENT)] } else { Vec::new() };
    Ok(Section {
        id: id(name),
        title: format!("Unary, one call in flight by our client, payload 20 B: {title}"),
        unit: "us",
        rows,
        targets,
        load: load_average(),
    })
}
