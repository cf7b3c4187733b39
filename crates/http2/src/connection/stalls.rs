//! Streams whose octets wait for credit that does not come: looked at now and then, and reset after long enough. RFC 9113
//! §6.9, §10.5; CVE-2016-1546.
//!
//! What waits is bounded in any case ([`Config::send_backlog_octets`](crate::Config::send_backlog_octets)), so a reader that pauses is left alone unless the program
//! says otherwise: its own reader may have gone to lunch. Only who never gave any credit is let go without being told to be.
//! One timer serves all streams: it is set when a stream begins to wait, and streams that went on meanwhile cost one look.
//!
//! Invariant: while a stream waits for credit that it may not wait for without end, `stall_check` is set, and not later than
//! its patience ends. Left out: a socket that takes nothing, which is the
//! driver's to notice, and streams on which neither side has anything to say, which may be as idle as they like.

use core::time::Duration;

use super::tx::Tx;
use crate::error::Violation;
use crate::handler::Handler;
use crate::observe::BlockedOn;
use crate::stream::{Stream, StreamKey, Tenure};
use crate::time::Instant;

/// Streams that began to wait at different times are looked at together, this far apart.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Tx {
    /// A stream began to wait for its own credit, or for the connection's (`None`).
    pub(super) fn watch_for_stalls(&mut self, key: Option<StreamKey>) {
        let stream = key.and_then(|key| self.streams.get(key));
        self.look_for_stalls_after(match stream {
            Some(stream) => self.stall_patience(stream),
            None => self.config.limits.send_stall,
        });
    }

    /// Streams are looked at when so much time has passed, or earlier.
    pub(super) fn look_for_stalls_after(&mut self, patience: Duration) {
        let check = self.now + patience;
        if check != Instant::FAR_FUTURE && self.stall_check.is_none_or(|earlier| check < earlier) {
            self.stall_check = Some(check);
        }
    }

    /// How long a stream may wait for credit: less if its peer gave none whatever, neither by its settings nor by a
    /// WINDOW_UPDATE. A window that is negative was used before it was taken back.
    fn stall_patience(&self, stream: &Stream) -> Duration {
        let limits = &self.config.limits;
        let nothing_taken =
            self.peer.initial_window == 0 && stream.send_window.octets() == 0 && !stream.credited;
        if nothing_taken { limits.zero_window_stall.min(limits.send_stall) } else { limits.send_stall }
    }

    /// Since when a stream has waited for credit without progress, if it does.
    fn stalled_since(&self, stream: &Stream) -> Option<Instant> {
        let waits = stream.tenure == Tenure::Live
            && stream
                .backlog
                .as_ref()
                .is_some_and(|backlog| !backlog.is_empty() && !backlog.next_needs_no_credit());
        match stream.blocked_on {
            BlockedOn::StreamWindow if waits => Some(stream.blocked_since),
            BlockedOn::Scheduler if waits => {
                self.window_empty_since.map(|since| since.max(stream.blocked_since))
            }
            _ => None,
        }
    }

    /// Resets the streams that have waited too long, if it is time to look.
    pub(super) fn end_stalled<H: Handler>(&mut self, handler: &mut H) -> Result<(), Violation> {
        let now = self.now;
        if self.stall_check.is_none_or(|check| now < check) {
            return Ok(());
        }
        let mut next = None::<Instant>;
        let mut stalled: Vec<StreamKey> = Vec::new();
        for (key, stream) in self.streams.iter() {
            let Some(since) = self.stalled_since(stream) else { continue };
            let due = since + self.stall_patience(stream);
            if due <= now {
                stalled.push(key);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        self.stall_check =
            next.filter(|next| *next != Instant::FAR_FUTURE).map(|next| next.max(now + BETWEEN_LOOKS));
        stalled.into_iter().try_for_each(|key| self.stream_error(key, Violation::SendStalled, handler))
    }
}
