//! [`CancellationToken`]: whether a call still matters, to look at or to wait for. In the style of tokio-util's type of that
//! name, which cannot be used here: it wakes tasks only, and a call that is called off has none.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use std::sync::Arc;

use super::life::Life;

/// Says whether a call still matters. Cheap to clone, and can be taken anywhere; it does not keep the call going.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken {
    /// None: nothing ever cancels it.
    life: Option<Arc<Life>>,
}

impl CancellationToken {
    pub(crate) const fn new(life: Option<Arc<Life>>) -> Self {
        Self { life }
    }

    /// True if nobody waits for the call any more: its client gave it up, its deadline passed, its connection is gone, or it
    /// was answered.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.over().is_some())
    }

    /// Ready when [`CancellationToken::is_cancelled`] is true; never, if the token was not taken from a call.
    ///
    /// # Cancel safety
    /// It can be dropped and asked for again.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { life: self.life.clone(), key: None }
    }

    /// Polls `future` until it is ready, or until nobody waits for the call any more: then it is dropped and there is no output.
    ///
    /// # Cancel safety
    /// As `future`'s.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut cancelled = self.cancelled();
        poll_fn(|cx| {
            if Pin::new(&mut cancelled).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// Ready when nobody waits for a call any more; made by [`CancellationToken::cancelled`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Cancelled {
    life: Option<Arc<Life>>,
    key: Option<usize>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { life, key } = &mut *self;
        match life {
            Some(life) if !life.register(key, cx.waker()) => {
                *key = None;
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let (Some(life), Some(key)) = (&self.life, self.key) {
            life.unregister(key);
        }
    }
}
