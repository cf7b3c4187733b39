//! A peer suite: what it is called, what it needs, and how it comes to a verdict.
//!
//! To add one, write `fn run(&Workspace) -> Verdict` in a file of `suites/` and a row in [`crate::suites::ALL`]. A suite
//! whose needs are not met is skipped, with a notice that says what is missing; it never passes by that.

use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::workspace::Workspace;

/// A suite of other people's programs against ours.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&Workspace) -> Verdict,
}

/// `Ok` says what passed, in a few words; `Err` what failed, in as many as it takes.
pub(crate) type Verdict = Result<String, String>;

/// Something without which a suite cannot run.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// A program of other people's, in target/peers/bin or on PATH.
    Peer(&'static str),
    /// A program of the interop package.
    Ours(&'static str),
    /// A file of the checkout: a script, or the manifest of a program with a workspace of its own.
    File(&'static str),
    /// The Python environment of `cargo xtask peers`.
    Python,
    /// Java, and grpc-java's programs, which `cargo xtask peers` fetches.
    Java,
    /// Node, and the modules that `cargo xtask peers` installs for it.
    Node,
    /// The right to capture what passes over the loopback interface.
    Capture,
}

impl Need {
    /// What is missing, if it is.
    pub(crate) fn missing(self, workspace: &Workspace) -> Option<String> {
        let (there, what) = match self {
            Self::Peer(program) => {
                (workspace.peer(program).is_some(), format!("{program} is not installed (cargo xtask peers)"))
            }
            Self::Ours(program) => {
                (workspace.has_program(program), format!("interop has no program {program} yet"))
            }
            Self::File(path) => (workspace.root.join(path).is_file(), format!("there is no {path} yet")),
            Self::Python => {
                (workspace.python().is_some(), "target/peers/venv is not there (cargo xtask peers)".into())
            }
            Self::Java => {
                let there = workspace.peer("java").is_some() && workspace.java_classes().is_some();
                (there, "Java or target/peers/java is not there (cargo xtask peers)".into())
            }
            Self::Node => {
                let there = workspace.peer("node").is_some() && workspace.node_modules().is_some();
                (there, "Node or target/peers/node is not there (cargo xtask peers)".into())
            }
            Self::Capture => (may_capture(workspace), "dumpcap may not capture on lo here".into()),
        };
        (!there).then_some(what)
    }
}

fn may_capture(workspace: &Workspace) -> bool {
    // To list what the interface carries it must be opened.
    let ask = |dumpcap| process::run(Command::new(dumpcap).args(["-i", "lo", "-L"]), Duration::from_secs(10));
    workspace.peer("dumpcap").is_some_and(|dumpcap| ask(dumpcap).is_ok_and(|finished| finished.success()))
}

impl Suite {
    /// Everything the suite lacks; empty if it can run.
    pub(crate) fn lacks(&self, workspace: &Workspace) -> Vec<String> {
        self.needs.iter().filter_map(|need| need.missing(workspace)).collect()
    }
}
