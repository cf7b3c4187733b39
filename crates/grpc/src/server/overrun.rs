//! Handlers that run on although their call is over, by name: [`Overrun`].
//!
//! A handler that is dropped with its call, as most are, is gone in microseconds. One that blocks its thread, or that chose to
//! go on ([`OnCancel`](super::OnCancel)), is listed here from the end of its call to its own; one that is still listed after a while is
//! counted and reported, and once more when it has ended.
//!
//! Invariant: nothing here is on the path of a call that is answered by its handler.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clearway_http2::RouteId;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, Id};
use tokio::time::Instant;

use super::connection::Shared;
use super::contain::contain;
use crate::context::Over;

/// A handler that ran, or runs, on after its call was over. Its `Display` is one line for a log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Overrun {
    /// `/package.Service/Method`.
    pub path: Arc<str>,
    /// How long its call has been over.
    pub since: Duration,
    /// How that call ended.
    pub end: CallEnd,
    /// It has ended now; it is told of each handler twice, first without this.
    pub has_ended: bool,
}

/// How a call ended whose handler had not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CallEnd {
    /// The client gave it up, or the connection is gone.
    Cancelled,
    /// Its deadline passed.
    DeadlinePassed,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, since, end, has_ended } = self;
        let end = match end {
            CallEnd::Cancelled => "its call was cancelled",
            CallEnd::DeadlinePassed => "its deadline passed",
        };
        if *has_ended {
            write!(f, "the handler of {path} ended {since:.1?} after {end}")
        } else {
            write!(f, "the handler of {path} still runs {since:.1?} after {end}")
        }
    }
}

/// Who is told.
pub(super) type OverrunReport = Arc<dyn Fn(&Overrun) + Send + Sync>;

/// What a server says about them.
#[derive(Clone, Default)]
pub(super) struct OverrunKnobs {
    pub(super) after: Option<Duration>,
    pub(super) report: Option<OverrunReport>,
}

/// The handlers of a server that run on.
pub(super) struct Overruns {
    after: Duration,
    report: Option<OverrunReport>,
    /// How many are listed, to look at without the lock.
    listed: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    entries: HashMap<Id, Entry>,
    /// A task looks after those that are due.
    watched: bool,
}

struct Entry {
    task: AbortHandle,
    route: RouteId,
    since: Instant,
    end: CallEnd,
    reported: bool,
}

impl Overruns {
    /// What is given up to an overrun before it is told, unless the server says otherwise.
    const AFTER: Duration = Duration::from_secs(1);

    pub(super) fn new(knobs: &OverrunKnobs) -> Self {
        let (after, report) = (knobs.after.unwrap_or(Self::AFTER), knobs.report.clone());
        Self { after, report, listed: AtomicUsize::new(0), list: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The call of a handler that runs as `task` is over.
    pub(super) fn runs_on(self: &Arc<Self>, task: &AbortHandle, route: RouteId, why: Over) {
        // Without a runtime there are no tasks left that could run.
        let Ok(runtime) = Handle::try_current() else { return };
        if task.is_finished() {
            return;
        }
        let end = if why == Over::DeadlinePassed { CallEnd::DeadlinePassed } else { CallEnd::Cancelled };
        let entry = Entry { task: task.clone(), route, since: Instant::now(), end, reported: false };
        let mut list = self.overruns.lock();
        list.entries.insert(task.id(), entry);
        self.overruns.listed.store(list.entries.len(), Ordering::Release);
        if !core::mem::replace(&mut list.watched, true) {
            runtime.spawn(watch(Arc::clone(self)));
        }
    }

    /// The handler that runs as the current task has ended.
    #[inline]
    pub(super) fn handler_ended(&self) {
        if self.overruns.listed.load(Ordering::Acquire) > 0 {
            self.end_overrun();
        }
    }

    #[cold]
    fn end_overrun(&self) {
        let Some(id) = tokio::task::try_id() else { return };
        let ended = {
            let mut list = self.overruns.lock();
            let ended = list.entries.remove(&id);
            self.overruns.listed.store(list.entries.len(), Ordering::Release);
            ended
        };
        if let Some(entry) = ended {
            let since = entry.since.elapsed();
            if entry.reported {
                self.tell(&self.overrun(&entry, since, true));
            }
        }
    }

    fn overrun(&self, entry: &Entry, since: Duration, has_ended: bool) -> Overrun {
        let path =
            self.routes.get(entry.route).map_or_else(|| Arc::from(""), |route| Arc::clone(&route.path));
        Overrun { path, since, end: entry.end, has_ended }
    }

    fn tell(&self, overrun: &Overrun) {
        self.counters.overran(overrun);
        if let Some(report) = &self.overruns.report {
            // It is the user's, and may be called while a task unwinds.
            let _ = contain(|| report(overrun));
        }
    }

    /// Takes those that have been over for long enough now, and says when the next one will have.
    fn due_overruns(&self) -> (Vec<Overrun>, Option<Instant>) {
        let now = Instant::now();
        let mut list = self.overruns.lock();
        let List { entries, watched } = &mut *list;
        // The end of a task that ended before it was listed was not seen.
        entries.retain(|_, entry| entry.reported || !entry.task.is_finished());
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        for entry in entries.values_mut().filter(|entry| !entry.reported) {
            let since = now.saturating_duration_since(entry.since);
            if since >= self.overruns.after {
                entry.reported = true;
                due.push(self.overrun(entry, since, false));
            } else if let Some(at) = entry.since.checked_add(self.overruns.after) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        *watched = next.is_some();
        self.overruns.listed.store(entries.len(), Ordering::Release);
        (due, next)
    }
}

/// Reports handlers that run on for long enough, until none is left that could.
async fn watch(shared: Arc<Shared>) {
    loop {
        let (due, next) = shared.due_overruns();
        due.iter().for_each(|overrun| shared.tell(overrun));
        match next {
            Some(at) => tokio::time::sleep_until(at).await,
            None => return,
        }
    }
}
