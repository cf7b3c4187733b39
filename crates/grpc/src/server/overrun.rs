//! Handlers that run on although their call is over, by name: [`Overrun`].
//!
//! A handler that is dropped with its call, as most are, is gone in microseconds. One that blocks its thread, or that chose to
//! go on ([`OnCancel`](super::OnCancel)), is listed here from the end of its call to its own; one that is still listed after a while is
//! counted and reported, and once more when it has ended.
//!
//! Invariants: nothing here is on the path of a call that is answered by its handler. So a handler may end unseen: it looked
//! whether anybody was listed, and was listed before its task was over. Therefore whoever is listed is looked at again, seldom and ever
//! more seldom, as long as it is: nobody stays listed whose task is over.

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
    /// The soonest that whoever is listed is looked at again; the next time when it has been there for twice as long.
    const AGAIN: Duration = Duration::from_secs(1);

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

    /// Takes those that have something to be told now, and says when to look again.
    fn due_overruns(&self) -> (Vec<Overrun>, Option<Instant>) {
        let now = Instant::now();
        let mut list = self.overruns.lock();
        let List { entries, watched } = &mut *list;
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        entries.retain(|_, entry| {
            let since = now.saturating_duration_since(entry.since);
            // Who ended before it was listed was not seen.
            let has_ended = entry.task.is_finished();
            if entry.reported && has_ended {
                due.push(self.overrun(entry, since, true));
            } else if !entry.reported && !has_ended && since >= self.overruns.after {
                entry.reported = true;
                due.push(self.overrun(entry, since, false));
            }
            if has_ended {
                return false;
            }
            let again = now.checked_add(since.max(Overruns::AGAIN));
            let report = entry.since.checked_add(self.overruns.after).filter(|_| !entry.reported);
            next = [next, again, report].into_iter().flatten().min();
            true
        });
        *watched = next.is_some();
        self.overruns.listed.store(entries.len(), Ordering::Release);
        (due, next)
    }
}

/// Reports handlers that run on for long enough, and that they ended if nobody saw that, until none is left.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::drain::Leftovers;
    use crate::server::methods::Routes;

    /// A handler that ended looked at the list before it was on it, and its task is not over when its report is due: both windows at once.
    #[tokio::test(start_paused = true)]
    async fn nobody_stays_listed_who_ended_unseen() {
        for after in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let report = Arc::clone(&seen);
            let report: OverrunReport =
                Arc::new(move |overrun: &Overrun| report.lock().unwrap().push(overrun.has_ended));
            let knobs = OverrunKnobs { after: Some(after), report: Some(report) };
            let shared = Arc::new(Shared {
                routes: Routes::default(),
                timeout: None,
                report: None,
                counters: Arc::default(),
                overruns: Overruns::new(&knobs),
                leftovers: Leftovers::new(None, Duration::MAX, Duration::MAX),
                max_concurrent_streams: 1,
            });
            let handler = tokio::spawn({
                let shared = Arc::clone(&shared);
                async move {
                    shared.handler_ended();
                    // Its task is not over yet.
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                }
            });
            tokio::task::yield_now().await;
            shared.runs_on(&handler.abort_handle(), RouteId::NONE, Over::Cancelled);
            let listed = || shared.overruns.listed.load(Ordering::Acquire);
            assert_eq!(listed(), 1);
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!((listed(), shared.overruns.lock().entries.len()), (0, 0), "{after:?}");
            let told: &[bool] = if after == Duration::MAX { &[] } else { &[false, true] };
            assert_eq!(*seen.lock().unwrap(), told, "{after:?}");
            assert!(!shared.overruns.lock().watched);
        }
    }
}
