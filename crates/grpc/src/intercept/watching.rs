//! What a call that is watched carries with it: the watches that were left behind, and sums of its messages.
//!
//! Invariant: every watch hears of exactly one end. Whoever brings it first wins; [`Guard`] brings CANCELLED if nobody did.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::call::{CallEnd, Direction, MessageSize, Traffic};
use super::{Stack, Watch};
use crate::inbound::End;
use crate::metadata::MetadataMap;
use crate::{Status, context};

/// A watch with its type erased.
pub(super) trait AnyWatch: Send + Sync {
    fn head<'a>(
        &'a self,
        metadata: &'a mut MetadataMap,
    ) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>>;
    fn message(&self, message: MessageSize) -> Result<(), Status>;
    fn alter(&self, octets: Bytes) -> Bytes;
    fn end(&self, end: &mut CallEnd);
}

impl<W: Watch> AnyWatch for W {
    fn head<'a>(
        &'a self,
        metadata: &'a mut MetadataMap,
    ) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>> {
        Box::pin(Watch::head(self, metadata))
    }

    fn message(&self, message: MessageSize) -> Result<(), Status> {
        Watch::message(self, message)
    }

    fn alter(&self, octets: Bytes) -> Bytes {
        Watch::alter(self, octets)
    }

    fn end(&self, end: &mut CallEnd) {
        Watch::end(self, end);
    }
}

/// The messages of one direction so far.
#[derive(Default)]
struct Tally {
    messages: AtomicU64,
    octets: AtomicU64,
    wire_octets: AtomicU64,
}

impl Tally {
    fn add(&self, octets: usize, wire_octets: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(octets as u64, Ordering::Relaxed);
        self.wire_octets.fetch_add(wire_octets as u64, Ordering::Relaxed);
    }

    fn sum(&self) -> Traffic {
        Traffic {
            messages: self.messages.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
            wire_octets: self.wire_octets.load(Ordering::Relaxed),
        }
    }
}

/// A call that is watched.
pub(crate) struct Watching {
    /// Outermost first.
    watches: Vec<Box<dyn AnyWatch>>,
    sent: Tally,
    received: Tally,
    began: Instant,
    deadline: Option<Instant>,
    ended: AtomicBool,
}

impl Watching {
    fn new(began: Instant, deadline: Option<Instant>) -> Self {
        let (sent, received) = (Tally::default(), Tally::default());
        Self { watches: Vec::new(), sent, received, began, deadline, ended: AtomicBool::new(false) }
    }

    /// When it began, and when it must be over.
    pub(crate) const fn times(&self) -> (Instant, Option<Instant>) {
        (self.began, self.deadline)
    }

    /// A message is sent.
    ///
    /// # Errors
    /// Somebody ends the call instead; it must not be sent.
    pub(crate) fn sent(&self, octets: usize, wire_octets: usize) -> Result<(), Status> {
        self.tell(MessageSize { direction: Direction::Sent, octets, wire_octets })?;
        self.sent.add(octets, wire_octets);
        Ok(())
    }

    /// A message was received.
    ///
    /// # Errors
    /// Somebody ends the call instead; it must not be given to its reader.
    pub(crate) fn received(&self, octets: usize, wire_octets: usize) -> Result<(), Status> {
        self.tell(MessageSize { direction: Direction::Received, octets, wire_octets })?;
        self.received.add(octets, wire_octets);
        Ok(())
    }

    fn tell(&self, message: MessageSize) -> Result<(), Status> {
        self.watches.iter().try_for_each(|watch| watch.message(message))
    }

    /// A message that was received, as it goes on.
    pub(crate) fn altered(&self, octets: Bytes) -> Bytes {
        self.watches.iter().fold(octets, |octets, watch| watch.alter(octets))
    }

    /// The head of the response, innermost first.
    pub(crate) async fn head(&self, metadata: &mut MetadataMap) -> Result<(), Status> {
        for watch in self.watches.iter().rev() {
            watch.head(metadata).await?;
        }
        Ok(())
    }

