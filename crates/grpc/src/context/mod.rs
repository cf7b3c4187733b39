//! The call a handler works for: its deadline and its cancellation, which travel to the calls that the handler makes.
//!
//! While a handler is polled its [`CallContext`] lies in a cell of the thread, and a call that is made meanwhile finds it there:
//! its deadline is at most the handler's, and it is called off when the handler's call is over. A task started by
//! `tokio::spawn` is no part of that poll, so it gets the context by hand: [`CallContext::current`] and [`CallContext::scope`].
//!
//! Invariants: the cell holds the context of the innermost handler or scope that is being polled on this thread, also after
//! one of them panicked. A context moves into the cell and out again, so a call whose handler asks for nothing
//! allocates nothing for it; what makes it shareable (`Life`) is made when somebody asks.
//!
//! Left out: values that travel to child calls, such as trace ids; they are an interceptor's to copy.

use core::future::Future;
use core::task::{Poll, ready};
use core::time::Duration;
use std::cell::Cell;
use std::sync::Arc;

use tokio::time::Instant;

mod life;
mod scope;
mod token;

pub(crate) use life::{Life, Over};
pub use scope::Scoped;
pub use token::{CancellationToken, Cancelled};

use crate::Status;
use crate::cause::Processed;
use crate::inbound::Inbound;
use crate::server::OnCancel;

thread_local! {
    static CURRENT: Cell<Option<CallContext>> = const { Cell::new(None) };
}

/// The call that this code works for: when it must be over, and whether it still matters.
///
/// Inside a handler [`CallContext::current`] is the context of its call. Calls made there, through any channel, take
/// part in it without being told to: they end at the handler's deadline if their own is not sooner, and when the handler's call is
/// cancelled they are, too. [`Request::detach_from_context`](crate::Request::detach_from_context) makes an exception.
///
/// A task is not inside the handler that spawned it. It takes part if it is told to:
///
/// ```
/// use clearway::CallContext;
///
/// # async fn ask_others() {}
/// # async fn handler() {
/// let lookup = tokio::spawn(CallContext::current().scope(async {
///     // Calls made here are cancelled with the handler's call.
///     ask_others().await;
/// }));
/// # let _ = lookup.await; }
/// ```
///
/// The context ends with its call, however that ends: calls in the scope of one that was answered are called off, too. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    deadline: Option<Instant>,
    /// Made when somebody asks for it; a context that was handed out has it.
    life: Option<Arc<Life>>,
}

impl CallContext {
    pub(crate) const fn new(deadline: Option<Instant>, life: Option<Arc<Life>>) -> Self {
        Self { deadline, life }
    }

    /// The context of the handler, or of the scope, that is being polled on this thread; outside of both one that
    /// has no deadline and is never cancelled.
    #[must_use]
    pub fn current() -> Self {
        with_current(|current| current.map(|context| context.share().clone())).unwrap_or_default()
    }

