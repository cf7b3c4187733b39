//! One command, one side-by-side table: what a unary call costs our server, tonic's, and a TCP server that moves the same
//! octets without looking at them.
//!
//! Programs are built and started here, the server pinned to one core and the load generator to another. Each contender is
//! measured once a round, in an order that turns around from round to round, so that a machine that slows down slows all.
//! What counts is CPU time per call; calls per second depend on the load generator as well.
//!
//! Left out: our client's cost, latency, open loops, TLS, more than one connection.

mod load;
mod peer;
mod programs;
mod relay;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use load::{Exchange, Load};
use peer::{Cores, Peer};
use programs::{Contender, Programs};
use table::{Cell, Conditions, Row, Sample, Table};

const HELP: &str = "\
Measures a unary echo on our server, on tonic's and over bare TCP, side by side.

Usage: clearway-bench [--full] [--rounds N] [--seconds S] [--json]

  --full       9 rounds of 3 s (about 11 minutes) instead of 3 rounds of 1 s (about 90 s)
  --rounds N   measure each server N times
  --seconds S  for about so long each time; fractions are fine
  --json       print JSON instead of text
  --help       print this

Builds what it measures (not counted above). Needs h2load (Debian package nghttp2-client); pins programs to cores when
taskset is there and two cores are allowed.
";

/// Calls at a time on one connection: the shapes that show the cost of a call and of a batch.
const SHAPES: [Shape; 2] = [Shape { name: "a", streams: 100 }, Shape { name: "c", streams: 1 }];

/// Octets of payload: a small answer, and one of everyday size.
const PAYLOADS: [usize; 2] = [20, 1024];

/// How many calls are in flight on the one connection.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    streams: u32,
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Effort {
    rounds: usize,
    each: Duration,
}

const SHORT: Effort = Effort { rounds: 3, each: Duration::from_secs(1) };
const FULL: Effort = Effort { rounds: 9, each: Duration::from_secs(3) };

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    Measure { effort: Effort, json: bool },
    Help,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let (effort, json) = match read_flags(std::env::args_os().skip(1)) {
        Ok(Asked::Measure { effort, json }) => (effort, json),
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("clearway-bench: {error}");
            return ExitCode::from(2);
        }
    };
    let Some(h2load) = load::h2load_version() else {
        eprintln!("clearway-bench: skipped: h2load is not installed (Debian package nghttp2-client)");
        return ExitCode::SUCCESS;
    };
    match measure(effort, h2load) {
        Ok(table) if json => println!("{:#}", table.to_json()),
        Ok(table) => print!("{table}"),
        Err(error) => {
            eprintln!("clearway-bench: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn read_flags(args: impl IntoIterator<Item = std::ffi::OsString>) -> Outcome<Asked> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut effort, mut rounds, mut each, mut json) = (SHORT, None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("full") => effort = FULL,
            Long("json") => json = true,
            Long("rounds") => rounds = Some(parser.value()?.parse()?),
            Long("seconds") => each = Some(Duration::try_from_secs_f64(parser.value()?.parse()?)?),
            Long("help") => return Ok(Asked::Help),
            other => return Err(format!("{}; see --help", other.unexpected()).into()),
        }
    }
    let effort = Effort { rounds: rounds.unwrap_or(effort.rounds), each: each.unwrap_or(effort.each) };
    if effort.rounds == 0 || effort.each.is_zero() {
        return Err("--rounds and --seconds: more than nothing".into());
    }
    Ok(Asked::Measure { effort, json })
}

fn measure(effort: Effort, h2load: String) -> Outcome<Table> {
    let programs = Programs::build()?;
    let cores = Cores::choose();
    let mut cells = Vec::new();
    for shape in SHAPES {
        for payload in PAYLOADS {
            eprintln!("measuring 1 connection x {} calls, {payload} octets", shape.streams);
            cells.push(measure_cell(&programs, cores, effort, shape, payload)?);
        }
    }
    let conditions = Conditions { effort, cores, h2load, processor: peer::processor() };
    Ok(Table { conditions, cells })
}

