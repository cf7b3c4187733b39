//! What our own code guarantees about the parts of a connection, asserted in debug builds after every input. RFC 9113 §5.1,
//! §5.2.
//!
//! Invariant: nothing a peer sends, and nothing the program on top does, can make one of these fail. Left out: what
//! concerns one part alone and is kept by its type.

use super::Connection;

impl Connection {
    /// Asserts relations between the parts of the connection that our own code guarantees. In builds without debug assertions
    /// it does nothing. `recv` and `transmit` call it themselves.
    ///
    /// # Panics
    /// In debug builds, if the engine is wrong.
    #[doc(hidden)]
    pub fn check(&self) {
        #[cfg(debug_assertions)]
        {
            self.tx.streams.check();
            self.check_queue();
            self.check_streams();
            self.check_credit();
            assert!(self.tx.output.adds_up(), "pending output is the sum of what is kept");
            assert!(self.rx.carries_one_frame(), "the carry holds the beginning of one frame");
        }
    }

    /// A stream waits in the ready queue if and only if it has something to send and its own window lets it.
    #[cfg(debug_assertions)]
    fn check_queue(&self) {
        let scheduled = |(key, stream): (crate::stream::StreamKey, &crate::stream::Stream)| {
            stream.backlog.as_ref().is_some_and(|backlog| backlog.scheduled).then_some(key)
        };
        let mut queued: Vec<_> = self.tx.ready.iter().copied().collect();
        let mut marked: Vec<_> = self.tx.streams.iter().filter_map(scheduled).collect();
        queued.sort_unstable();
        marked.sort_unstable();
        assert_eq!(queued, marked, "a stream is marked scheduled if and only if it is in the ready queue");
        let waiting: usize = self.tx.streams.iter().map(|(_, stream)| stream.backlog_octets()).sum();
        assert_eq!(self.tx.waiting, waiting, "what waits is the sum of the backlogs");
        for (_, stream) in self.tx.streams.iter() {
            let Some(backlog) = &stream.backlog else { continue };
            assert!(backlog.adds_up(), "a backlog's octets are those of its pieces, and its end is last");
            // After a connection error nothing goes, and SETTINGS that overflow one window may have moved others.
            let may_go = !self.tx.shutdown.is_over()
                && !backlog.is_empty()
                && (stream.send_window.available() > 0 || backlog.next_needs_no_credit());
            assert!(
                backlog.scheduled || !may_go || stream.tenure != crate::stream::Tenure::Live,
                "stream {} has something to send, and credit, and is not scheduled",
                stream.id
            );
        }
    }

    /// Streams that are over are gone, and the receive budget knows what the others hold.
    #[cfg(debug_assertions)]
    fn check_streams(&self) {
        let mut shares = (0, 0);
        for (_, stream) in self.tx.streams.iter() {
            let share = stream.share();
            shares = (shares.0 + share.spoken_for as usize, shares.1 + share.held as usize);
            let over = stream.state() == crate::stream::State::Closed;
            assert!(
                !over || stream.tenure != crate::stream::Tenure::Live,
                "stream {} has ended on both sides and is still there",
                stream.id
            );
        }
        assert_eq!(self.tx.budget.sums(), shares, "the receive budget is the sum of the streams' shares");
    }

    /// Credit is neither lost nor made: what a peer may send, what it is owed, and what is held of it add up.
    #[cfg(debug_assertions)]
    fn check_credit(&self) {
        let (given, meant) = self.tx.recv_window.sums();
        assert_eq!(given, meant, "the connection's credit goes back on receipt, and no more");
        // Before our SETTINGS are acknowledged a peer may count with more than our window (RFC 9113 §6.9.2).
        let unbound = if self.tx.window_size_binds {
            0
        } else {
            crate::flow_control::DEFAULT_WINDOW.saturating_sub(self.tx.config.stream_window_octets)
        };
        for (key, stream) in self.tx.streams.iter() {
            if stream.tenure != crate::stream::Tenure::Live {
                continue;
            }
            let to_come = match &self.rx.phase {
                super::receive::Phase::Data(data) => data.left_for(key),
                _ => 0,
            };
            let (given, meant) = stream.recv_window.sums();
            assert_eq!(
                given + i64::from(stream.held) + i64::from(to_come),
                meant + i64::from(unbound),
                "open + owed + held = target + reserve on stream {}",
                stream.id
            );
        }
    }
}
