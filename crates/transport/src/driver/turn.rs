//! One turn (one poll) of a running connection: apply the operations others pushed; read what came, parsing and answering
//! in place; then write once for all of it.
//!
//! When operations woke the task and more than one stream is open, the flush is put off once, to the back of the run
//! queue, so that other tasks that are about to push get into the same write; that is worth a factor of nine under load
//! and costs nothing at one call in flight.
//!
//! Invariant: no turn is endless. Reads, writes and what is held for the peer are bounded here; when a bound stops a
//! turn, it says so and the task is polled again after others had their share.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, IoSlice};

use clearway_http2::{Farewell, Instant, Role};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Driver, unconstrained};
use crate::application::Application;
use crate::buffers;
use crate::cause::CloseReason;
use crate::op_queue::Asked;

/// Reads in one turn.
pub(super) const READS_PER_TURN: usize = 4;
/// Writes in one turn. Each is for what one filling of the output holds, at most some 256 KiB.
const WRITES_PER_TURN: usize = 16;
/// Slices in one vectored write.
const SLICES: usize = 64;
/// From this much output on a flush is never put off.
const FLUSH_AT_ONCE: usize = 64 * 1024;
/// Nor when something in the output is older than this.
const OLDEST_DEFERRED: Duration = Duration::from_micros(100);
/// A server with this much unsent output reads no more requests. Stream data stops far below it, so this much is answers
/// to a peer that does not read them. A client reads on whatever waits: two peers that both refuse to read would wait
/// for each other for ever.
const UNSENT_OUTPUT: usize = 1024 * 1024;
/// Room for operations that is kept between turns.
const BATCH_KEPT: usize = 1024;

