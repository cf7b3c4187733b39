//! [`Life`]: what the parts of a call share to hear of its end.
//!
//! Invariant: it ends once. Whoever registers does so under the lock or sees that it has ended, so nobody waits for an end
//! that was told already.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};
use core::task::Waker;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::cause::{Processed, TransportCause, TransportEvent};
use crate::inbound::Inbound;
use crate::server::OnCancel;
use crate::{Code, Status};

/// Handles of calls that are gone are swept out when there are so many.
const SWEEP_AT: usize = 16;

/// Why a context is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Over {
    /// Its call was answered, or was over when somebody asked.
    Answered = 1,
    /// The client gave its call up, or the connection is gone.
    Cancelled = 2,
    /// Its deadline passed.
    DeadlinePassed = 3,
}

impl Over {
    /// Why a call ended that ended with `code` before its handler did.
    pub(crate) fn by(code: Code) -> Self {
        if code == Code::DeadlineExceeded { Self::DeadlinePassed } else { Self::Cancelled }
    }

    const fn read(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Answered),
            2 => Some(Self::Cancelled),
            3 => Some(Self::DeadlinePassed),
            _ => None,
        }
    }

    /// The status of a call that was made in a context which is over.
    pub(crate) fn status(self, processed: Processed) -> Status {
        let (code, why) = match self {
            Self::Answered => (Code::Cancelled, "it was answered"),
            Self::Cancelled => (Code::Cancelled, "its client gave it up"),
            Self::DeadlinePassed => (Code::DeadlineExceeded, "its deadline passed"),
        };
        let event = TransportEvent::ContextOver { why };
        Status::from_transport(code, TransportCause { connection: None, event, processed })
    }
}

/// Whether a call is over, and who wants to know.
pub(crate) struct Life {
    /// Zero while it goes on.
    over: AtomicU8,
    on_cancel: AtomicU8,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By the key that their future has.
    wakers: Vec<Option<Waker>>,
    /// Calls made in this context.
    calls: Vec<Weak<Inbound>>,
    /// Lives that end with this one.
    followers: Vec<Weak<Life>>,
    sweep_at: usize,
}

impl Life {
    pub(crate) fn new(on_cancel: OnCancel) -> Self {
        let on_cancel = AtomicU8::new(on_cancel as u8);
        Self { over: AtomicU8::new(0), on_cancel, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under the lock runs code of the user's, but a waker's clone may.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn over(&self) -> Option<Over> {
        Over::read(self.over.load(Ordering::Acquire))
    }

    pub(crate) fn on_cancel(&self) -> OnCancel {
        OnCancel::read(self.on_cancel.load(Ordering::Relaxed))
    }

    pub(crate) fn set_on_cancel(&self, on_cancel: OnCancel) {
        self.on_cancel.store(on_cancel as u8, Ordering::Relaxed);
    }

    /// It is over: calls made in it are called off, and those who wait are to be woken.
    pub(crate) fn end(&self, why: Over, wakers: &mut Vec<Waker>) {
        let waiting = {
            let mut waiting = self.lock();
            if self.over().is_some() {
                return;
            }
            self.over.store(why as u8, Ordering::Release);
            core::mem::take(&mut *waiting)
        };
        wakers.extend(waiting.wakers.into_iter().flatten());
        for call in waiting.calls.iter().filter_map(Weak::upgrade) {
            wakers.extend(call.call_off(|processed| why.status(processed)));
        }
        for follower in waiting.followers.iter().filter_map(Weak::upgrade) {
            follower.end(why, wakers);
        }
    }

    /// As [`Life::end`], where no turn collects those to be woken.
    pub(crate) fn end_now(&self, why: Over) {
        let mut wakers = Vec::new();
        self.end(why, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// `call` is called off when this is over.
    ///
    /// # Errors
    /// It is over.
    pub(crate) fn adopt(&self, call: &Arc<Inbound>) -> Result<(), Status> {
        let mut waiting = self.lock();
        if let Some(why) = self.over() {
            return Err(why.status(Processed::No));
        }
        if waiting.calls.len() >= waiting.sweep_at.max(SWEEP_AT) {
            waiting.calls.retain(|call| call.strong_count() > 0);
            waiting.sweep_at = waiting.calls.len().saturating_mul(2);
        }
        waiting.calls.push(Arc::downgrade(call));
        Ok(())
    }

    /// `other` ends with this.
    pub(crate) fn lead(&self, other: &Arc<Self>, wakers: &mut Vec<Waker>) {
        {
            let mut waiting = self.lock();
            if self.over().is_none() {
                waiting.followers.retain(|follower| follower.strong_count() > 0);
                waiting.followers.push(Arc::downgrade(other));
                return;
            }
        }
        if let Some(why) = self.over() {
            other.end(why, wakers);
        }
    }

    /// Registers a waker under `key`, or under a new one; false if there is nothing to wait for.
    pub(super) fn register(&self, key: &mut Option<usize>, waker: &Waker) -> bool {
        let mut waiting = self.lock();
        if self.over().is_some() {
            return false;
        }
        let at = match *key {
            Some(at) => at,
            None => waiting.wakers.iter().position(Option::is_none).unwrap_or(waiting.wakers.len()),
        };
        *key = Some(at);
        if at >= waiting.wakers.len() {
            waiting.wakers.resize(at.saturating_add(1), None);
        }
        if let Some(place) = waiting.wakers.get_mut(at) {
            *place = Some(waker.clone());
        }
        true
    }

    /// Takes the waker of `key` out.
    pub(super) fn unregister(&self, key: usize) {
        if let Some(place) = self.lock().wakers.get_mut(key) {
            *place = None;
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.wakers.iter().flatten().count(), waiting.calls.len())
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("over", &self.over()).field("on_cancel", &self.on_cancel()).finish()
    }
}
