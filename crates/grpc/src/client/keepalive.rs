//! How often the servers of a channel are asked for a sign of life, and what comes of it. gRFC A8.
//!
//! Invariants: what a server's `too_many_pings` taught is never forgotten by its channel; a connection keeps to what was known when
//! it was made. The PINGs themselves, their timers and their answers are the engine's.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use clearway_http2::{Config, ErrorCode, GoAway, Keepalive, Tx};

use super::channel::Event;
use super::connection::ClientConnection;
use super::endpoint::Endpoint;
use super::knobs::{MIN_KEEP_ALIVE_INTERVAL, MIN_KEEP_ALIVE_TIMEOUT};
use crate::cause::TransportEvent;

/// The debug text of a GOAWAY that gRFC A8 speaks of.
const TOO_MANY_PINGS: &[u8] = b"too_many_pings";

/// How often servers are asked, for all connections of a channel.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    keepalive: Option<Keepalive>,
    /// [`Duration::MAX`] if there are no probes.
    probe_after: Duration,
}

impl Pace {
    /// The pace an endpoint asks for. One that is too fast is slowed down, and that is said once for an endpoint.
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let wanted = endpoint.http2.keepalive.or_else(|| endpoint.vigilance.keepalive());
        let keepalive = wanted.map(|wanted| {
            let interval = wanted.interval.max(MIN_KEEP_ALIVE_INTERVAL);
            if interval > wanted.interval && endpoint.vigilance.may_warn() {
                tracing::warn!(
                    target = %endpoint,
                    wanted = ?wanted.interval,
                    used = ?interval,
                    "http2_keep_alive_interval is too short and was raised to the least that gRPC allows"
                );
            }
            Keepalive { interval, timeout: wanted.timeout.max(MIN_KEEP_ALIVE_TIMEOUT), ..wanted }
        });
        let probe_after = endpoint.vigilance.probe_after.unwrap_or(Duration::MAX);
        Self(Mutex::new(Known { keepalive, probe_after }))
    }

    fn known(&self) -> Known {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of a new connection.
    pub(super) fn configure(&self, config: Config) -> Config {
        Config { keepalive: self.known().keepalive, ..config }
    }

    /// After how much silence a new connection probes.
    pub(super) fn probe_after(&self) -> Duration {
        self.known().probe_after
    }

    /// A server that was asked at this pace thinks it too fast: new connections wait twice as long. Several connections of one pace slow
    /// the channel down once.
    fn slow_down(&self, interval: Option<Duration>, probe_after: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(keepalive), Some(interval)) = (&mut known.keepalive, interval) {
            keepalive.interval = keepalive.interval.max(interval.saturating_mul(2));
        }
        known.probe_after = known.probe_after.max(probe_after.saturating_mul(2));
    }
}

impl ClientConnection {
    /// True if a call has to wait for a sign of life of the server, which is asked for it.
    #[inline]
    pub(super) fn must_ask_first(&self, tx: &mut Tx) -> bool {
        tx.silence() >= self.probe_after && tx.probe()
    }

    /// The server answered the PING that calls wait for, or it did not: then they go elsewhere.
    pub(super) fn probed(&mut self, tx: &mut Tx, alive: bool) {
        if alive && self.sharing.is_some() {
            return self.open_held(tx);
        }
        if alive {
            self.open_waiting(tx);
            if !self.waiting.is_empty() {
                self.tell_crowded();
            }
            return;
        }
        tracing::info!(
            peer = %self.peer,
            silent = ?tx.silence(),
            calls = tx.stream_count(),
            "no answer to the PING before a silent connection was used again: calls go to a new one; if this happens often, a \
             NAT, firewall or load balancer on the way forgets idle connections: raise its idle timeout, or set \
             http2_keep_alive_interval with keep_alive_while_idle below it if the server permits"
        );
        // The channel hears of it first, so that it does not pick this connection for what is handed back.
        self.stop_sharing();
        self.tell(Event::GoingAway { answered: self.answered });
        self.hand_back_waiting();
    }

    /// If the server goes away because of our PINGs: slows down, and says so.
    pub(super) fn heed(&self, tx: &Tx, goaway: &GoAway<'_>) -> Option<TransportEvent> {
        if goaway.code != ErrorCode::ENHANCE_YOUR_CALM || goaway.debug != TOO_MANY_PINGS {
            return None;
        }
        let (interval, probe_after) = (tx.keepalive_interval(), self.probe_after);
        self.shared.pace.slow_down(interval, probe_after);
        let known = self.shared.pace.known();
        // Without keepalive it can only have been the probes.
        let was = interval.unwrap_or(probe_after);
        let next = known.keepalive.map_or(known.probe_after, |keepalive| keepalive.interval);
        let event = TransportEvent::TooManyPings { interval: was, next, keepalive: interval.is_some() };
        tracing::warn!(
            authority = self.shared.authority,
            peer = %self.peer,
            interval = ?was,
            next = ?next,
            "{event}"
        );
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn intervals(pace: &Pace) -> (Option<Duration>, Duration) {
        (pace.configure(Config::default()).keepalive.map(|keepalive| keepalive.interval), pace.probe_after())
    }

    #[test]
    fn connections_of_one_pace_slow_the_channel_down_once() {
        let endpoint = Endpoint::from_static("http://a:1").http2_keep_alive_interval(secs(10));
        let pace = Pace::new(&endpoint);
        assert_eq!(intervals(&pace), (Some(secs(10)), secs(30)));
        pace.slow_down(Some(secs(10)), secs(30));
        pace.slow_down(Some(secs(10)), secs(30));
        assert_eq!(intervals(&pace), (Some(secs(20)), secs(60)));
        pace.slow_down(Some(secs(20)), secs(60));
        assert_eq!(intervals(&pace), (Some(secs(40)), secs(120)));
    }

    #[test]
    fn what_is_off_stays_off() {
        let endpoint = Endpoint::from_static("http://a:1")
            .http2_keep_alive_interval(Duration::MAX)
            .probe_after_silence(None);
        let pace = Pace::new(&endpoint);
        pace.slow_down(None, Duration::MAX);
        assert_eq!(intervals(&pace), (None, Duration::MAX));
    }

    #[test]
    fn the_engines_own_configuration_counts_where_it_says_something() {
        let keepalive = Some(Keepalive { interval: secs(1), timeout: secs(2), without_streams: true });
        let endpoint =
            Endpoint::from_static("http://a:1").http2_config(Config { keepalive, ..Config::default() });
        let raised = Keepalive { interval: secs(10), timeout: secs(2), without_streams: true };
        assert_eq!(Pace::new(&endpoint).configure(Config::default()).keepalive, Some(raised));
        let keepalive = Some(Keepalive { timeout: Duration::ZERO, ..raised });
        let endpoint = endpoint.http2_config(Config { keepalive, ..Config::default() });
        let raised = Keepalive { timeout: secs(1), ..raised };
        assert_eq!(Pace::new(&endpoint).configure(Config::default()).keepalive, Some(raised));
        let zero = Endpoint::from_static("http://a:1").keep_alive_timeout(Duration::ZERO);
        assert_eq!(Pace::new(&zero).configure(Config::default()).keepalive.unwrap().timeout, secs(1));
    }
}
