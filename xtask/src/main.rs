//! `cargo xtask VERB`: everything CI does, and the peers it does it with. One file per verb.

mod bench;
mod ci;
mod fuzz;
mod instructions;
mod peers;
mod process;
mod sim;
mod suite;
mod suites;
mod workspace;

use std::process::ExitCode;

use lexopt::prelude::*;
use workspace::Workspace;

const HELP: &str = "\
Usage: cargo xtask VERB

  ci [NAME...]     everything CI does, or the named steps only; ends in a table of what ran and what was skipped
  ci --list        the names of the steps
  peers            fetches and builds the programs of other people that CI needs, into target/peers
  sim [--level engine|grpc] [--seed N] [--steps N]
                   runs the simulations: the one seed, to replay it, or seeds nobody has run before
  bench [ARG...]   the side-by-side benchmarks, in release mode
  fuzz [--target NAME]... [--seconds N] [--list]
                   the fuzz targets, all of them or those named, N seconds each (600)
";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

/// True if all went well; an error is one of the command line or of the surroundings.
fn run() -> Result<bool, String> {
    let mut parser = lexopt::Parser::from_env();
    let verb = match parser.next().map_err(|error| error.to_string())? {
        Some(Value(verb)) => verb.string().map_err(|error| error.to_string())?,
        Some(Long("help") | Short('h')) | None => {
            print!("{HELP}");
            return Ok(true);
        }
        Some(other) => return Err(other.unexpected().to_string()),
    };
    let workspace = Workspace::find()?;
    match verb.as_str() {
        "ci" => ci::run(&workspace, parser),
        "peers" => peers::run(&workspace, parser),
        "sim" => sim::run(&workspace, parser),
        "bench" => bench::run(&workspace, parser),
        "fuzz" => fuzz::run(&workspace, parser),
        other => Err(format!("no verb {other:?}\n\n{HELP}")),
    }
}
