//! A program that says what happens to it, a line at a time.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A child process and its lines; it does not outlive this.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, seen: Vec::new() })
    }

    /// The first line with these words, if it comes in time.
    pub(crate) fn expect(&mut self, words: &str, limit: Duration) -> Result<String, String> {
        let until = Instant::now() + limit;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(words) {
                return Ok(line);
            }
        }
        Err(format!("nobody said {words:?} within {limit:?}, but: {:?}", self.seen))
    }

    /// The last word of the line that a server begins with.
    pub(crate) fn address(&mut self) -> Result<String, String> {
        let line = self.expect("listening on ", Duration::from_secs(10))?;
        line.rsplit_once(' ').map(|(_, address)| address.to_owned()).ok_or(line)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
