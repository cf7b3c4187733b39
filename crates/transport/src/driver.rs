//! The one task that owns a connection: a future that reads, parses, applies operations, and writes in batches.
//!
//! One turn (one poll): apply the operations others pushed; read what came, parsing and answering in place; then write
//! once for all of it. When operations alone woke the task and more than one stream is open, the flush is put off once, to
//! the back of the run queue, so that other tasks that are about to push get into the same write; that is worth a factor
//! of nine under load and costs nothing at one call in flight.
//!
//! Invariant: when `poll` returns `Pending`, the task is registered for whatever it waits for: the queue's first push,
//! readability (unless the peer must be made to wait), writability (if output is left), and its one timer.
//!
//! The driver's own reads and writes run outside tokio's cooperative budget, under the bounds of this file; handlers that
//! are polled in place run under it.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;

use clearway_http2::{Connection, ErrorCode, Handler, Instant, Tx};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::address::PeerAddr;
use crate::buffers;
use crate::cause::{CloseReason, Closed};
use crate::clock::Clock;
use crate::op_queue::{Asked, OpQueue};

/// Reads in one turn; then others get theirs.
const READS_PER_TURN: usize = 4;
/// Slices in one vectored write.
const SLICES: usize = 64;
/// Above this much output a flush is never put off.
const FLUSH_AT_ONCE: usize = 64 * 1024;
/// How long a connection that is over waits for the peer to read the last words and close.
const LINGER: Duration = Duration::from_secs(1);

/// The program on top of a connection: a [`Handler`], and the operations other tasks send it.
pub trait Application: Handler + Send + Unpin + 'static {
    /// What other tasks ask of the connection's task.
    type Op: Send + Unpin + 'static;

    /// Acts on one operation.
    fn apply(&mut self, tx: &mut Tx, op: Self::Op);

    /// The end of a turn: wake whoever waits for what happened in it.
    fn end_turn(&mut self) {}

    /// True if work was spawned in this turn that may block the worker: then nothing is put off.
    fn must_flush_now(&self) -> bool {
        false
    }

    /// When [`Application::on_timer`] must be called, if ever.
    fn next_timer(&self) -> Option<Instant> {
        None
    }

    /// The instant of [`Application::next_timer`] has come.
    fn on_timer(&mut self, tx: &mut Tx) {
        let _ = tx;
    }

    /// The connection is over. Called once; operations that were never applied are handed over with it.
    fn on_closed(&mut self, closed: &Closed, unapplied: Vec<Self::Op>);
}

/// What a driver can be told.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// How long the socket may take nothing while output waits, before the connection is ended.
    ///
    /// Default: 30 seconds.
    pub write_timeout: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self { write_timeout: Duration::from_secs(30) }
    }
}

/// Where the connection stands.
enum Stage {
    /// Streams come and go.
    Running,
    /// Over; the last output is being written.
    Flushing { until: Instant },
    /// Our side is shut; what the peer still sends is read and dropped, so that the kernel does not reset the connection
    /// before the peer has read our last words.
    Lingering { until: Instant },
    /// Nothing is left to do.
    Done,
}

/// Drives one connection to its end; see the [module](self).
#[must_use = "a connection lives only while its driver is polled"]
pub struct Driver<Io, A: Application> {
    io: Io,
    connection: Connection,
    app: A,
    ops: Arc<OpQueue<A::Op>>,
    /// Swapped with the queue's vector, so that both keep their capacity.
    batch: Vec<A::Op>,
    clock: Clock,
    config: DriverConfig,
    peer: PeerAddr,
    stage: Stage,
    closed: Option<Closed>,
    /// The flush was put off in this turn already.
    deferred: bool,
    /// Bytes read that the connection has not taken, because the peer does not read its answers.
    untaken: Vec<u8>,
    /// Since when output has waited for the socket without progress.
    write_blocked_since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<Io, A> Driver<Io, A>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Application,
{
    /// A driver for a fresh connection. `clock` must be the one whose time `connection` was made with.
    pub fn new(
        io: Io,
        peer: PeerAddr,
        connection: Connection,
        app: A,
        ops: Arc<OpQueue<A::Op>>,
        clock: Clock,
        config: DriverConfig,
    ) -> Self {
        Self {
            io,
            connection,
            app,
            ops,
            batch: Vec::new(),
            clock,
            config,
            peer,
            stage: Stage::Running,
            closed: None,
            deferred: false,
            untaken: Vec::new(),
            write_blocked_since: None,
            sleep: None,
        }
    }

    /// One turn of a running connection. True if the task must be polled again soon.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.clock.now();
        if !self.connection.has_buffer() {
            self.connection.give_buffer(buffers::take_output());
        }
        let woken_by_ops = self.apply_ops(cx, now);
        let more_to_read = match self.read(cx) {
            Ok(more) => more,
            Err(reason) => {
                self.close(reason, now);
                return true;
            }
        };
        self.run_timers(now);
        self.connection.transmit(now, &mut self.app);
        if woken_by_ops && self.may_defer(now) {
            self.deferred = true;
            self.app.end_turn();
            cx.waker().wake_by_ref();
            return false;
        }
        self.deferred = false;
        if let Err(error) = self.write(cx, now) {
            self.close(CloseReason::Io(error.to_string()), now);
        }
        self.app.end_turn();
        if matches!(self.stage, Stage::Running) && self.connection.is_finished() {
            self.close(CloseReason::Finished, now);
        }
        // Output that could not be written while input was held back for it: writing made room to take it.
        more_to_read || (!self.untaken.is_empty() && self.connection.pending_output() == 0)
    }

