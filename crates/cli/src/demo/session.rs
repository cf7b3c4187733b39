//! One recorded connection: makes a call, waits until the wire is done with it, prints what was seen.

use core::future::Future;
use core::time::Duration;
use std::io::Write;

use clearway::{Code, Status};
use clearway_http2::Direction;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::Failure;
use super::calls::About;
use super::proto::describe;
use super::report;
use crate::wire::collect::{Collector, Content, Entry, What};
use crate::wire::event::Seen;
use crate::wire::paint::Paint;
use crate::wire::print::Printer;
use crate::wire::tally::Tally;
use crate::wire::text::Line;

/// How long a call, or the beginning of the connection, may take. All of it is local; the time is for slow machines.
const PATIENCE: Duration = Duration::from_secs(20);

/// The demo's connection, and where it is printed to.
pub(crate) struct Session<'a> {
    seen: UnboundedReceiver<Seen>,
    collector: Collector,
    paint: Paint,
    out: &'a mut (dyn Write + Send),
    /// What the connection's beginning took.
    setup: Tally,
    calls: Vec<(About, Tally)>,
}

impl<'a> Session<'a> {
    /// Prints what `seen` tells.
    pub(crate) fn new(seen: UnboundedReceiver<Seen>, paint: Paint, out: &'a mut (dyn Write + Send)) -> Self {
        let collector = Collector::default();
        Self { seen, collector, paint, out, setup: Tally::default(), calls: Vec::new() }
    }

    /// Prints the beginning of the connection, once both sides have acknowledged the other's SETTINGS.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        self.wait(|entries| {
            acknowledged(entries, Direction::Sent) && acknowledged(entries, Direction::Received)
        })
        .await?;
        let entries = self.collector.take();
        self.setup = Tally::of(&entries);
        self.print_entries(&entries)
    }

    /// Makes a call and prints it.
    pub(crate) async fn call(
        &mut self,
        about: About,
        call: impl Future<Output = Result<(), Status>>,
    ) -> Result<(), Failure> {
        let number = self.calls.len() + 1;
        self.print(&report::call_title(number, &about, self.paint.width))?;
        let result = timeout(PATIENCE, call).await;
        let wire =
            self.wait(|entries| entries.iter().any(|entry| matches!(entry.what, What::Closed { .. }))).await;
        let entries = self.collector.take();
        self.print_entries(&entries)?;
        let ended = result.map_err(|_| Failure::Slow)?;
        let code = ended.as_ref().err().map_or(Code::Ok, Status::code);
        if code != about.ends {
            let status = ended.err().unwrap_or_else(|| Status::unknown("it should not have succeeded"));
            return Err(Failure::Call { path: about.path, status });
        }
        wire?;
        let tally = Tally::of(&entries);
        self.print(&[report::call_end(&entries, &tally)])?;
        self.calls.push((about, tally));
        Ok(())
    }

    /// Prints the table of all calls.
    pub(crate) fn end(&mut self, connections: usize) -> Result<(), Failure> {
        let lines = report::summary(&self.setup, &self.calls, connections, self.paint.width);
        self.print(&lines)
    }

    /// Prints lines.
    pub(crate) fn print(&mut self, lines: &[Line]) -> Result<(), Failure> {
        self.paint.write(lines, &mut self.out)?;
        self.out.flush()?;
        Ok(())
    }

    fn print_entries(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let lines = Printer::new(self.paint.width, &describe).lines(entries);
        self.print(&lines)
    }

    /// Collects until `done`. The connection's task may be a step behind the caller that it woke.
    async fn wait(&mut self, done: impl Fn(&[Entry]) -> bool) -> Result<(), Failure> {
        let collect = async {
            while !done(self.collector.entries()) {
                let seen = self.seen.recv().await.ok_or(Failure::Lost)?;
                self.collector.push(seen);
            }
            Ok(())
        };
        timeout(PATIENCE, collect).await.unwrap_or(Err(Failure::Slow))
    }
}

fn acknowledged(entries: &[Entry], wanted: Direction) -> bool {
    entries.iter().any(|entry| {
        matches!(&entry.what, What::Frame { direction, content: Content::SettingsAck, .. } if *direction == wanted)
    })
}
