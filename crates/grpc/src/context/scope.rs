//! [`Scoped`]: a future that is polled in a context which was handed to it.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::CallContext;

pin_project_lite::pin_project! {
    /// A future that is polled in a [`CallContext`]; made by [`CallContext::scope`].
    #[derive(Debug)]
    #[must_use = "a future does nothing until it is awaited"]
    pub struct Scoped<F> {
        #[pin]
        future: F,
        context: CallContext,
    }
}

impl<F> Scoped<F> {
    pub(super) const fn new(context: CallContext, future: F) -> Self {
        Self { future, context }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.context.enter(|| this.future.poll(cx))
    }
}
