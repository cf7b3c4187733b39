//! The one task that owns a connection: a future that reads, parses, applies operations, and writes in batches.
//!
//! [`turn`] is what one poll of a running connection does, [`rest`] what it gives back when there is nothing to do,
//! [`wind_down`] what is done once it is over.
//!
//! Invariant: when `poll` returns `Pending`, the task is registered for whatever it waits for: the queue's next push or
//! request, readability (unless the peer must be made to wait), writability (if output is left), and its one timer; or
//! it has woken itself.

mod rest;
mod turn;
mod wind_down;

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use clearway_http2::{Connection, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use crate::address::PeerAddr;
use crate::application::Application;
use crate::cause::{CloseReason, Closed};
use crate::clock::Clock;
use crate::op_queue::OpQueue;
use crate::peer::Peer;
use rest::Rest;
use wind_down::Stage;

/// What a driver can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverConfig {
    /// How long the socket may take nothing while output waits, before the connection is ended with
    /// [`CloseReason::WriteStalled`]. Any progress starts it again.
    ///
    /// Default: [`DriverConfig::WRITE_TIMEOUT`].
    pub write_timeout: Duration,
}

impl DriverConfig {
    /// The default of [`DriverConfig::write_timeout`]: longer than a lost packet takes to be sent again a few times.
    pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    /// The least that [`DriverConfig::write_timeout`] takes: with none, a socket whose buffer is full would be a peer that is gone.
    pub const MIN_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

    /// Sets [`DriverConfig::write_timeout`]. Less than [`DriverConfig::MIN_WRITE_TIMEOUT`] is raised to it.
    #[must_use]
    pub const fn write_timeout(mut self, timeout: Duration) -> Self {
        let too_short = timeout.as_nanos() < Self::MIN_WRITE_TIMEOUT.as_nanos();
        self.write_timeout = if too_short { Self::MIN_WRITE_TIMEOUT } else { timeout };
        self
    }
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self { write_timeout: Self::WRITE_TIMEOUT }
    }
}

/// Drives one connection to its end: a future, to be spawned, that owns the socket, the [`Connection`] and the
/// [`Application`]. Nobody else touches them; other tasks reach them through the [`OpQueue`], which also carries the
/// wish to end the connection ([`OpQueue::drain`], [`OpQueue::abort`]).
///
/// Its output says how the connection ended, after [`Application::on_closed`] was told the same. It comes when the last
/// words are written and the peer has closed too, or has had a second for it.
///
/// It must be polled inside a tokio runtime with time enabled.
///
/// # Cancel safety
/// Dropping it closes the socket without another word; the application is told [`CloseReason::Aborted`].
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
    peer: Arc<Peer>,
    stage: Stage,
    closed: Option<Box<Closed>>,
    /// The flush was put off: the next turn writes, whatever it finds.
    deferred: bool,
    /// Bytes read that the connection has not taken, because the peer does not read its answers.
    untaken: Vec<u8>,
    /// The last turn did not read, because output had to be written first.
    held_back: bool,
    /// Octets were written that the stream may still keep to itself.
    unflushed: bool,
    /// Since when output has waited for the socket without progress.
    write_blocked_since: Option<Instant>,
    rest: Rest,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<Io, A> Driver<Io, A>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Application,
{
    /// A driver for a fresh connection. `clock` must be the one whose time `connection` was made with. What the
    /// connection is to have from the start (an observer, a client's first requests) is set on it before.
    pub fn new(
        io: Io,
        peer: impl Into<Arc<Peer>>,
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
            peer: peer.into(),
            stage: Stage::Running,
            closed: None,
            deferred: false,
            untaken: Vec::new(),
            held_back: false,
            unflushed: false,
            write_blocked_since: None,
            rest: Rest::new(),
            sleep: None,
        }
    }

    /// Sets the one timer; true if `timer` has come already.
    ///
    /// A timer that moved into the future is not set anew: the sleep runs out early once and is set to what is due then.
    fn arm(&mut self, cx: &mut Context<'_>, timer: Instant) -> bool {
        let due = (timer < Instant::FAR_FUTURE).then(|| self.clock.to_tokio(timer));
        let Some(sleep) = &mut self.sleep else {
            let Some(due) = due else { return false };
            let sleep = self.sleep.insert(Box::pin(tokio::time::sleep_until(due)));
            return unconstrained(cx, |cx| sleep.as_mut().poll(cx)).is_ready();
        };
        if let Some(due) = due
            && due < sleep.deadline()
        {
            sleep.as_mut().reset(due);
        }
        if unconstrained(cx, |cx| sleep.as_mut().poll(cx)).is_pending() {
            return false;
        }
        match due {
            None => {
                self.sleep = None;
                false
            }
            Some(due) if due <= sleep.deadline() => true,
            Some(due) => {
                sleep.as_mut().reset(due);
                unconstrained(cx, |cx| sleep.as_mut().poll(cx)).is_ready()
            }
        }
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
            let more = this.turn(cx);
            // What happened is told in one go, with the answers on their way.
            this.app.end_turn();
            if matches!(this.stage, Stage::Running) {
                this.rest_early();
                let timer = this.next_timer();
                let expired = this.arm(cx, timer);
                if more || expired || !this.ops.park(cx.waker()) {
                    // The back of the run queue: others get their turn first.
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        match &this.closed {
            Some(closed) if matches!(this.stage, Stage::Done) => Poll::Ready(Closed::clone(closed)),
            _ => this.wind_down(cx),
        }
    }
}

impl<Io, A: Application> Driver<Io, A> {
    /// What there is to say of the connection's end.
    fn closed_by(&self, reason: CloseReason, now: Instant) -> Closed {
        Closed {
            peer: PeerAddr::clone(&self.peer),
            age: now - Instant::ZERO,
            reason,
            streams_open: self.connection.stream_count(),
            tally: self.connection.tally(),
        }
    }
}

impl<Io, A: Application> Drop for Driver<Io, A> {
    fn drop(&mut self) {
        // The runtime is going down, or the task was aborted: nobody may wait for an answer for ever.
        if self.closed.is_none() {
            let closed = self.closed_by(CloseReason::Aborted, self.clock.now());
            let unapplied = self.ops.close();
            self.app.on_closed(&closed, unapplied);
        }
    }
}

/// Polls outside tokio's cooperative budget: the driver has bounds of its own, and its reads and writes must not use up
/// what the handlers that are polled in place run under.
fn unconstrained<T>(cx: &mut Context<'_>, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let future = core::pin::pin!(tokio::task::coop::unconstrained(core::future::poll_fn(poll)));
    future.poll(cx)
}
