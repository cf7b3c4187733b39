//! The program on top of a connection, as its [`Driver`](crate::Driver) sees it.

use clearway_http2::{Handler, Instant, Tx};

use crate::cause::Closed;

/// The program on top of a connection: a [`Handler`], and the operations other tasks send it.
///
/// Everything here is called on the task that polls the driver, one call at a time. In one turn: [`Application::apply`]
/// for each operation, the [`Handler`]'s methods for what was read, [`Application::after_reading`], [`Application::on_timer`] if it
/// is due, and at last [`Application::end_turn`]. Each call may answer through [`Tx`].
///
/// A panic in any of these ends the connection: the driver's task unwinds, the socket closes, and
/// [`Application::on_closed`] is called while it does.
pub trait Application: Handler + Send + Unpin + 'static {
    /// What other tasks ask of the connection's task.
    type Op: Send + Unpin + 'static;

    /// Acts on one operation.
    fn apply(&mut self, tx: &mut Tx, op: Self::Op);

    /// What came in this turn was read: act on all of it, before it is answered in one write. True if operations may have been
    /// pushed meanwhile, which are then applied, too.
    fn after_reading(&mut self, tx: &mut Tx) -> bool {
        let _ = tx;
        false
    }

    /// The end of a turn, and of the connection's last one, too: wake whoever waits for what happened in it. What the
    /// turn wrote is with the socket already, unless the flush was put off.
    fn end_turn(&mut self) {}

    /// True if work was spawned in this turn that may block the worker: then nothing is put off, and the driver's task is
    /// scheduled once more so that another worker can go on with the connection. Asked before [`Application::end_turn`],
    /// which should make it false again.
    fn must_flush_now(&self) -> bool {
        false
    }

    /// When [`Application::on_timer`] must be called, if ever.
    fn next_timer(&self) -> Option<Instant> {
        None
    }

    /// The instant of [`Application::next_timer`] has come. The timer must have moved on when this returns, or the
    /// driver's task spins.
    fn on_timer(&mut self, tx: &mut Tx) {
        let _ = tx;
    }

    /// Nothing happens on the connection, or it had few calls so far and none is open: give back the memory that can be had
    /// again when there is use for it. Called once until something happens again.
    fn rest(&mut self) {}

    /// The connection is over. Called once; no other method but [`Application::end_turn`] is called after it. Operations
    /// that were never applied are handed over with it; later ones come back to whoever pushes them.
    ///
    /// Must not panic: it may be called while the task unwinds.
    fn on_closed(&mut self, closed: &Closed, unapplied: Vec<Self::Op>);
}
