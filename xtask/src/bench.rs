//! `cargo xtask bench`: the side-by-side benchmarks, built for release. What it can be told is the bench package's to
//! say: everything after the verb goes there.

use std::ffi::OsString;

use crate::process;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, mut parser: lexopt::Parser) -> Result<bool, String> {
    let rest: Vec<OsString> = parser.raw_args().map_err(|error| error.to_string())?.collect();
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--package", "clearway-bench", "--"]).args(rest);
    process::show(&mut command)
}
