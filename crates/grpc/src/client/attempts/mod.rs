//! A call with a policy: its attempts, made where the caller waits (gRFC A6).
//!
//! Each attempt is a call of its own for connections and channel; what they have in common is the request, kept here or in
//! its [`Upload`](super::upload::Upload), and the deadline. The call is committed to one attempt when that one's response
//! begins, ends with OK, or fails for good; then all others are cancelled.
//!
//! Invariants: dropping [`Attempts`] gives up everything under way. No attempt begins after the deadline, after the picker
//! dropped one, or when what was sent is not kept whole.

mod judge;
#[cfg(test)]
mod tests;
mod throttle;

use core::future::{Future as _, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, Sleep};

use super::channel::Shared;
use super::replay::Reserved;
use super::service_config::Repeat;
use super::start::{AttemptNotes, Caller, CloseOnDrop, StartCall};
use crate::attempt::Attempt;
use crate::cause::{CallPhase, Processed, TransportCause, TransportEvent};
use crate::chance::chance;
use crate::codec::CompressionEncoding;
use crate::context::{CallContext, Cancelled};
use crate::inbound::{Inbound, Reader, WakeAt, Whole};
use crate::message_queue::MessageQueue;
use crate::metadata::MetadataMap;
use crate::{Code, Status};
use judge::{Judge, Pushback, Verdict};

pub(crate) use throttle::Throttle;

/// Messages kept of a response that must have one: enough to tell that there were more.
const KEPT: usize = 2;

/// An attempt under way.
struct Live {
    number: u32,
    reader: Reader,
    notes: Arc<AttemptNotes>,
    began: Instant,
}

/// What happened to a call.
enum Step {
    /// The response of an attempt began, or it ended with OK.
    Began { at: usize, head: MetadataMap, encoding: Option<CompressionEncoding> },
    /// An attempt failed before that.
    Failed { at: usize, status: Status },
    /// Another attempt is due.
    Due,
    /// This attempt goes on alone: its response has begun, or what was sent cannot be kept any longer.
    Decided(u32),
}

/// A call and its attempts; see the [module](self).
pub(crate) struct Attempts {
    shared: Arc<Shared>,
    /// What each attempt is made of.
    call: Box<StartCall>,
    /// What they are made for.
    parent: Option<Parent>,
    judge: Judge,
    live: Vec<Live>,
    next: Option<Pin<Box<Sleep>>>,
    failed: Vec<Attempt>,
    last: Option<Status>,
    upload: CloseOnDrop,
    /// The room that the request's one message takes; none if there was none, and then it is sent once.
    reserved: Option<Reserved>,
}

/// A call whose response began.
pub(crate) struct Settled {
    pub(crate) caller: Caller,
    pub(crate) head: MetadataMap,
    pub(crate) encoding: Option<CompressionEncoding>,
    pub(crate) throttle: Option<Arc<Throttle>>,
    failed: Vec<Attempt>,
}

/// The context that a call is made in, and its end.
struct Parent {
    context: CallContext,
    cancelled: Cancelled,
}

impl Parent {
    fn new(context: CallContext) -> Self {
        let cancelled = context.cancelled();
        Self { context, cancelled }
    }
}

