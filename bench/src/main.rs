//! One command, one table: what calls cost our server and client, and what they cost those of tonic, grpc-go and C++ gRPC, an
//! HTTP/2 server in C, and a TCP server that moves the same octets without looking at them.
//!
//! Programs are built and started here, what is measured pinned to one core and its other side to another. What counts is CPU
//! time per call; calls per second depend on the other side as well. Left out: open loops, more than two cores.

mod alone;
mod encrypted;
mod exact;
mod far;
mod idle;
mod load;
mod open_streams;
mod peer;
mod plot;
mod programs;
mod relay;
mod rounds;
mod rows;
mod sharing;
mod table;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use peer::Cores;
use programs::Programs;
use table::{Conditions, Table};

const HELP: &str = "\
Measures our server and client beside other stacks.

Usage: clearway-bench [--full] [--rounds N] [--seconds S] [--only IDS] [--json] [--save FILE]
       clearway-bench --plot FILE.json --to FILE.svg

  --full       5 rounds of 1 s each (9 of 2 s for a single call in flight) instead of 3 of 0.3 s
  --rounds N   measure each program N times
  --seconds S  for about so long each time; fractions are fine
  --only IDS   only these sections, such as a-20,client-20; a word takes all sections that begin with it
  --json       print JSON instead of text
  --save FILE  write the JSON to a file as well
  --plot FILE  draw what --save wrote, as an SVG file named by --to
  --help       print this

Builds what it measures (not counted above). Needs h2load (Debian package nghttp2-client). What else it can use, and says
when it is missing: taskset, go, C++ gRPC (libgrpc++-dev, protobuf-compiler-grpc, pkg-config, g++), nghttpd
(nghttp2-server), strace, valgrind.
";

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Effort {
    rounds: usize,
    /// Of a single call in flight.
    lonely_rounds: usize,
    each: Duration,
}

const SHORT: Effort = Effort { rounds: 3, lonely_rounds: 3, each: Duration::from_millis(300) };
const FULL: Effort = Effort { rounds: 5, lonely_rounds: 9, each: Duration::from_secs(1) };

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    Measure { effort: Effort, only: Vec<String>, json: bool, save: Option<PathBuf> },
    Plot { from: PathBuf, to: PathBuf },
    Help,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let asked = match read_flags(std::env::args_os().skip(1)) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("clearway-bench: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = match asked {
        Asked::Help => {
            print!("{HELP}");
            Ok(())
        }
        Asked::Plot { from, to } => draw(&from, &to),
        Asked::Measure { effort, only, json, save } => report(effort, &only, json, save.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clearway-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_flags(args: impl IntoIterator<Item = OsString>) -> Outcome<Asked> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut effort, mut rounds, mut each) = (SHORT, None, None);
    let (mut only, mut json, mut save, mut from, mut to) = (Vec::new(), false, None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("full") => effort = FULL,
            Long("json") => json = true,
            Long("rounds") => rounds = Some(parser.value()?.parse()?),
            Long("seconds") => each = Some(Duration::try_from_secs_f64(parser.value()?.parse()?)?),
            Long("only") => only.extend(parser.value()?.string()?.split(',').map(str::to_owned)),
            Long("save") => save = Some(parser.value()?.into()),
            Long("plot") => from = Some(parser.value()?.into()),
            Long("to") => to = Some(parser.value()?.into()),
            Long("help") => return Ok(Asked::Help),
            other => return Err(format!("{}; see --help", other.unexpected()).into()),
        }
    }
    match (from, to) {
        (Some(from), Some(to)) => return Ok(Asked::Plot { from, to }),
        (None, None) => {}
        _ => return Err("--plot and --to go together; see --help".into()),
    }
    effort.lonely_rounds = rounds.unwrap_or(effort.lonely_rounds);
    effort.rounds = rounds.unwrap_or(effort.rounds);
    effort.each = each.unwrap_or(effort.each);
    if effort.rounds == 0 || effort.each.is_zero() {
        return Err("--rounds and --seconds: more than nothing".into());
    }
    Ok(Asked::Measure { effort, only, json, save })
}

