//! Credit we give: back on consumption, beyond the window for a message that needs it, and never more than the budget.
//! RFC 9113 §5.2, §6.9.
//!
//! Connection credit goes back when DATA arrives ([`super::data`]); what is here is about streams. The sums are kept by
//! [`ReceiveBudget`](crate::flow_control::ReceiveBudget).

use super::tx::Tx;
use crate::error::Violation;
use crate::flow_control::DEFAULT_WINDOW;
use crate::handler::Handler;
use crate::stream::{Half, StreamKey};

impl Tx {
    /// The program consumed `octets` of the stream's DATA: the peer may send as many more.
    pub fn release(&mut self, stream: StreamKey, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let before = entry.share();
        let octets = octets.min(entry.held);
        entry.held -= octets;
        // What was granted beyond the initial window is paid back before the peer gets new credit.
        let repaid = octets.min(entry.reserve);
        entry.reserve -= repaid;
        entry.recv_window.release(octets - repaid);
        let after = entry.share();
        // Once the peer has ended its side it needs no credit.
        let credit = if entry.recv == Half::Ended { None } else { entry.recv_window.announce() };
        let id = entry.id;
        self.budget.adjust(before, after);
        if let Some(credit) = credit {
            self.write_window_update(id, credit);
        }
        if before != after {
            self.serve_grants();
        }
    }

    /// A reader waits for a message of which `octets` are still to come: the window grows to hold it, as far as the
    /// connection's budget allows; the oldest such message always gets what it needs.
    pub fn expect_message(&mut self, stream: StreamKey, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX).min(crate::flow_control::MAX_WINDOW);
        let now = self.now;
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let promised = entry.recv_window.promised();
        if entry.recv == Half::Ended {
            return;
        }
        if promised >= octets {
            if let Some(credit) = entry.recv_window.announce_all() {
                let id = entry.id;
                self.write_window_update(id, credit);
            }
            return;
        }
        let contended = self.budget.oldest_while_others_wait().is_some();
        self.budget.request(stream, octets - promised, now);
        self.serve_grants();
        if !contended {
            self.budget.contention_began(now);
        }
    }

    /// The message asked for with [`Tx::expect_message`] is complete.
    pub fn message_complete(&mut self, stream: StreamKey) {
        let now = self.now;
        self.budget.finished(stream, now);
        self.serve_grants();
    }

    pub(super) fn serve_grants(&mut self) {
        while let Some(grant) = self.budget.next_grant() {
            let Some(entry) = self.streams.live_mut(grant.stream) else {
                let now = self.now;
                self.budget.finished(grant.stream, now);
                continue;
            };
            let before = entry.share();
            entry.reserve = entry.reserve.saturating_add(grant.octets);
            entry.recv_window.release(grant.octets);
            let (id, credit, after) = (entry.id, entry.recv_window.announce_all(), entry.share());
            self.budget.adjust(before, after);
            if let Some(credit) = credit {
                self.write_window_update(id, credit);
            }
        }
    }

    /// While more is held than the budget allows, a stream is reset: the one that holds most of those that were granted
    /// nothing, and only without such the one that holds most. The oldest message in assembly is spared.
    pub(super) fn relieve_budget<H: Handler>(&mut self, handler: &mut H) -> Result<(), Violation> {
        while self.budget.is_overdrawn(0) {
            let oldest = self.budget.oldest();
            let spared = oldest.and_then(|key| self.streams.get(key)).map_or(0, |stream| stream.held);
            if !self.budget.is_overdrawn(spared) {
                return Ok(());
            }
            let victim = self
                .streams
                .iter()
                .filter(|(key, stream)| stream.held > 0 && oldest != Some(*key))
                .max_by_key(|(_, stream)| (stream.reserve == 0, stream.held))
                .map(|(key, _)| key);
            let Some(victim) = victim else { return Ok(()) };
            self.stream_error(victim, Violation::ReceiveBudget, handler)?;
        }
        Ok(())
    }

    /// Until the peer acknowledged our SETTINGS it may count with windows of 65,535 octets (RFC 9113 §6.9.2). If ours are
    /// smaller, those of the streams it has opened meanwhile shrink now, as its own view of them did.
    pub(super) fn window_size_acknowledged(&mut self) {
        self.window_size_binds = true;
        let by = i64::from(self.config.stream_window_octets).saturating_sub(i64::from(DEFAULT_WINDOW));
        if by >= 0 {
            return;
        }
        for (_, stream) in self.streams.iter_mut() {
            stream.recv_window.shift(by);
        }
    }
}
