//! What a handler that panics can reach: its own call, and nothing else (gRPC's status page: UNKNOWN).

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Status;

/// The status of a call whose handler panicked. What it panicked with is on stderr and not for the client.
fn panicked() -> Status {
    Status::unknown("the handler panicked")
}

/// Runs code of the user's. State that it shares with us is not looked at again after a panic.
pub(super) fn contain<T>(run: impl FnOnce() -> T) -> Result<T, Status> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| panicked())
}

pin_project_lite::pin_project! {
    /// A future whose panics become a status.
    pub(super) struct Contained<F> {
        #[pin]
        future: F,
    }
}

impl<F> Contained<F> {
    pub(super) const fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match contain(|| future.poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(status) => Poll::Ready(Err(status)),
        }
    }
}