    fn apply_ops(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        let asked = self.ops.take(&mut self.batch, cx.waker());
        let any = !self.batch.is_empty();
        for op in self.batch.drain(..) {
            self.app.apply(self.connection.tx(now), op);
        }
        match asked {
            Asked::GoOn => {}
            Asked::Drain => self.connection.tx(now).shutdown(),
            Asked::Abort => self.close(CloseReason::Aborted, now),
        }
        any
    }

    fn may_defer(&self, _now: Instant) -> bool {
        let pending = self.connection.pending_output();
        !self.deferred
            && matches!(self.stage, Stage::Running)
            && pending > 0
            && pending < FLUSH_AT_ONCE
            && self.write_blocked_since.is_none()
            && self.connection.stream_count() > 1
            && !self.app.must_flush_now()
    }

    /// Reads and parses until the socket is empty or the turn's share is used up; true if there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if !self.untaken.is_empty() {
            let held = core::mem::take(&mut self.untaken);
            self.receive(&held)?;
            if !self.untaken.is_empty() {
                return Ok(false);
            }
        }
        let mut scratch = buffers::take_scratch();
        let result = self.read_with(cx, &mut scratch);
        buffers::put_scratch(scratch);
        result
    }

    fn read_with(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<bool, CloseReason> {
        for _ in 0..READS_PER_TURN {
            let mut buf = ReadBuf::new(scratch);
            match unconstrained(cx, |cx| Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(self.ended_by(CloseReason::Io(error.to_string()))),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Err(self.ended_by(CloseReason::PeerClosed));
                }
                Poll::Ready(Ok(())) => {
                    self.receive(buf.filled())?;
                    if !self.untaken.is_empty() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        let now = self.clock.now();
        let taken = self.connection.recv(now, bytes, &mut self.app).map_err(CloseReason::Protocol)?;
        if let Some(rest) = bytes.get(taken..)
            && !rest.is_empty()
        {
            self.untaken = rest.to_vec();
        }
        Ok(())
    }

    /// The end of the socket, told by the most telling reason: what the peer said before, or a graceful end.
    fn ended_by(&mut self, reason: CloseReason) -> CloseReason {
        if let Some(goaway) = self.connection.peer_goaway()
            && goaway.code != ErrorCode::NO_ERROR
        {
            let debug = goaway.debug.escape_ascii().to_string();
            return CloseReason::GoAway { code: goaway.code, debug };
        }
        if self.connection.is_going_away() && self.connection.stream_count() == 0 {
            return CloseReason::Finished;
        }
        reason
    }

    fn run_timers(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Running) {
            return;
        }
        if self.app.next_timer().is_some_and(|timer| timer <= now) {
            self.app.on_timer(self.connection.tx(now));
        }
        if self.connection.next_timer().is_some_and(|timer| timer <= now)
            && let Err(error) = self.connection.on_tick(now, &mut self.app)
        {
            self.close(CloseReason::Protocol(error), now);
        }
        if self.write_blocked_since.is_some_and(|since| since + self.config.write_timeout <= now) {
            self.close(CloseReason::WriteStalled(self.config.write_timeout), now);
            // There is no point in flushing to a peer that does not read.
            self.stage = Stage::Done;
        }
    }

    /// Writes until the output is empty or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
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
                    self.write_blocked_since = None;
                    if self.connection.pending_output() == 0 {
                        // The socket has room again: what waited for that comes next.
                        self.connection.transmit(now, &mut self.app);
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.write_blocked_since.get_or_insert(now);
                    return Ok(());
                }
            }
        }
        if let Some(buffer) = self.connection.take_buffer() {
            buffers::put_output(buffer);
        }
        Ok(())
    }

    /// The connection is over: everybody is told, and what is left of the output is written.
    fn close(&mut self, reason: CloseReason, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        let closed = Closed { peer: self.peer.clone(), age: now - Instant::ZERO, reason };
        let unapplied = self.ops.close();
        self.app.on_closed(&closed, unapplied);
        let dead =
            matches!(closed.reason, CloseReason::Io(_) | CloseReason::PeerClosed | CloseReason::Aborted);
        self.closed = Some(closed);
        self.stage = if dead { Stage::Done } else { Stage::Flushing { until: now + LINGER } };
    }

    /// Writes the last words, shuts our side, and waits a little for the peer to do the same.
    fn wind_down(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        if let Stage::Flushing { until } = self.stage {
            let failed = self.write(cx, now).is_err();
            if failed || now >= until {
                self.stage = Stage::Done;
            } else if self.connection.pending_output() == 0 {
                match Pin::new(&mut self.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.stage = Stage::Lingering { until },
                    Poll::Ready(Err(_)) => self.stage = Stage::Done,
                    Poll::Pending => {}
                }
            }
        }
        if let Stage::Lingering { until } = self.stage {
            if now >= until || self.drop_input(cx) {
                self.stage = Stage::Done;
            }
        }
        match self.stage {
            Stage::Running | Stage::Done => Poll::Ready(()),
            Stage::Flushing { until } | Stage::Lingering { until } => {
                self.arm(cx, Some(until));
                Poll::Pending
            }
        }
    }

    /// Reads and forgets; true at the end of the stream, or when the peer just goes on.
    fn drop_input(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = buffers::take_scratch();
        let mut over = false;
        for _ in 0..READS_PER_TURN {
            let mut buf = ReadBuf::new(&mut scratch);
            match unconstrained(cx, |cx| Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => cx.waker().wake_by_ref(),
                Poll::Ready(_) => {
                    over = true;
                    break;
                }
            }
        }
        buffers::put_scratch(scratch);
        over
    }

    fn next_timer(&self) -> Option<Instant> {
        let stalled = self.write_blocked_since.map(|since| since + self.config.write_timeout);
        [self.connection.next_timer(), self.app.next_timer(), stalled].into_iter().flatten().min()
    }

    /// Sets the one timer; true if it has run out already.
    fn arm(&mut self, cx: &mut Context<'_>, timer: Option<Instant>) -> bool {
        let Some(timer) = timer.filter(|timer| *timer < Instant::FAR_FUTURE) else {
            self.sleep = None;
            return false;
        };
        let deadline = self.clock.to_tokio(timer);
        match &mut self.sleep {
            Some(sleep) if sleep.deadline() == deadline => {}
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
        let Some(sleep) = &mut self.sleep else { return false };
        unconstrained(cx, |cx| sleep.as_mut().poll(cx)).is_ready()
    }
}