fn measure_cell(
    programs: &Programs,
    cores: Cores,
    effort: Effort,
    shape: Shape,
    payload: usize,
) -> Outcome<Cell> {
    let load = Load::new(programs, cores, shape.streams, payload)?;
    let exchange = octets_on_the_wire(programs, cores, &load)?;
    let contenders = programs.contenders(exchange);
    let mut calls = Vec::new();
    for contender in &contenders {
        calls.push(calls_that_take(effort.each, contender, cores, &load, exchange)?);
    }
    let mut rows: Vec<Row> = contenders.iter().map(|contender| Row::new(contender.name)).collect();
    for round in 0..effort.rounds {
        let mut turn: Vec<_> = contenders.iter().zip(&calls).zip(&mut rows).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for ((contender, calls), row) in turn {
            row.samples.push(sample(contender, cores, &load, exchange, *calls)?);
        }
    }
    Ok(Cell { shape, payload, exchange, rows })
}

/// What a call of this load is made of: our server behind a relay that counts.
fn octets_on_the_wire(programs: &Programs, cores: Cores, load: &Load) -> Outcome<Exchange> {
    /// Two runs of different length, so that the opening of the connection cancels out.
    const FEW: u64 = 500;
    const MANY: u64 = 5_500;

    let server = Peer::start(&programs.ours(), cores.server)?;
    let few = relay::count(server.port(), |port| load.h2load(port, FEW).map(drop))?;
    let many = relay::count(server.port(), |port| load.h2load(port, MANY).map(drop))?;
    let each = |few: u64, many: u64| usize::try_from((many - few + (MANY - FEW) / 2) / (MANY - FEW));
    Ok(Exchange { request: each(few.up, many.up)?, response: each(few.down, many.down)? })
}

/// How many calls keep this contender busy for about `wanted`.
fn calls_that_take(
    wanted: Duration,
    contender: &Contender,
    cores: Cores,
    load: &Load,
    exchange: Exchange,
) -> Outcome<u64> {
    const PROBE: u64 = 2_000;

    let server = Peer::start(&contender.command, cores.server)?;
    let took = load.run(contender.protocol, server.port(), exchange, PROBE)?;
    let calls = u128::from(PROBE) * wanted.as_nanos() / took.as_nanos().max(1);
    Ok(u64::try_from(calls)?.max(PROBE))
}

/// One fresh server, warmed up and measured.
fn sample(
    contender: &Contender,
    cores: Cores,
    load: &Load,
    exchange: Exchange,
    calls: u64,
) -> Outcome<Sample> {
    let server = Peer::start(&contender.command, cores.server)?;
    load.run(contender.protocol, server.port(), exchange, (calls / 10).max(1_000))?;
    let before = server.cpu_time()?;
    let took = load.run(contender.protocol, server.port(), exchange, calls)?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    Ok(Sample::new(calls, cpu, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Outcome<Asked> {
        read_flags(args.iter().map(std::ffi::OsString::from))
    }

    #[test]
    fn flags_are_read() {
        assert_eq!(read(&[]).unwrap(), Asked::Measure { effort: SHORT, json: false });
        assert_eq!(read(&["--full", "--json"]).unwrap(), Asked::Measure { effort: FULL, json: true });
        let effort = Effort { rounds: 5, each: Duration::from_millis(500) };
        let asked = read(&["--rounds", "5", "--full", "--seconds=0.5"]).unwrap();
        assert_eq!(asked, Asked::Measure { effort, json: false });
        assert_eq!(read(&["--help"]).unwrap(), Asked::Help);
    }

    #[test]
    fn no_effort_is_refused() {
        for bad in [&["--rounds=0"][..], &["--seconds=0"], &["--seconds=-1"], &["--fast"], &["more"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
