//! The line that a server program writes on stderr when a connection ends.

use std::io::Write as _;

use clearway::transport::Closed;

/// Which ends are worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Those of connections that we cut off because their peer broke a rule or pressed against a limit.
    CutOff,
    /// All, with the number of tasks that the runtime still has.
    All,
}

impl Ends {
    /// Writes the line. Must be called inside a tokio runtime.
    pub fn log(self, closed: &Closed) {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        // With nobody to read it there is nothing to say.
        let _ = match self {
            Self::All => writeln!(std::io::stderr().lock(), "{closed}; {tasks} tasks alive"),
            Self::CutOff if closed.is_peers_fault() => writeln!(std::io::stderr().lock(), "{closed}"),
            Self::CutOff => Ok(()),
        };
    }
}