impl Attempts {
    /// Begins the first attempt.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        call: Box<StartCall>,
        parent: Option<CallContext>,
        policy: Repeat,
        throttle: Option<Arc<Throttle>>,
    ) -> Self {
        let upload = CloseOnDrop::of(&call.outgoing);
        let reserved = shared.room.reserve(call.outgoing.octets());
        let judge = Judge::new(policy, throttle);
        let (live, failed) = (Vec::new(), Vec::new());
        let mut attempts = Self {
            shared,
            call,
            parent: parent.map(Parent::new),
            judge,
            live,
            next: None,
            failed,
            last: None,
            upload,
            reserved,
        };
        if !attempts.may_go_again() {
            attempts.judge.stop();
        }
        attempts.start();
        attempts
    }

    /// Waits until the call is committed to one attempt.
    ///
    /// # Errors
    /// The status of the attempt that ended the call, with all that were made.
    pub(crate) async fn settle(mut self) -> Result<Settled, Status> {
        loop {
            match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Began { at, head, encoding } => return Ok(self.commit(at, head, encoding)),
                Step::Failed { at, status } => {
                    if let Some(status) = self.on_failed(at, status) {
                        return Err(status);
                    }
                }
                Step::Due => {
                    self.next = None;
                    if let Some(status) = self.on_due() {
                        return Err(status);
                    }
                }
                Step::Decided(number) => {
                    self.live.retain(|live| live.number == number);
                    self.judge.stop();
                    self.next = None;
                }
            }
        }
    }

    /// Waits for the whole response, of which one message is wanted.
    ///
    /// # Errors
    /// As [`Attempts::settle`].
    pub(crate) async fn whole(self) -> Result<Whole, Status> {
        Ok(self.settle().await?.gather().await)
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if let Some(upload) = self.upload.upload()
            && let Poll::Ready(number) = upload.poll_decided(cx)
        {
            return Poll::Ready(Step::Decided(number));
        }
        for (at, live) in self.live.iter().enumerate() {
            if let Poll::Ready(answer) = live.reader.poll_head(cx) {
                return Poll::Ready(match answer {
                    Ok((head, encoding)) => Step::Began { at, head, encoding },
                    Err(status) => Step::Failed { at, status },
                });
            }
        }
        if self.live.is_empty()
            && let Some(parent) = &mut self.parent
            && Pin::new(&mut parent.cancelled).poll(cx).is_ready()
        {
            return Poll::Ready(Step::Due);
        }
        match &mut self.next {
            Some(timer) => timer.as_mut().poll(cx).map(|()| Step::Due),
            None => Poll::Pending,
        }
    }

    /// True if what was sent so far can be sent once more.
    fn may_go_again(&self) -> bool {
        match self.upload.upload() {
            Some(upload) => upload.may_go_again(),
            None => self.reserved.is_some(),
        }
    }

    fn start(&mut self) {
        let previous = self.judge.made();
        let next = self.judge.began();
        let number = self.judge.made();
        let inbound = Arc::new(Inbound::unopened(WakeAt::Each));
        let notes = Arc::new(AttemptNotes::after(previous));
        let reader = Reader::new(Arc::clone(&inbound));
        self.live.push(Live { number, reader, notes: Arc::clone(&notes), began: Instant::now() });
        let adopted = self.parent.as_ref().map_or(Ok(()), |parent| parent.context.adopt(&inbound));
        let attempt = self.call.again(number, inbound, notes);
        match adopted {
            Ok(()) => self.shared.start(Box::new(attempt)),
            Err(status) => attempt.fail(status),
        }
        self.next = None;
        if let Some(delay) = next {
            self.put_off(delay);
        }
    }

    /// Another attempt is due after so long; the deadline may come first.
    fn put_off(&mut self, wait: Duration) {
        let at = Instant::now().checked_add(wait).or(self.call.deadline);
        let at = [at, self.call.deadline].into_iter().flatten().min();
        self.next = at.map(|at| Box::pin(tokio::time::sleep_until(at)));
    }

    fn is_late(&self) -> bool {
        self.call.deadline.is_some_and(|at| at <= Instant::now())
    }

    /// The status of a call whose context is over.
    fn called_off(&self) -> Option<Status> {
        self.parent.as_ref()?.context.over_status()
    }

    /// The wait is over. Gives the status of a call that ends here.
    fn on_due(&mut self) -> Option<Status> {
        if self.is_late() {
            // Those under way, if any, end by themselves, and say more.
            return self.live.is_empty().then(|| self.end_late());
        }
        if let Some(status) = self.called_off() {
            return self.live.is_empty().then(|| self.end(status));
        }
        if self.judge.is_due() && self.may_go_again() {
            self.start();
            return None;
        }
        match self.last.take() {
            Some(status) if self.live.is_empty() => Some(self.end(status)),
            last => {
                self.last = last;
                None
            }
        }
    }

    /// An attempt failed. Gives the status of a call that ends here.
    fn on_failed(&mut self, at: usize, status: Status) -> Option<Status> {
        let live = self.live.remove(at);
        let pushback = Pushback::of(status.metadata());
        let others = !self.live.is_empty();
        let chance = self.shared.jitter.unwrap_or_else(chance);
        let verdict =
            if self.is_late() || live.notes.is_dropped() || self.is_broken() || self.called_off().is_some() {
                Verdict::Final
            } else {
                if !self.may_go_again() {
                    self.judge.stop();
                }
                self.judge.failed(status.code(), pushback, others, chance)
            };
        let backoff = if let Verdict::Again(wait) = verdict { Some(wait) } else { None };
        self.failed.push(Attempt {
            began: live.began.saturating_duration_since(self.call.started),
            took: Instant::now().saturating_duration_since(live.began),
            peer: live.notes.peer.get().cloned(),
            code: status.code(),
            message: status.message().to_owned(),
            processed: status.transport().map_or(Processed::Maybe, |cause| cause.processed),
            backoff,
            pushback: backoff.is_some() && matches!(pushback, Pushback::After(_)),
        });
        match verdict {
            Verdict::Final => return Some(self.end(status)),
            Verdict::Again(Duration::ZERO) => self.start(),
            Verdict::Again(wait) => self.put_off(wait),
            Verdict::Wait => {}
        }
        self.last = Some(status);
        None
    }

    /// The request itself failed: its stream ended before its end, or a message cannot be sent.
    fn is_broken(&self) -> bool {
        self.upload.upload().is_some_and(|upload| upload.is_over())
    }

    fn end(&mut self, status: Status) -> Status {
        // What the last attempt knows is not all: those before it, and those beside it, may have been acted on.
        let only =
            self.live.is_empty() && self.failed.iter().all(|attempt| attempt.processed == Processed::No);
        let status = if only { status } else { status.and_maybe_processed() };
        status.and_attempts(core::mem::take(&mut self.failed))
    }

    /// The deadline passed between two attempts.
    fn end_late(&mut self) -> Status {
        let after = Instant::now().saturating_duration_since(self.call.started);
        let event =
            TransportEvent::DeadlineExceeded { after, phase: CallPhase::BackingOff, blocked_on: None };
        let cause = TransportCause { connection: None, event, processed: Processed::Maybe };
        let status = Status::from_transport(Code::DeadlineExceeded, cause);
        let status = match self.last.take() {
            Some(last) => status.and_note(format!("last attempt: {last}")),
            None => status,
        };
        self.end(status)
    }

    /// The call goes on with one attempt; the others are cancelled.
    fn commit(mut self, at: usize, head: MetadataMap, encoding: Option<CompressionEncoding>) -> Settled {
        let live = self.live.swap_remove(at);
        if let Some(upload) = self.upload.upload() {
            upload.commit(live.number);
        }
        Settled {
            caller: Caller::from_parts(live.reader, self.upload),
            head,
            encoding,
            throttle: self.judge.throttle(),
            failed: self.failed,
        }
    }
}

impl Settled {
    /// The whole response of a call that wants one message.
    async fn gather(self) -> Whole {
        let Self { caller, head, encoding, throttle, failed } = self;
        let (mut messages, mut kept) = (MessageQueue::default(), 0);
        let end = loop {
            match poll_fn(|cx| caller.reader.poll_message(cx)).await {
                Ok(message) if kept < KEPT => {
                    messages.push(message);
                    kept += 1;
                }
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        if let (Ok(_), Some(throttle)) = (&end, throttle) {
            throttle.succeeded();
        }
        Whole { head: Some(head), encoding, messages, end: end.map_err(|status| status.and_attempts(failed)) }
    }
}