impl<Io, A> Future for Driver<Io, A>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Application,
{
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let this = self.get_mut();
        if matches!(this.stage, Stage::Running) {
            let again = this.turn(cx);
            if matches!(this.stage, Stage::Running) {
                let timer = this.next_timer();
                let expired = this.arm(cx, timer);
                if this.deferred {
                    return Poll::Pending;
                }
                if again || expired || !this.ops.park(cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        if this.wind_down(cx).is_pending() {
            return Poll::Pending;
        }
        let peer = this.peer.clone();
        let unknown = Closed { peer, age: Duration::ZERO, reason: CloseReason::Finished };
        Poll::Ready(this.closed.clone().unwrap_or(unknown))
    }
}

impl<Io, A: Application> Drop for Driver<Io, A> {
    fn drop(&mut self) {
        // The runtime is going down, or the task was aborted: nobody may wait for an answer for ever.
        if self.closed.is_none() {
            let age = self.clock.now() - Instant::ZERO;
            let closed = Closed { peer: self.peer.clone(), age, reason: CloseReason::Aborted };
            let unapplied = self.ops.close();
            self.app.on_closed(&closed, unapplied);
        }
    }
}

/// Polls outside tokio's cooperative budget.
fn unconstrained<T>(cx: &mut Context<'_>, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let future = core::pin::pin!(tokio::task::coop::unconstrained(core::future::poll_fn(poll)));
    future.poll(cx)
}
