//! The messages of a request on their way out: each after its delay, with full duplex each after a response to the one before,
//! and the call given up at its end if that is wanted.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clearway::codegen::Stream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::proto::client_compat_request::Cancel;
use super::proto::client_compat_request::cancel::CancelTiming;

/// When a call is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GiveUp {
    Never,
    /// Instead of ending the request.
    BeforeEnd,
    /// So long after the request has ended.
    AfterEnd(Duration),
    /// After so many responses.
    AfterResponses(usize),
}

impl GiveUp {
    pub(super) fn read(cancel: Option<&Cancel>) -> Self {
        match cancel.map(|cancel| &cancel.cancel_timing) {
            None => Self::Never,
            Some(None) => Self::AfterEnd(Duration::ZERO),
            Some(Some(CancelTiming::BeforeCloseSend(()))) => Self::BeforeEnd,
            Some(Some(CancelTiming::AfterCloseSendMs(millis))) => {
                Self::AfterEnd(Duration::from_millis((*millis).into()))
            }
            Some(Some(CancelTiming::AfterNumResponses(responses))) => {
                Self::AfterResponses(usize::try_from(*responses).unwrap_or(usize::MAX))
            }
        }
    }
}

/// A request that is being sent, seen from where its responses are read.
pub(super) struct Sending {
    left: Arc<AtomicUsize>,
    turns: Option<Arc<Semaphore>>,
    /// Told when the call is to be given up.
    pub(super) give_up: Arc<Notify>,
    /// The task that sends ends with this.
    _task: JoinSet<()>,
}

impl Sending {
    /// A request that is complete when its call begins.
    pub(super) fn whole(when: GiveUp) -> Self {
        Self::begin(Vec::<()>::new(), Duration::ZERO, false, when).0
    }

    /// Sends `messages`, each `delay` after the one before; with `in_turns` after a response to the one before.
    pub(super) fn begin<M: Send + 'static>(
        messages: Vec<M>,
        delay: Duration,
        in_turns: bool,
        when: GiveUp,
    ) -> (Self, impl Stream<Item = M> + Send + 'static) {
        let left = Arc::new(AtomicUsize::new(messages.len()));
        let turns = in_turns.then(|| Arc::new(Semaphore::new(0)));
        let give_up = Arc::new(Notify::new());
        let (to, from) = mpsc::channel(1);
        let mut task = JoinSet::new();
        let (pace, cancel) = (turns.clone(), Arc::clone(&give_up));
        task.spawn(async move {
            for message in messages {
                sleep(delay).await;
                if to.send(message).await.is_err() {
                    return;
                }
                if let Some(turns) = &pace {
                    // It is never closed.
                    let Ok(turn) = turns.acquire().await else { return };
                    turn.forget();
                }
            }
            match when {
                // Some are still on their way when they were taken over; they go before the reset does.
                GiveUp::BeforeEnd => {
                    let _ = to.reserve().await;
                    cancel.notify_one();
                    core::future::pending::<()>().await;
                }
                GiveUp::AfterEnd(delay) => {
                    drop(to);
                    sleep(delay).await;
                    cancel.notify_one();
                }
                GiveUp::Never | GiveUp::AfterResponses(_) => {}
            }
        });
        let taken = Arc::clone(&left);
        let stream = ReceiverStream::new(from).map(move |message| {
            taken.fetch_sub(1, Ordering::Relaxed);
            message
        });
        (Self { left, turns, give_up, _task: task }, stream)
    }

    /// A response came: the next message may go.
    pub(super) fn answered(&self) {
        if let Some(turns) = &self.turns {
            turns.add_permits(1);
        }
    }

    /// Messages that were not sent.
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}
