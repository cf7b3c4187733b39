//! How long connections live, and how long calls have when a server ends.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use clearway_http2::LifeLimits;

use crate::chance::chance;
use crate::server::Server;
use crate::server::drain::{CutReport, DrainReport, Leftovers};

/// How far a connection's age may lie from what was asked for, so that connections made together do not end together (gRFC A9).
const AGE_JITTER: f64 = 0.1;
/// Connections that live for less would end before their first call comes; many more would be made than used.
const SHORTEST: Duration = Duration::from_secs(1);

/// The knobs of this file.
#[derive(Clone)]
pub(in crate::server) struct LifeKnobs {
    limits: LifeLimits,
    pub(in crate::server) shutdown_grace: Duration,
    report: Option<CutReport>,
    /// Where in the jitter's range every age lies, from 0 to 1, if that is not left to chance.
    jitter: Option<f64>,
}

impl Default for LifeKnobs {
    fn default() -> Self {
        Self { limits: LifeLimits::default(), shutdown_grace: Duration::MAX, report: None, jitter: None }
    }
}

impl fmt::Debug for LifeKnobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}

impl LifeKnobs {
    /// The limits of one connection.
    pub(in crate::server) fn draw(&self) -> LifeLimits {
        let max_age = self.limits.max_age;
        if max_age == Duration::MAX {
            return self.limits;
        }
        let place = self.jitter.unwrap_or_else(chance);
        let factor = 1.0 - AGE_JITTER + 2.0 * AGE_JITTER * place;
        let max_age = Duration::try_from_secs_f64(max_age.as_secs_f64() * factor).unwrap_or(max_age);
        LifeLimits { max_age, ..self.limits }
    }

    /// For a connection that cannot be made again.
    pub(in crate::server) fn of_the_only_connection(self) -> Self {
        Self { limits: LifeLimits::default(), ..self }
    }

    /// What collects the calls that are not done in time.
    pub(in crate::server) fn leftovers(&self) -> Leftovers {
        Leftovers::new(self.report.clone(), self.shutdown_grace, self.limits.max_age_grace)
    }
}

impl Server {
    /// How long a connection may be without calls; then its client is told to go elsewhere (GOAWAY with the debug text `max_idle`, RFC
    /// 9113 §6.8, in two steps), so that a call that is just on its way is served. It counts from the end of the last call, or from
    /// when the connection was made (gRFC A9).
    ///
    /// Default: for ever; less than a second is raised to it. Balancers and firewalls on the way forget connections without a word after some minutes; a limit
    /// below theirs ends them in good order.
    #[must_use]
    pub fn max_connection_idle(mut self, idle: Duration) -> Self {
        self.life.limits.max_idle = idle.max(SHORTEST);
        self
    }

    /// How old a connection may become, give or take a tenth, which chance decides for each; then its client is told to go
    /// elsewhere (GOAWAY with the debug text `max_age`, in two steps). Calls that are under way go on, as long as
    /// [`Server::max_connection_age_grace`] says (gRFC A9).
    ///
    /// Default: for ever; less than a second is raised to it. It is how clients behind a balancer of connections find servers that were added, and the bound
    /// of a client that opens calls and never finishes them.
    #[must_use]
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        self.life.limits.max_age = age.max(SHORTEST);
        self
    }

    /// How long calls may go on after [`Server::max_connection_age`]. What is left then is cut off: their handlers see CANCELLED, their
    /// clients UNAVAILABLE, and [`Server::on_calls_cut_off`] is called.
    ///
    /// Default: for ever (gRFC A9). With zero they are cut off at once.
    #[must_use]
    pub fn max_connection_age_grace(mut self, grace: Duration) -> Self {
        self.life.limits.max_age_grace = grace;
        self
    }

    /// How long calls may go on after the shutdown of [`Router::serve_with_shutdown`](super::super::Router::serve_with_shutdown) was
    /// asked for. What is left then is cut off as after [`Server::max_connection_age_grace`], and the server ends within a second.
    ///
    /// Default: for ever; with zero they are cut off at once. Whoever starts servers kills them after a while, commonly 30 s; a limit below that makes
    /// a report of it.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.life.shutdown_grace = grace;
        self
    }

    /// Calls `report` when calls were cut off because they were not done in time: once for a shutdown, on the task that serves, and
    /// for each connection that was too old, on the connection's task. It must return quickly. The same is a warning for `tracing`,
    /// and counted ([`ServerCounters::calls_cut_off`](crate::transport::ServerCounters::calls_cut_off)).
    ///
    /// ```
    /// use core::time::Duration;
    /// use clearway::transport::Server;
    ///
    /// let server = Server::builder().shutdown_grace(Duration::from_secs(20)).on_calls_cut_off(|report| {
    ///     // 3 calls on 2 connections were cut off 20.0s after a graceful shutdown (limit: shutdown_grace): 3 of
    ///     // /chat.Room/Listen (for 8105.2s at most)
    ///     eprintln!("{report}");
    ///     for call in &report.calls {
    ///         eprintln!("  {} of {}, {:?}", call.method, call.peer, call.age);
    ///     }
    /// });
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn on_calls_cut_off(mut self, report: impl Fn(&DrainReport) + Send + Sync + 'static) -> Self {
        self.life.report = Some(Arc::new(report));
        self
    }

    /// Takes chance out of the age of connections: each lies there in its range, from 0 to 1. For runs that must be the same again.
    #[doc(hidden)]
    #[must_use]
    pub fn fixed_jitter(mut self, place: f64) -> Self {
        self.life.jitter = Some(place.clamp(0.0, 1.0));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_lie_a_tenth_around_the_limit_and_grace_and_idleness_do_not() {
        let minute = Duration::from_secs(60);
        let server = Server::builder()
            .max_connection_age(10 * minute)
            .max_connection_age_grace(minute)
            .max_connection_idle(minute);
        let drawn: Vec<_> = (0..100).map(|_| server.life.draw()).collect();
        assert!(drawn.iter().all(|life| (9 * minute..=11 * minute).contains(&life.max_age)), "{drawn:?}");
        assert!(drawn.iter().any(|life| life.max_age != drawn[0].max_age), "chance decides");
        assert!(drawn.iter().all(|life| life.max_idle == minute && life.max_age_grace == minute));
        let at = |place| server.clone().fixed_jitter(place).life.draw().max_age;
        assert_eq!([at(0.0), at(0.5), at(1.0)], [9 * minute, 10 * minute, 11 * minute]);
        assert_eq!(Server::builder().life.draw(), LifeLimits::default());
        assert_eq!(
            Server::builder().max_connection_age(Duration::from_secs(u64::MAX)).life.draw().max_idle,
            Duration::MAX
        );
    }
}
