//! connectconformance: gRPC in both roles, against connect-go's and grpc-go's sides, which are inside the suite's one program.
//!
//! No list of known failures: all cases must pass, and there must be as many as there were when they were counted.

use std::time::Duration;

use super::peer;
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// What the suite is told, and how many cases that makes.
struct Run {
    mode: &'static str,
    program: &'static str,
    cases: u64,
    /// Cases at once: those with timeouts want some hundred milliseconds of honest scheduling. A client decides by itself.
    flags: &'static [&'static str],
}

pub(super) const H2C: &str = "interop/grpc-h2c.yaml";
pub(super) const COMPRESSIONS: &str = "interop/grpc-compressions.yaml";
pub(super) const TLS: &str = "interop/grpc-tls.yaml";

const PARALLEL: &[&str] = &["--parallel", "4"];
/// The longest takes some 20 s on two cores.
const LIMIT: Duration = Duration::from_secs(300);

/// In cleartext.
pub(crate) fn run(workspace: &Workspace) -> Verdict {
    both(workspace, H2C, 372, 403)
}

/// In cleartext, by deflate and zstd.
pub(crate) fn run_compressions(workspace: &Workspace) -> Verdict {
    both(workspace, COMPRESSIONS, 176, 210)
}

/// Over TLS, with certificates of servers and of clients.
pub(crate) fn run_tls(workspace: &Workspace) -> Verdict {
    both(workspace, TLS, 194, 231)
}

fn both(workspace: &Workspace, config: &str, server: u64, client: u64) -> Verdict {
    let runs = [
        Run { mode: "server", program: "conformance-server", cases: server, flags: PARALLEL },
        Run { mode: "client", program: "conformance-client", cases: client, flags: &[] },
    ];
    let mut passed = Vec::new();
    for run in runs {
        passed.push(one(workspace, config, &run).map_err(|failure| format!("{}: {failure}", run.mode))?);
    }
    Ok(passed.join(", "))
}

fn one(workspace: &Workspace, config: &str, run: &Run) -> Verdict {
    let mut command = peer(workspace, "connectconformance");
    command.arg("--conf").arg(workspace.root.join(config)).args(["--mode", run.mode, "--trace"]);
    command.args(run.flags).arg("--").arg(workspace.program(run.program));
    let finished = process::run(&mut command, LIMIT)?;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    judge(&said, run.cases, finished.success()).map(|cases| format!("{} {cases} of {cases}", run.mode))
}

/// The verdict is in what it says: its exit code does not tell how many cases there were.
fn judge(said: &str, wanted: u64, success: bool) -> Result<u64, String> {
    let total: Option<u64> =
        said.lines().find_map(|line| line.strip_prefix("Total cases: ")?.trim().parse().ok());
    let outcome = said.lines().rev().find(|line| line.contains(" passed, ") && line.ends_with(" failed"));
    let count = |word| outcome.and_then(|line| super::number_before(line, word));
    match (total, count("passed"), count("failed")) {
        (Some(total), Some(passed), Some(0)) if success && total == wanted && passed == wanted => Ok(passed),
        (total, passed, failed) => Err(format!(
            "want {wanted} cases and all passed; total {total:?}, passed {passed:?}, failed {failed:?}\n{}",
            failures(said)
        )),
    }
}

/// What failed, with the exchange of each; without any, the last lines.
fn failures(said: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = said.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("FAILED"));
    let from = first.unwrap_or_else(|| lines.len().saturating_sub(10));
    lines.get(from..).unwrap_or_default().iter().take(LINES).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_of_as_many_as_there_must_be_is_a_pass() {
        let said = |total: u64, passed: u64, failed: u64| {
            format!("loud talk\nTotal cases: {total}\n{passed} passed, {failed} failed\n")
        };
        assert_eq!(judge(&said(372, 372, 0), 372, true), Ok(372));
        for (text, success) in [
            (said(372, 372, 0), false),
            (said(371, 371, 0), true),
            (said(372, 371, 1), true),
            (said(372, 371, 0), true),
            ("Total cases: 372\n".into(), true),
            ("no verdict at all".into(), true),
        ] {
            assert!(judge(&text, 372, success).is_err(), "{text:?}");
        }
        let failed = judge("x\nFAILED: Basic/unary:\n\twhy\nTotal cases: 2\n1 passed, 1 failed\n", 2, false);
        assert!(failed.is_err_and(|failure| failure.contains("Basic/unary:\n\twhy")));
    }
}