    /// When the call must be over, if it has a deadline.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long the call may still take, if it has a deadline; zero once that has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// True if nobody waits for the call any more: its client gave it up, its deadline passed, its connection is gone, or it
    /// was answered.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.over().is_some())
    }

    /// Ready when [`CallContext::is_cancelled`] is true; never, outside a call.
    ///
    /// # Cancel safety
    /// It can be dropped and asked for again.
    pub fn cancelled(&self) -> Cancelled {
        self.cancellation_token().cancelled()
    }

    /// What tells whether the call still matters, without the rest.
    #[must_use]
    pub fn cancellation_token(&self) -> CancellationToken {
        CancellationToken::new(self.life.clone())
    }

    /// The same context with a deadline of at most `timeout` from now. A timeout too long for the clock changes nothing.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let own = Instant::now().checked_add(timeout);
        self.deadline = [self.deadline, own].into_iter().flatten().min();
        self
    }

    /// Chooses what happens to this call's handler when the call is cancelled, for this one call; see [`OnCancel`].
    /// Outside a call it does nothing.
    ///
    /// The first choice of a handler that asked for nothing of its context before counts from when it next awaits something that is
    /// not ready: the connection hears of it then, and a call that was cancelled meanwhile, on another thread, has its handler dropped
    /// there. What must not be dropped in any case says so before its calls come, by [`Service::on_cancel`](crate::server::Service::on_cancel).
    pub fn on_cancel(&self, on_cancel: OnCancel) {
        if let Some(life) = &self.life {
            life.set_on_cancel(on_cancel);
        }
    }

    /// `future`, polled in this context. Cancellation does not drop it: it reaches the calls that it makes
    /// ([`CancellationToken::run_until_cancelled`] drops a future).
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        Scoped::new(self, future)
    }

    /// Runs `user` in this context. What the context became meanwhile is here afterwards.
    #[inline]
    pub(crate) fn enter<T>(&mut self, user: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(self);
        user()
    }

    /// What makes it shareable, if somebody asked for that.
    pub(crate) const fn life(&self) -> Option<&Arc<Life>> {
        self.life.as_ref()
    }

    fn share(&mut self) -> &Self {
        if self.life.is_none() {
            self.life = Some(Arc::new(Life::new(OnCancel::Drop)));
        }
        self
    }

    /// The status of a call that was made in this context, once it is over.
    pub(crate) fn over_status(&self) -> Option<Status> {
        Some(self.life.as_ref()?.over()?.status(Processed::Maybe))
    }

    /// What `future` comes to, unless the context is over before: then it is dropped, and this is the status of the call that it is
    /// a part of.
    pub(crate) async fn unless_over<T>(
        &self,
        processed: Processed,
        future: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut future = core::pin::pin!(future);
        let mut cancelled = self.cancelled();
        core::future::poll_fn(|cx| {
            // A call that was called off itself knows more.
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            ready!(core::pin::Pin::new(&mut cancelled).poll(cx));
            let over = self.life.as_ref().and_then(|life| life.over()).unwrap_or(Over::Cancelled);
            Poll::Ready(Err(over.status(processed)))
        })
        .await
    }

    /// A call of this program's is made in this context: it is called off when the context is over.
    ///
    /// # Errors
    /// The context is over already.
    pub(crate) fn adopt(&self, call: &Arc<Inbound>) -> Result<(), Status> {
        self.life.as_ref().map_or(Ok(()), |life| life.adopt(call))
    }
}

/// The context that a call made now takes part in: none outside of handlers and scopes, and none of handlers that run to
/// their end whatever happens.
pub(crate) fn handed_down() -> Option<CallContext> {
    with_current(|current| {
        let context = current?.share();
        let detached = context.life.as_ref().is_some_and(|life| life.on_cancel() == OnCancel::Detached);
        (!detached).then(|| context.clone())
    })
}

/// True if the handler that is being polled goes on although its call was cancelled.
pub(crate) fn runs_on() -> bool {
    with_current(|current| {
        current
            .and_then(|context| context.life.as_ref())
            .is_some_and(|life| life.on_cancel() != OnCancel::Drop)
    })
}

/// True if the handler that is being polled works for a call that is over.
pub(crate) fn is_over() -> bool {
    with_current(|current| current.is_some_and(|context| context.is_cancelled()))
}

fn with_current<T>(look: impl FnOnce(Option<&mut CallContext>) -> T) -> T {
    // While a thread ends there is none.
    let mut current = CURRENT.try_with(Cell::take).unwrap_or_default();
    let seen = look(current.as_mut());
    if current.is_some() {
        let _ = CURRENT.try_with(|cell| cell.set(current));
    }
    seen
}

/// A context while it is in the thread's cell; there is what was there before when this is dropped, also by a panic.
struct Entered<'a> {
    context: &'a mut CallContext,
    before: Option<CallContext>,
}

impl<'a> Entered<'a> {
    #[inline]
    fn new(context: &'a mut CallContext) -> Self {
        let taken = core::mem::take(context);
        let before = CURRENT.try_with(|cell| cell.replace(Some(taken))).unwrap_or_default();
        Self { context, before }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let before = self.before.take();
        if let Ok(Some(context)) = CURRENT.try_with(|cell| cell.replace(before)) {
            *self.context = context;
        }
    }
}

#[cfg(test)]
mod tests;
