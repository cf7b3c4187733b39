//! The `clearway` command. Each verb is a module of its own; this file only chooses.

mod demo;
mod flags;
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use flags::Command;

/// The command line could not be understood.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    match flags::parse(std::env::args_os().skip(1)) {
        Ok(Command::Demo(flags)) => demo::main(&flags),
        Ok(Command::Help(page)) => print(page),
        Ok(Command::Version) => print(concat!("clearway ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            eprintln!("clearway: {error}\nclearway --help lists what there is");
            ExitCode::from(BAD_USAGE)
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read has read enough.
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clearway: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
