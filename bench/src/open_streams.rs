//! What a call costs a server whose connection has many other streams open: instructions in user space, counted by callgrind.
//!
//! A program that looks through its streams shows it here. Differences between a long and a short run of the same kind, so
//! that opening the streams and ending them cancels out.

use crate::exact::{Calls, Tool, at_most, count_server, installed};
use crate::load::Printed;
use crate::peer::load_average;
use crate::programs::{Programs, Scheduler};
use crate::table::{Row, Sample, Section};
use crate::{Effort, FULL, Outcome};

/// So many quiet `Bidi` calls are open on the connection of the calls that are counted.
const OPEN: [u32; 4] = [1, 100, 1_000, 10_000];

/// By so much a call may cost more than beside a single stream.
const MORE: f64 = 1.2;

/// The sections, and a notice if they cannot be had.
pub(crate) fn sections(
    programs: &Programs,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
) -> Outcome<(Vec<Section>, Vec<String>)> {
    let (mut sections, mut notices) = (Vec::new(), Vec::new());
    let mut alone = None;
    for open in OPEN {
        let id = format!("open-streams-{open}");
        if wanted(&id) && installed("valgrind", &mut notices) {
            let (section, ours) = section(programs, effort, id, open, alone)?;
            alone = alone.or(Some(ours).filter(|_| open == 1));
            sections.push(section);
        }
    }
    Ok((sections, notices))
}

/// The section, and the instructions of ours.
fn section(
    programs: &Programs,
    effort: Effort,
    id: String,
    open: u32,
    alone: Option<f64>,
) -> Outcome<(Section, f64)> {
    let Calls { few, many, .. } = Calls::of(effort);
    let client = programs.our_client(Scheduler::CurrentThread).command;
    let client = client.with(["--concurrency=100".to_owned(), format!("--open-streams={open}")]);
    let mut contenders = vec![programs.our_server(Scheduler::CurrentThread)];
    if effort.rounds >= FULL.rounds {
        // Ten thousand streams of tonic's take a while under valgrind.
        contenders.insert(0, programs.tonic_server(Scheduler::CurrentThread));
    }
    let (mut rows, mut ours) = (Vec::new(), f64::NAN);
    for contender in contenders {
        let server = contender.command.clone().with(["--max-streams=20000"]);
        let count = |calls: u64| {
            count_server(Tool::Callgrind, programs, &server, |port| {
                Printed::of(&client, None, port, &[format!("--requests={calls}")]).map(drop)
            })
        };
        let (short, long) = (count(few)?, count(many)?);
        let mut row = Row::new(&contender);
        let each = long.saturating_sub(short) as f64 / (many - few) as f64;
        row.samples.push(Sample::only(each.round()));
        rows.push(row);
        ours = each;
    }
    let targets = alone.map(|alone| at_most((alone * MORE).round())).into_iter().collect();
    let title = format!(
        "Instructions of the server in user space, Unary, 1 connection x 100 at a time by our client, {open} quiet Bidi call(s) open on it (callgrind)"
    );
    let unit = "instructions/call";
    Ok((Section { id, title, unit, rows, targets, load: load_average() }, ours))
}