impl<Io, A> Driver<Io, A>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Application,
{
    /// One turn. True if there is more to do than wait.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let began = self.clock.now();
        if !self.connection.has_buffer() {
            self.connection.give_buffer(buffers::take_output());
        }
        let woken_by_ops = match self.apply_ops(cx, began) {
            Ok(any) => any,
            Err(reason) => return self.close(reason),
        };
        let mut now = began;
        let more_to_read = match self.read(cx, &mut now) {
            Ok(more) => more,
            Err(reason) => return self.close(reason),
        };
        if self.app.after_reading(self.connection.tx(now))
            && let Err(reason) = self.apply_ops(cx, now)
        {
            return self.close(reason);
        }
        if woken_by_ops {
            now = self.clock.now();
        }
        if let Err(reason) = self.run_timers(now) {
            return self.close(reason);
        }
        self.connection.transmit(now, &mut self.app);
        if woken_by_ops && self.may_defer(now - began) {
            self.deferred = true;
            return true;
        }
        self.deferred = false;
        let more_to_write = match self.write(cx, now) {
            Ok(more) => more,
            Err(error) => {
                let reason = self.last_words(cx, now, &error);
                return self.close(reason);
            }
        };
        // Who was cut off for want of time is not waited for.
        let written = self.connection.pending_output() == 0 || self.connection.is_cut_off();
        if self.connection.is_finished() && written {
            return self.close(self.finished());
        }
        // A task that was spawned in this turn runs next on this worker, and may keep it: with the connection's own task
        // in the run queue as well, an idle worker is woken and takes that, and watches the sockets afterwards.
        more_to_read || more_to_write || self.may_read_again() || self.app.must_flush_now()
    }

    /// Applies what others pushed; true if they pushed anything.
    fn apply_ops(&mut self, cx: &Context<'_>, now: Instant) -> Result<bool, CloseReason> {
        let asked = self.ops.take(&mut self.batch, cx.waker());
        let any = !self.batch.is_empty();
        if any {
            self.rest.disturb(now);
        }
        for op in self.batch.drain(..) {
            self.app.apply(self.connection.tx(now), op);
        }
        // A burst is over: its room is given back.
        self.batch.shrink_to(BATCH_KEPT);
        match asked {
            Asked::GoOn => {}
            Asked::Drain => self.connection.tx(now).shutdown(),
            Asked::CutOff => {
                self.connection.tx(now).cut_off(Farewell::Shutdown);
                return Err(self.finished());
            }
            Asked::Abort => return Err(CloseReason::Aborted),
        }
        Ok(any)
    }

    fn may_defer(&self, took: Duration) -> bool {
        let pending = self.connection.pending_output();
        !self.deferred
            && pending > 0
            && pending < FLUSH_AT_ONCE
            && took < OLDEST_DEFERRED
            && self.write_blocked_since.is_none()
            && self.connection.stream_count() > 1
            && !self.app.must_flush_now()
    }

    /// True if the peer must read before it is heard again.
    fn is_unread(&self) -> bool {
        self.connection.role() == Role::Server && self.connection.pending_output() >= UNSENT_OUTPUT
    }

    /// True if input was held back for output that has been written since.
    fn may_read_again(&self) -> bool {
        self.held_back
            && if self.untaken.is_empty() { !self.is_unread() } else { self.connection.pending_output() == 0 }
    }

    /// Reads and parses until the socket is empty or the turn's share is used up; true if there may be more. `now` is when
    /// the turn began, and then when the last octets came: the first have come with the turn.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, now: &mut Instant) -> Result<bool, CloseReason> {
        self.held_back = false;
        if !self.untaken.is_empty() {
            let held = core::mem::take(&mut self.untaken);
            self.receive(*now, &held)?;
        }
        let mut scratch = buffers::take_scratch();
        let result = self.read_with(cx, now, &mut scratch);
        buffers::put_scratch(scratch);
        result
    }

    fn read_with(
        &mut self,
        cx: &mut Context<'_>,
        now: &mut Instant,
        scratch: &mut [u8],
    ) -> Result<bool, CloseReason> {
        for reads in 0..READS_PER_TURN {
            if !self.untaken.is_empty() || self.is_unread() {
                // Not registered for reading: writing comes first, and writability wakes the task.
                self.held_back = true;
                return Ok(false);
            }
            let mut buf = ReadBuf::new(scratch);
            match unconstrained(cx, |cx| Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(self.ended_by(CloseReason::of(&error))),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Err(self.ended_by(CloseReason::PeerClosed));
                }
                Poll::Ready(Ok(())) => {
                    if reads > 0 {
                        *now = self.clock.now();
                    }
                    self.receive(*now, buf.filled())?;
                }
            }
        }
        Ok(true)
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), CloseReason> {
        self.rest.disturb(now);
        let taken = self.connection.recv(now, bytes, &mut self.app).map_err(CloseReason::Protocol)?;
        if let Some(rest) = bytes.get(taken..)
            && !rest.is_empty()
        {
            self.untaken = rest.to_vec();
        }
        Ok(())
    }

    /// When the next timer is due; [`Instant::FAR_FUTURE`] if there is none.
    pub(super) fn next_timer(&self) -> Instant {
        let never = Instant::FAR_FUTURE;
        let stalled = self.write_blocked_since.map_or(never, |since| since + self.config.write_timeout);
        let app = self.app.next_timer().unwrap_or(never);
        self.connection.next_timer().unwrap_or(never).min(app).min(stalled).min(self.rest.timer())
    }

    fn run_timers(&mut self, now: Instant) -> Result<(), CloseReason> {
        self.rest_when_quiet(now);
        if self.write_blocked_since.is_some_and(|since| since + self.config.write_timeout <= now) {
            return Err(CloseReason::WriteStalled(self.config.write_timeout));
        }
        if self.app.next_timer().is_some_and(|timer| timer <= now) {
            self.app.on_timer(self.connection.tx(now));
        }
        if self.connection.next_timer().is_some_and(|timer| timer <= now) {
            let ticked = self.connection.on_tick(now, &mut self.app);
            ticked.map_err(|error| self.expired(error, now))?;
        }
        Ok(())
    }

    /// Writes until nothing is left, the socket is full, or the turn's share is used up; true in the last case.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        for _ in 0..WRITES_PER_TURN {
            self.write_output(cx, now)?;
            if self.connection.pending_output() > 0 {
                return Ok(false);
            }
            // The socket has room: what waited for that comes next.
            self.connection.transmit(now, &mut self.app);
            if self.connection.pending_output() == 0 {
                if let Some(buffer) = self.connection.take_buffer() {
                    buffers::put_output(buffer);
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what is in the output, until it is empty or the socket is full.
    pub(super) fn write_output(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        while self.connection.pending_output() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.output(&mut slices);
            let slices = slices.get(..filled).unwrap_or_default();
            let io = &mut self.io;
            match unconstrained(cx, |cx| match slices {
                [one] => Pin::new(&mut *io).poll_write(cx, one),
                many => Pin::new(&mut *io).poll_write_vectored(cx, many),
            }) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(octets)) => {
                    self.connection.wrote(octets);
                    self.unflushed = true;
                    self.write_blocked_since = None;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.write_blocked_since.get_or_insert(now);
                    return Ok(());
                }
            }
        }
        if self.unflushed {
            match unconstrained(cx, |cx| Pin::new(&mut self.io).poll_flush(cx)) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.unflushed = false;
                    self.write_blocked_since = None;
                }
                Poll::Pending => {
                    self.write_blocked_since.get_or_insert(now);
                }
            }
        }
        Ok(())
    }
}
