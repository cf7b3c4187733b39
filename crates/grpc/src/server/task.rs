//! A handler that runs as a task: in the context of its call, its panics contained, and its end told to the connection.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::contain::contain;
use super::ops::{DoneGuard, Outcome};
use crate::context::CallContext;

pin_project_lite::pin_project! {
    /// A handler and what surrounds it. The guard is dropped last: only then has the handler ended.
    pub(super) struct HandlerTask<F> {
        #[pin]
        future: F,
        context: CallContext,
        // The connection knows what hears of the call's end.
        watched: bool,
        guard: Option<DoneGuard>,
    }
}

impl<F> HandlerTask<F> {
    /// Whoever makes one has told the connection of the context's life, if that has one already.
    pub(super) const fn new(future: F, context: CallContext, guard: DoneGuard) -> Self {
        let watched = context.life().is_some();
        Self { future, context, watched, guard: Some(guard) }
    }
}

impl<F: Future<Output = Outcome>> Future for HandlerTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = contain(|| this.context.enter(|| this.future.poll(cx)));
        if !*this.watched
            && let (Some(life), Some(guard)) = (this.context.life(), &*this.guard)
        {
            guard.watch(life);
            *this.watched = true;
        }
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(status) => Outcome::Status(status),
        };
        if let Some(guard) = this.guard.take() {
            guard.finish(outcome);
        }
        Poll::Ready(())
    }
}