fn draw(from: &Path, to: &Path) -> Outcome<()> {
    let table = serde_json::from_str(&std::fs::read_to_string(from)?)?;
    Ok(std::fs::write(to, plot::svg(&table)?)?)
}

fn report(effort: Effort, only: &[String], json: bool, save: Option<&Path>) -> Outcome<()> {
    if std::process::Command::new("h2load").arg("--version").output().is_err() {
        eprintln!("clearway-bench: skipped: h2load is not installed (Debian package nghttp2-client)");
        return Ok(());
    }
    let table = measure(effort, only)?;
    if let Some(path) = save {
        std::fs::write(path, format!("{:#}\n", table.to_json()))?;
    }
    if json {
        println!("{:#}", table.to_json());
    } else {
        print!("{table}");
    }
    Ok(())
}

fn measure(effort: Effort, only: &[String]) -> Outcome<Table> {
    let programs = Programs::build()?;
    let cores = Cores::choose();
    let wanted = |id: &str| only.is_empty() || only.iter().any(|start| id.starts_with(start));
    let mut sections = Vec::new();
    for plan in rows::plans(&programs, cores, &wanted)? {
        eprintln!("measuring {}", plan.id);
        sections.push(plan.measure(effort, cores)?);
    }
    let (encrypted, mut missing) = encrypted::sections(&programs, effort, cores, &wanted)?;
    sections.extend(encrypted);
    eprintln!("measuring what is shared, far away, idle, and what can be counted");
    sections.extend(alone::sections(&programs, effort, cores, &wanted)?);
    sections.extend(sharing::sections(&programs, effort, &wanted)?);
    sections.extend(far::sections(&programs, effort, &wanted)?);
    sections.extend(idle::sections(&programs, &wanted)?);
    let (counted, uncounted) = exact::sections(&programs, effort, &wanted)?;
    sections.extend(counted);
    missing.extend(uncounted);
    let (among, uncounted) = open_streams::sections(&programs, effort, &wanted)?;
    sections.extend(among);
    missing.extend(uncounted);
    if sections.is_empty() {
        return Err(format!("--only {}: no such section", only.join(",")).into());
    }
    let Programs { versions, mut notices, .. } = programs;
    notices.extend(missing);
    let conditions = Conditions { effort, cores, processor: peer::processor(), versions, notices };
    Ok(Table { conditions, sections })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Outcome<Asked> {
        read_flags(args.iter().map(OsString::from))
    }

    #[test]
    fn flags_are_read() {
        let short = Asked::Measure { effort: SHORT, only: Vec::new(), json: false, save: None };
        assert_eq!(read(&[]).unwrap(), short);
        let full = Asked::Measure { effort: FULL, only: Vec::new(), json: true, save: Some("f".into()) };
        assert_eq!(read(&["--full", "--json", "--save=f"]).unwrap(), full);
        let effort = Effort { rounds: 5, lonely_rounds: 5, each: Duration::from_millis(500) };
        let only = vec!["a".to_owned(), "idle".to_owned()];
        let asked = read(&["--rounds", "5", "--full", "--seconds=0.5", "--only", "a,idle"]).unwrap();
        assert_eq!(asked, Asked::Measure { effort, only, json: false, save: None });
        let plot = Asked::Plot { from: "a.json".into(), to: "b.svg".into() };
        assert_eq!(read(&["--plot=a.json", "--to=b.svg"]).unwrap(), plot);
        assert_eq!(read(&["--help"]).unwrap(), Asked::Help);
    }

    #[test]
    fn no_effort_is_refused() {
        for bad in
            [&["--rounds=0"][..], &["--seconds=0"], &["--seconds=-1"], &["--fast"], &["more"], &["--plot=x"]]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