    /// The call ended like this; gives back how it ends for whoever is outside.
    pub(crate) fn end(&self, end: End) -> End {
        self.finish(end, false)
    }

    /// As [`Watching::end`], of a call whose handler may have gone on although nobody waited any more.
    pub(crate) fn end_of_handler(&self, end: End) -> End {
        if context::is_over() {
            self.cancel();
        }
        self.end(end)
    }

    fn cancel(&self) {
        let late = self.deadline.is_some_and(|at| at <= Instant::now());
        let status = if late {
            Status::deadline_exceeded("the deadline passed before the call was over")
        } else {
            Status::cancelled("the call was given up before it was over")
        };
        let _ = self.finish(Err(status), true);
    }

    fn finish(&self, end: End, cancelled: bool) -> End {
        if self.ended.swap(true, Ordering::AcqRel) {
            return end;
        }
        let (sent, received) = (self.sent.sum(), self.received.sum());
        let mut end = CallEnd { end, cancelled, elapsed: self.began.elapsed(), sent, received };
        self.watches.iter().rev().for_each(|watch| watch.end(&mut end));
        end.end
    }
}

/// Whoever owns a call that is watched: dropping it before the end is a cancellation.
pub(crate) struct Guard(Arc<Watching>);

impl Guard {
    /// Asks the interceptors of `stack`, outermost first.
    ///
    /// # Errors
    /// One of them refused the call; those before it have heard of that.
    pub(crate) async fn begin(
        stack: &Stack,
        call: &mut super::Call,
        began: Instant,
        deadline: Option<Instant>,
    ) -> Result<Self, Status> {
        let mut this = Self(Arc::new(Watching::new(began, deadline)));
        for interceptor in stack.iter() {
            match interceptor.begin(call).into_result().await {
                // Nobody else has it yet.
                Ok(watch) => {
                    if let (Some(watch), Some(watching)) = (watch, Arc::get_mut(&mut this.0)) {
                        watching.watches.push(watch);
                    }
                }
                Err(status) => return Err(this.refuse(status)),
            }
        }
        Ok(this)
    }

    /// The call ends without a response.
    pub(crate) fn refuse(&self, status: Status) -> Status {
        self.0.end(Err(status)).err().unwrap_or_else(no_response)
    }

    /// As [`Guard::refuse`], of a call whose handler may have gone on although nobody waited any more.
    pub(crate) fn refuse_handler(&self, status: Status) -> Status {
        self.0.end_of_handler(Err(status)).err().unwrap_or_else(no_response)
    }

    pub(crate) const fn watching(&self) -> &Arc<Watching> {
        &self.0
    }
}

impl core::ops::Deref for Guard {
    type Target = Watching;

    fn deref(&self) -> &Watching {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.0.ended.load(Ordering::Acquire) {
            self.0.cancel();
        }
    }
}

/// An interceptor changed a failure into OK, and there is nothing to give.
pub(crate) fn no_response() -> Status {
    Status::internal("an interceptor made OK of a call that has no response")
}

/// What a stream of messages tells its call's watches.
pub(crate) enum Follow {
    /// Its messages: a request, at the server.
    Messages(Arc<Watching>),
    /// Its messages and its end: a response, at the client.
    Call(Guard),
}

impl Follow {
    pub(crate) fn received(&self, octets: usize, wire_octets: usize) -> Result<(), Status> {
        self.watching().received(octets, wire_octets)
    }

    pub(crate) fn altered(&self, octets: Bytes) -> Bytes {
        self.watching().altered(octets)
    }

    fn watching(&self) -> &Watching {
        match self {
            Self::Messages(watching) => watching,
            Self::Call(guard) => guard,
        }
    }

    /// The stream ended like this.
    pub(crate) fn end(&self, end: End) -> End {
        match self {
            Self::Messages(_) => end,
            Self::Call(guard) => guard.end(end),
        }
    }
}
