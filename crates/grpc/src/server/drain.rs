//! What was left when the time to finish was over: [`DrainReport`].
//!
//! A connection that goes away (its server shuts down, or it is old) lets its calls finish, for as long as its knob says; what is
//! left is cut off. Handlers learn it as CANCELLED, clients as UNAVAILABLE with the reason. This is where the operator learns it.
//!
//! Invariant: each call cut off is in exactly one report, or in its `calls_left_out`. A shutdown makes one report for all connections, since they end
//! together; age makes one for each.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use clearway_http2::{Farewell, Instant};
use clearway_transport::{Closed, PeerAddr};

use super::call::Call;
use super::methods::Routes;
use crate::sparing::Sparing;

/// Calls of one report that are described; the rest is counted.
const DESCRIBED: usize = 1024;

/// A call that was not done in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedCall {
    /// `/package.Service/Method`.
    pub method: Arc<str>,
    /// Whose call it was.
    pub peer: PeerAddr,
    /// How long it had been going on.
    pub age: Duration,
}

/// What was left of connections that went away, when the time for it was over. Its `Display` is one line for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Why they went away.
    pub farewell: Farewell,
    /// How long their calls had to finish.
    pub grace: Duration,
    /// Connections that were cut off: of those without a call left only their clients took no notice.
    pub connections: usize,
    /// The calls on them, at most 1,024.
    pub calls: Vec<UnfinishedCall>,
    /// Calls that found no room in `calls`.
    pub calls_left_out: usize,
}

impl DrainReport {
    const fn new(farewell: Farewell, grace: Duration) -> Self {
        Self { farewell, grace, connections: 0, calls: Vec::new(), calls_left_out: 0 }
    }

    /// How many calls were cut off.
    #[must_use]
    pub fn calls_cut_off(&self) -> usize {
        self.calls.len().saturating_add(self.calls_left_out)
    }

    fn add(&mut self, closed: &Closed, calls: &[Call], routes: &Routes) {
        self.connections = self.connections.saturating_add(1);
        let now = Instant::ZERO + closed.age;
        for call in calls {
            let method = routes.get(call.route).map(|route| Arc::clone(&route.path));
            let Some(method) = method.filter(|_| self.calls.len() < DESCRIBED) else {
                self.calls_left_out = self.calls_left_out.saturating_add(1);
                continue;
            };
            self.calls.push(UnfinishedCall { method, peer: closed.peer.clone(), age: call.began.age(now) });
        }
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, knob) = match self.farewell {
            Farewell::MaxAge => ("max_age", "max_connection_age_grace"),
            Farewell::MaxIdle | Farewell::Shutdown => ("a graceful shutdown", "shutdown_grace"),
        };
        write!(
            f,
            "{} calls on {} connections were cut off {:.1?} after {why} (limit: {knob})",
            self.calls_cut_off(),
            self.connections,
            self.grace
        )?;
        let mut methods: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        for call in &self.calls {
            let (count, oldest) = methods.entry(&call.method).or_default();
            (*count, *oldest) = (count.saturating_add(1), call.age.max(*oldest));
        }
        for (at, (method, (count, oldest))) in methods.into_iter().enumerate() {
            let before = if at == 0 { ": " } else { ", " };
            write!(f, "{before}{count} of {method} (for {oldest:.1?} at most)")?;
        }
        Ok(())
    }
}

/// Who is told of calls that were cut off.
pub(super) type CutReport = Arc<dyn Fn(&DrainReport) + Send + Sync>;

/// Collects what is cut off.
pub(super) struct Leftovers {
    tell: Option<CutReport>,
    /// How long calls have after a shutdown, and after their connection became old.
    graces: [Duration; 2],
    /// What a shutdown left so far.
    shutdown: Mutex<Option<DrainReport>>,
    sparing: Sparing,
}

impl Leftovers {
    pub(super) fn new(tell: Option<CutReport>, shutdown_grace: Duration, age_grace: Duration) -> Self {
        let graces = [shutdown_grace, age_grace];
        Self { tell, graces, shutdown: Mutex::new(None), sparing: Sparing::default() }
    }

    /// A connection was cut off, and these calls with it.
    pub(super) fn add(&self, farewell: Farewell, closed: &Closed, calls: &[Call], routes: &Routes) {
        let [shutdown_grace, age_grace] = self.graces;
        if farewell == Farewell::MaxAge {
            let mut report = DrainReport::new(farewell, age_grace);
            report.add(closed, calls, routes);
            self.tell(&report);
        } else {
            let mut left = self.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
            left.get_or_insert_with(|| DrainReport::new(Farewell::Shutdown, shutdown_grace))
                .add(closed, calls, routes);
        }
    }

    /// The server is down.
    pub(super) fn tell_of_shutdown(&self) {
        let left = self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(report) = left {
            self.tell(&report);
        }
    }

    fn tell(&self, report: &DrainReport) {
        if let Some(left_out) = self.sparing.line() {
            tracing::warn!(
                calls = report.calls_cut_off(),
                connections = report.connections,
                left_out,
                "{report}"
            );
        }
        if let Some(tell) = &self.tell {
            // It is the user's, and may be called while a task unwinds.
            let _ = super::contain::contain(|| tell(report));
        }
    }
}
