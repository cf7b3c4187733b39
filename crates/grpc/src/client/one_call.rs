//! Connections that carry one call each: the costliest way to use gRPC, and nothing fails. So it is said.
//!
//! A program that makes a channel for every call pays for TCP, TLS and SETTINGS with each; so does one whose server, or a proxy
//! on the way, ends connections after one call. Both look the same from here: short connections in a row, with one call or none. They are counted
//! by target for the whole program, since each channel sees one of them only, and a warning goes to `tracing`.
//!
//! Invariant: nothing here is on the path of a call; at most [`TARGETS`] targets are remembered.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use clearway_transport::{CloseReason, Closed};
use tokio::time::Instant;

/// Targets remembered.
const TARGETS: usize = 64;
/// A connection older than this is not one for a call only.
const SHORT: Duration = Duration::from_secs(10);
/// Such connections in a row before something is said; then at every tenfold.
const ENOUGH: u32 = 20;

/// Who ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EndedBy {
    Us,
    Peer,
}

/// Connections in a row.
#[derive(Debug)]
struct Row {
    target: String,
    by: EndedBy,
    count: u32,
    last: Instant,
}

#[derive(Debug, Default)]
struct Census(Vec<Row>);

impl Census {
    /// How many there are now in a row, if that is worth a word.
    fn ended(&mut self, target: &str, by: EndedBy, for_one_call: bool, now: Instant) -> Option<u32> {
        self.0.retain(|row| now.saturating_duration_since(row.last) < SHORT);
        let at = self.0.iter().position(|row| row.target == target && row.by == by);
        if !for_one_call {
            at.map(|at| self.0.swap_remove(at));
            return None;
        }
        let Some(row) = at.and_then(|at| self.0.get_mut(at)) else {
            if self.0.len() < TARGETS {
                self.0.push(Row { target: target.to_owned(), by, count: 1, last: now });
            }
            return None;
        };
        (row.count, row.last) = (row.count.saturating_add(1), now);
        let mut worth = ENOUGH;
        while worth < row.count {
            worth = worth.checked_mul(10)?;
        }
        (row.count == worth).then_some(row.count)
    }
}

static CENSUS: Mutex<Census> = Mutex::new(Census(Vec::new()));

/// A connection to `target` ended, whether it was ever ready or not.
pub(super) fn connection_ended(target: &str, closed: &Closed, peer_went_away: bool) {
    let by = match closed.reason {
        CloseReason::Finished | CloseReason::Aborted if !peer_went_away => EndedBy::Us,
        CloseReason::Finished | CloseReason::PeerClosed | CloseReason::GoAway { .. } => EndedBy::Peer,
        // Broken networks and broken peers have words of their own.
        _ => return,
    };
    let for_one_call = closed.tally.streams <= 1 && closed.age < SHORT;
    let count = {
        let mut census = CENSUS.lock().unwrap_or_else(PoisonError::into_inner);
        census.ended(target, by, for_one_call, Instant::now())
    };
    let Some(count) = count else { return };
    match by {
        EndedBy::Us => tracing::warn!(
            target,
            connections = count,
            "a connection for every call: this program closed the last {count} channels to {target} after one call \
             each at most; make one Channel and clone it"
        ),
        EndedBy::Peer => tracing::warn!(
            target,
            connections = count,
            "a connection for every call: {target} ended the last {count} connections after one call each at most; look there, \
             or at a proxy on the way, for a limit of requests or age by connection"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_at_twenty_and_at_every_tenfold() {
        let (mut census, now) = (Census::default(), Instant::now());
        let told: Vec<_> = (1..=2000).filter_map(|_| census.ended("a", EndedBy::Us, true, now)).collect();
        assert_eq!(told, [20, 200, 2000]);
        assert!((1..20).all(|_| census.ended("a", EndedBy::Peer, true, now).is_none()), "another row");
    }

    #[test]
    fn a_connection_that_is_used_and_time_end_a_row() {
        let (mut census, now) = (Census::default(), Instant::now());
        let row = |census: &mut Census, now| {
            (1..ENOUGH).all(|_| census.ended("a", EndedBy::Us, true, now).is_none())
        };
        assert!(row(&mut census, now));
        assert_eq!(census.ended("a", EndedBy::Us, false, now), None);
        assert!(row(&mut census, now));
        assert!(row(&mut census, now + SHORT));
        assert_eq!(census.ended("a", EndedBy::Us, true, now + SHORT), Some(ENOUGH));
    }

    #[test]
    fn many_targets_cost_bounded_memory() {
        let (mut census, now) = (Census::default(), Instant::now());
        for target in 0..10_000 {
            let _ = census.ended(&target.to_string(), EndedBy::Us, true, now);
        }
        assert_eq!(census.0.len(), TARGETS);
    }
}
