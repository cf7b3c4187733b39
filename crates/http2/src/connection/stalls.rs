//! Streams whose octets wait for credit that does not come: looked at now and then, and reset after long enough. RFC 9113
//! §6.9, §10.5; CVE-2016-1546.
//!
//! What waits is bounded in any case; here its writer, which may be a handler with more than memory in its hands, is let go.
//! One timer serves all streams: it is set when a stream begins to wait, and streams that went on meanwhile cost one look.
//!
//! Invariant: while a stream waits for credit, `stall_check` is set. Left out: a socket that takes nothing, which is the
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
    /// A stream began to wait for credit.
    #[inline]
    pub(super) fn watch_for_stalls(&mut self) {
        if self.stall_check.is_none() {
            self.stall_check = Some(self.now + self.stall_patience());
        }
    }

    /// How long a stream may wait for credit, as the peer's settings are now.
    pub(super) fn stall_patience(&self) -> Duration {
        let limits = &self.config.limits;
        if self.peer.initial_window == 0 { limits.zero_window_stall } else { limits.send_stall }
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
        let patience = self.stall_patience();
        let mut next = None::<Instant>;
        let mut stalled: Vec<StreamKey> = Vec::new();
        for (key, stream) in self.streams.iter() {
            let Some(since) = self.stalled_since(stream) else { continue };
            let due = since + patience;
            if due <= now {
                stalled.push(key);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        self.stall_check = next.map(|next| next.max(now + BETWEEN_LOOKS));
        stalled.into_iter().try_for_each(|key| self.stream_error(key, Violation::SendStalled, handler))
    }
}
