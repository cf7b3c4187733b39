//! The end of a connection: everybody is told, the last words are written, our side is shut, and the peer has a moment
//! to read them and close.
//!
//! Without that moment the kernel answers what the peer still sends with a reset, and the peer may lose our last words
//! (a GOAWAY that says what went wrong) before it has read them.
//!
//! Invariant: from [`Driver::close`] on the application hears nothing but the end of the turn.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use clearway_http2::{ConnectionError, ErrorCode, Instant, Violation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::turn::READS_PER_TURN;
use super::{Driver, unconstrained};
use crate::application::Application;
use crate::buffers;
use crate::cause::{CloseReason, Closed};

/// How long a connection that is over waits for the peer to read the last words and close.
const LINGER: Duration = Duration::from_secs(1);

/// Where the connection stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Streams come and go.
    Running,
    /// Over; the last output is being written, and then our side is shut.
    Flushing {
        /// When that is given up.
        until: Instant,
    },
    /// Our side is shut; what the peer still sends is read and dropped.
    Lingering {
        /// When that is given up.
        until: Instant,
    },
    /// Nothing is left to do.
    Done,
}

impl<Io, A> Driver<Io, A>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Application,
{
    /// The connection is over: everybody is told. Returns false, for a turn that has no more to do.
    pub(super) fn close(&mut self, reason: CloseReason) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let now = self.clock.now();
        let reason = match (reason, self.write_blocked_since) {
            // The kernel's patience with a peer that reads nothing was shorter than ours.
            (CloseReason::TimedOut, Some(since)) => CloseReason::WriteStalled(now - since),
            (reason, _) => reason,
        };
        self.stage = match reason {
            // There is nobody to say anything to, or nothing to say.
            CloseReason::Io(_)
            | CloseReason::TimedOut
            | CloseReason::WrongProtocol(_)
            | CloseReason::Aborted
            | CloseReason::WriteStalled(_) => Stage::Done,
            // The peer may have shut its side only, and still read.
            CloseReason::PeerClosed
            | CloseReason::Tls(_)
            | CloseReason::GoAway { .. }
            | CloseReason::Protocol(_)
            | CloseReason::CutOff(_)
            | CloseReason::KeepaliveExpired { .. }
            | CloseReason::ProbeUnanswered { .. }
            | CloseReason::Finished => Stage::Flushing { until: now + LINGER },
        };
        let closed = self.closed_by(reason, now);
        let unapplied = self.ops.close();
        self.app.on_closed(&closed, unapplied);
        self.closed = Some(Box::new(closed));
        false
    }

    /// The end of a connection that is finished: by itself, or because its time was up.
    pub(super) fn finished(&self) -> CloseReason {
        match self.connection.farewell() {
            Some(why) if self.connection.is_cut_off() => CloseReason::CutOff(why),
            _ => CloseReason::Finished,
        }
    }

    /// The end of the socket, told by the most telling reason: a graceful end, or what the peer said before.
    pub(super) fn ended_by(&self, reason: CloseReason) -> CloseReason {
        let goaway = self.connection.peer_goaway();
        let failed = goaway.is_some_and(|goaway| goaway.code != ErrorCode::NO_ERROR);
        if self.connection.is_going_away() && self.connection.stream_count() == 0 && !failed {
            return CloseReason::Finished;
        }
        match goaway {
            Some(goaway) => {
                CloseReason::GoAway { code: goaway.code, debug: goaway.debug.escape_ascii().to_string() }
            }
            None => reason,
        }
    }

    /// Why the socket takes nothing any more: what the peer said before it closed, such as GOAWAY or an alert, lies unread in
    /// the socket, and is more telling than the error.
    pub(super) fn last_words(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        error: &io::Error,
    ) -> CloseReason {
        let mut at = now;
        match self.read(cx, &mut at) {
            Err(CloseReason::PeerClosed | CloseReason::Io(_) | CloseReason::TimedOut) | Ok(_) => {
                self.ended_by(CloseReason::of(error))
            }
            Err(reason) => reason,
        }
    }

    /// What a rule of the engine's that ran out with time means for the connection.
    pub(super) fn expired(&self, error: ConnectionError, now: Instant) -> CloseReason {
        let silent = self.connection.silence(now);
        match error.violation {
            Violation::KeepaliveExpired => CloseReason::KeepaliveExpired { silent },
            Violation::ProbeUnanswered => CloseReason::ProbeUnanswered { silent },
            _ => CloseReason::Protocol(error),
        }
    }

    /// Writes the last words, shuts our side, and waits a little for the peer to do the same.
    pub(super) fn wind_down(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        let now = self.clock.now();
        if let Stage::Flushing { until } = self.stage {
            self.stage = self.flush_and_shut(cx, now, until);
        }
        if let Stage::Lingering { until } = self.stage
            && (now >= until || self.drop_input(cx))
        {
            self.stage = Stage::Done;
        }
        match (self.stage, &self.closed) {
            (Stage::Flushing { until } | Stage::Lingering { until }, _) => {
                if self.arm(cx, until) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            (_, Some(closed)) => Poll::Ready(Closed::clone(closed)),
            // Nothing gets here before `close`.
            (_, None) => Poll::Ready(self.closed_by(CloseReason::Aborted, now)),
        }
    }

    fn flush_and_shut(&mut self, cx: &mut Context<'_>, now: Instant, until: Instant) -> Stage {
        if now >= until || self.write_output(cx, now).is_err() {
            return Stage::Done;
        }
        if self.connection.pending_output() > 0 {
            return Stage::Flushing { until };
        }
        match unconstrained(cx, |cx| Pin::new(&mut self.io).poll_shutdown(cx)) {
            Poll::Ready(Ok(())) => Stage::Lingering { until },
            Poll::Ready(Err(_)) => Stage::Done,
            Poll::Pending => Stage::Flushing { until },
        }
    }

    /// Reads and forgets; true at the end of the stream.
    fn drop_input(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = buffers::take_scratch();
        let mut over = false;
        let mut reads = 0;
        while reads < READS_PER_TURN && !over {
            let mut buf = ReadBuf::new(&mut scratch);
            match unconstrained(cx, |cx| Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => reads += 1,
                Poll::Ready(_) => over = true,
            }
        }
        buffers::put_scratch(scratch);
        if reads == READS_PER_TURN {
            cx.waker().wake_by_ref();
        }
        over
    }
}
