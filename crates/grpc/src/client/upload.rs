//! The request stream of a call: a task of its own takes messages from it, encodes them and hands them to the connection, as
//! fast as the connection lets it.
//!
//! Messages that are ready together go in one operation, up to [`send_buffer::BATCH`]. The task ends when the stream of messages does,
//! or when the call is over.
//!
//! The call may be sent more than once: after a refusal, by a policy of retries, or hedged on several streams at once (gRFC A6).
//! Each attempt is a [`Leg`]. As long as another may follow, what was sent is kept; a leg that gets its stream is given
//! all of it first. The fastest leg sets the pace; what the others lag behind is at most what may be kept.
//!
//! Invariant: on every leg that has a stream lies the same sequence of octets, from the first message on.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use clearway_http2::StreamKey;
use futures_core::Stream;

use super::connection::{ClientOp, Ops};
use super::replay::{Kept, Room};
use crate::cause::{TransportCause, TransportEvent};
use crate::codec::Encoder;
use crate::codec::compression::Packing;
use crate::gate::Flow;
use crate::intercept::Watching;
use crate::send_buffer::{self, Filled};
use crate::sync::Mutex;
use crate::{Code, Status};

/// A refusal comes before the server looked at anything, so what can have been sent by then is about one window.
const KEPT_FOR_A_REFUSAL: usize = 64 * 1024;

/// Whether the call is over when its attempt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tries {
    /// It is.
    Last,
    /// Another attempt may follow, or run beside it.
    More,
}

/// An attempt, as its writer sees it.
struct Attempt {
    number: u32,
    /// None until it has a stream.
    link: Option<(StreamKey, Ops)>,
    flow: Flow,
}

struct State {
    /// The only attempt, as a rule.
    first: Option<Attempt>,
    others: Vec<Attempt>,
    tries: Tries,
    kept: Kept,
    /// The last message was taken.
    ended: bool,
    /// Nothing can be sent any more.
    over: bool,
    /// The request could not go on, by this: an attempt that gets its stream later ends by it.
    failed: Option<Status>,
    /// The attempt that goes on alone: its response has begun, or what was sent cannot be kept any longer.
    decided: Option<u32>,
    writer: Option<Waker>,
    caller: Option<Waker>,
}

/// Between the task that sends a request and the connections' tasks.
pub(crate) struct Upload {
    state: Mutex<State>,
}

/// One attempt's end of an [`Upload`].
#[derive(Clone)]
pub(crate) struct Leg {
    upload: Arc<Upload>,
    number: u32,
}

/// What a leg sends first: payloads, and whether the request ends with them.
pub(crate) type Replay = (Vec<Bytes>, bool);

impl Attempt {
    const fn new(number: u32) -> Self {
        Self { number, link: None, flow: Flow::shut() }
    }
}

impl State {
    fn attempts(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.first.iter_mut().chain(&mut self.others)
    }

    fn attempt(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts().find(|attempt| attempt.number == number)
    }

    fn remove(&mut self, number: u32) {
        self.first.take_if(|attempt| attempt.number == number);
        self.others.retain(|attempt| attempt.number != number);
    }

    /// From now on there is no attempt but this one.
    fn commit(&mut self, number: u32) {
        self.tries = Tries::Last;
        self.kept = Kept::nothing();
        self.first.take_if(|attempt| attempt.number != number);
        self.others.retain(|attempt| attempt.number == number);
        if self.first.is_none() && self.others.is_empty() {
            self.over = true;
        }
    }

    fn stop(&mut self) {
        self.over = true;
        self.kept = Kept::nothing();
        self.first = None;
        self.others = Vec::new();
    }

    /// Keeps a payload that goes out. When it cannot, the call goes on with the attempt that took the most.
    fn keep(&mut self, payload: &Bytes) {
        if self.attempts().all(|attempt| attempt.link.is_none()) {
            // The writer was let on by an attempt that is over: the next one sends it.
            self.kept.push_unsent(payload);
            return;
        }
        if self.kept.push(payload) || self.tries == Tries::Last {
            return;
        }
        let rank = |attempt: &&mut Attempt| (attempt.link.is_some(), attempt.flow.open().is_some());
        if let Some(number) = self.attempts().max_by_key(rank).map(|attempt| attempt.number) {
            self.decided = Some(number);
            self.commit(number);
        }
    }

    /// Hands a payload to the attempts that have a stream.
    fn send(&mut self, payload: Bytes, end: bool) {
        // The first one is the only one as a rule: it gets the payload itself, the others get clones.
        for Attempt { link, flow, .. } in &mut self.others {
            push(link.as_ref(), flow, payload.clone(), end);
        }
        if let Some(Attempt { link, flow, .. }) = &mut self.first {
            push(link.as_ref(), flow, payload, end);
        }
    }
}

impl Upload {
    /// For a call that is sent once, or twice if it was refused, and the leg it is sent on.
    pub(crate) fn once(room: &Arc<Room>) -> Leg {
        let upload = Self::with(Some(Attempt::new(0)), Tries::Last, room.keep(KEPT_FOR_A_REFUSAL));
        Leg { upload: Arc::new(upload), number: 0 }
    }

    /// For a call that may be sent again by policy; the leg is none yet, see [`Leg::again`].
    pub(crate) fn by_policy(room: &Arc<Room>) -> Leg {
        let upload = Self::with(None, Tries::More, room.keep_for_call());
        Leg { upload: Arc::new(upload), number: 0 }
    }

    fn with(first: Option<Attempt>, tries: Tries, kept: Kept) -> Self {
        let state = State {
            first,
            others: Vec::new(),
            tries,
            kept,
            ended: false,
            over: false,
            failed: None,
            decided: None,
            writer: None,
            caller: None,
        };
        Self { state: Mutex::new(state) }
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // Nothing in `act` runs code of the user's, so a panic cannot leave the state half-changed.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The call is over, or given up.
    pub(crate) fn close(&self) {
        let waker = self.locked(|state| {
            state.stop();
            state.writer.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The call goes on with one attempt.
    pub(crate) fn commit(&self, number: u32) {
        let waker = self.locked(|state| {
            state.commit(number);
            if state.over { state.writer.take() } else { None }
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True if another attempt could send what was sent so far.
    pub(crate) fn may_go_again(&self) -> bool {
        self.locked(|state| state.tries == Tries::More && !state.over && state.kept.is_whole())
    }

    /// True if nothing can be sent any more, on any attempt.
    pub(crate) fn is_over(&self) -> bool {
        self.locked(|state| state.over)
    }

    /// Ready, once, with the attempt that goes on alone: its response has begun, or what was sent cannot be kept any longer.
    pub(crate) fn poll_decided(&self, cx: &Context<'_>) -> Poll<u32> {
        self.locked(|state| match state.decided.take() {
            Some(number) => Poll::Ready(number),
            None => {
                register(&mut state.caller, cx);
                Poll::Pending
            }
        })
    }

    /// Ready when the writer may go on, with the mark (see [`SendGate::poll_open`](crate::gate::SendGate::poll_open)), or
    /// with none when nothing can be sent any more.
    fn poll_open(&self, cx: &Context<'_>) -> Poll<Option<usize>> {
        self.locked(|state| {
            if state.over {
                return Poll::Ready(None);
            }
            if let Some(mark) = state.attempts().find_map(|attempt| attempt.flow.open()) {
                return Poll::Ready(Some(mark));
            }
            register(&mut state.writer, cx);
            Poll::Pending
        })
    }

    fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        self.locked(|state| {
            if state.over {
                return Poll::Ready(());
            }
            register(&mut state.writer, cx);
            Poll::Pending
        })
    }

    fn push(&self, payload: Vec<u8>, end: bool) {
        let payload = send_buffer::seal(payload);
        let waker = self.locked(|state| {
            state.ended |= end;
            state.keep(&payload);
            state.send(payload, end);
            if state.decided.is_some() { state.caller.take() } else { None }
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn fail(&self, status: &Status) {
        let links: Vec<_> = self.locked(|state| {
            let links = state.attempts().filter_map(|attempt| attempt.link.clone()).collect();
            if !state.over {
                state.failed = Some(status.clone());
            }
            state.stop();
            links
        });
        for (stream, ops) in links {
            let _ = ops.push(ClientOp::Fail { stream, status: status.clone() });
        }
    }
}

impl Leg {
    pub(crate) const fn upload(&self) -> &Arc<Upload> {
        &self.upload
    }

    /// Another attempt, under this number. When it comes too late nothing is sent on it.
    pub(crate) fn again(&self, number: u32) -> Self {
        self.upload.locked(|state| {
            if state.tries == Tries::More && state.kept.is_whole() {
                let attempt = Attempt::new(number);
                match &mut state.first {
                    none @ None => *none = Some(attempt),
                    Some(_) => state.others.push(attempt),
                }
            }
        });
        Self { upload: Arc::clone(&self.upload), number }
    }

    /// The attempt got its stream. What is given is to be sent before anything else; then [`Leg::applied`] lets the writer
    /// begin.
    pub(crate) fn opened(&self, stream: StreamKey, ops: Ops) -> Replay {
        self.upload.locked(|state| {
            if let Some(status) = state.failed.clone() {
                let _ = ops.push(ClientOp::Fail { stream, status });
            }
            let Some(attempt) = state.attempt(self.number) else { return (Vec::new(), false) };
            attempt.link = Some((stream, ops));
            (state.kept.sent().to_vec(), state.ended)
        })
    }

    /// The attempt lost its stream before anything came back, and gets another if everything that was sent is kept: true if
    /// so. What the writer has on its way meanwhile is kept, too.
    pub(crate) fn detach(&self) -> bool {
        self.upload.locked(|state| {
            let may = !state.over && state.kept.is_whole();
            match state.attempt(self.number) {
                Some(attempt) if may => {
                    *attempt = Attempt::new(self.number);
                    true
                }
                _ => false,
            }
        })
    }

    /// The response has begun: the call goes on with this attempt, and nothing is sent again.
    pub(crate) fn answered(&self) {
        self.upload.locked(|state| {
            // It is not there if another one was chosen before.
            if state.attempt(self.number).is_some() {
                if state.tries == Tries::More {
                    state.decided = Some(self.number);
                }
                state.commit(self.number);
            }
        });
    }

    /// The connection took so many octets; see [`SendGate::applied`](crate::gate::SendGate::applied).
    pub(crate) fn applied(&self, octets: usize, backlogged: bool, mark: usize) -> Option<Waker> {
        self.upload.locked(|state| {
            let flow = &mut state.attempt(self.number)?.flow;
            flow.applied(octets, backlogged, mark);
            flow.open().and_then(|_| state.writer.take())
        })
    }

    /// The stream's backlog has drained.
    pub(crate) fn writable(&self, mark: usize) -> Option<Waker> {
        self.upload.locked(|state| {
            state.attempt(self.number)?.flow.writable(mark);
            state.writer.take()
        })
    }

    /// The attempt is over. The waker given back is to be woken.
    pub(crate) fn close(&self) -> Option<Waker> {
        self.upload.locked(|state| {
            // It is not there if another one was chosen.
            state.attempt(self.number)?;
            match state.tries {
                Tries::More => state.remove(self.number),
                Tries::Last => state.stop(),
            }
            state.writer.take()
        })
    }
}

fn push(link: Option<&(StreamKey, Ops)>, flow: &mut Flow, payload: Bytes, end: bool) {
    if let Some((stream, ops)) = link {
        flow.pushed(payload.len());
        // A closed queue has ended the attempt already.
        let _ = ops.push(ClientOp::Send { stream: *stream, payload, end });
    }
}

fn register(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(old) => old.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

/// Fails the call if the task ends before the request did: the stream of messages panicked, or the runtime went down.
struct Unfinished(Option<Arc<Upload>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(upload) = &self.0 {
            let cause = TransportCause::anywhere(TransportEvent::UploadDropped);
            upload.fail(&Status::from_transport(Code::Cancelled, cause));
        }
    }
}

enum Turn {
    /// These octets are to be sent; with `true` they are the last.
    Send(Vec<u8>, bool),
    /// The call is over.
    Over,
    /// A message cannot be sent.
    Failed(Status),
}

/// Sends a request stream to its end.
pub(crate) async fn pump<S, E>(
    upload: Arc<Upload>,
    messages: S,
    mut encoder: E,
    packing: Packing,
    watching: Option<Arc<Watching>>,
) where
    S: Stream<Item = E::Item>,
    E: Encoder<Error = Status>,
{
    let mut unfinished = Unfinished(Some(Arc::clone(&upload)));
    let mut messages = core::pin::pin!(messages);
    loop {
        let watching = watching.as_deref();
        let turn =
            poll_fn(|cx| poll_turn(&upload, messages.as_mut(), &mut encoder, (packing, watching), cx)).await;
        let over = match turn {
            Turn::Send(octets, end) => {
                upload.push(octets, end);
                end
            }
            Turn::Over => true,
            Turn::Failed(status) => {
                upload.fail(&status);
                true
            }
        };
        if over {
            unfinished.0 = None;
            return;
        }
    }
}

fn poll_turn<S, E>(
    upload: &Upload,
    mut messages: Pin<&mut S>,
    encoder: &mut E,
    (packing, watching): (Packing, Option<&Watching>),
    cx: &mut Context<'_>,
) -> Poll<Turn>
where
    S: Stream<Item = E::Item>,
    E: Encoder<Error = Status>,
{
    let Some(mark) = ready!(upload.poll_open(cx)) else { return Poll::Ready(Turn::Over) };
    let (mut octets, most) = (Vec::new(), mark.min(send_buffer::BATCH));
    let next = || messages.as_mut().poll_next(cx).map(|message| message.map(Ok));
    match send_buffer::fill(next, encoder, packing, most, &mut octets, watching) {
        Filled::End(Err(status)) => Poll::Ready(Turn::Failed(status)),
        Filled::End(Ok(())) => Poll::Ready(Turn::Send(octets, true)),
        Filled::Pending if octets.is_empty() => upload.poll_over(cx).map(|()| Turn::Over),
        Filled::Up | Filled::Pending => Poll::Ready(Turn::Send(octets, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::tests::key;

    const MARK: usize = 1 << 20;

    /// An upload whose attempt has a stream, with so much kept at most.
    fn opened(leg: Leg) -> Leg {
        assert!(leg.opened(key(), Ops::default()).0.is_empty());
        assert!(leg.applied(0, false, MARK).is_none());
        leg
    }

    fn replayed(leg: &Leg) -> Vec<u8> {
        leg.opened(key(), Ops::default()).0.concat()
    }

    fn is_open(leg: &Leg) -> bool {
        leg.upload.poll_open(&Context::from_waker(Waker::noop())).is_ready()
    }

    /// The writer was let on, then its stream was refused, then it pushed: more than may be kept, and yet it must not get lost.
    #[test]
    fn what_is_pushed_while_the_attempt_has_no_stream_is_sent_on_the_next_one() {
        let room = Arc::new(Room::new(10, 10));
        let leg = opened(Upload::once(&room));
        leg.upload.push(b"before".to_vec(), false);
        assert!(leg.detach() && !is_open(&leg));
        leg.upload.push(b"meanwhile".to_vec(), true);
        assert!(leg.opened(key(), Ops::default()).1, "it ends with that");
        assert_eq!(replayed(&leg), b"beforemeanwhile");

        let room = Arc::new(Room::new(10, 10));
        let leg = opened(Upload::by_policy(&room).again(1));
        leg.upload.push(b"before".to_vec(), false);
        let _ = leg.close();
        leg.upload.push(b"meanwhile".to_vec(), false);
        assert!(leg.upload.may_go_again());
        assert_eq!(replayed(&leg.again(2)), b"beforemeanwhile");
    }

    /// As above, and what comes next cannot be sent: then the call ends when it gets a stream, and does not wait for more.
    #[test]
    fn a_request_that_fails_while_the_attempt_has_no_stream_ends_the_next_one() {
        let room = Arc::new(Room::new(10, 10));
        let refused = opened(Upload::once(&room));
        assert!(refused.detach());
        let failed = opened(Upload::by_policy(&room).again(1));
        let _ = failed.close();
        let next = failed.again(2);
        for leg in [refused, next] {
            leg.upload.fail(&Status::internal("no such message"));
            let ops = Ops::default();
            assert!(leg.opened(key(), Arc::clone(&ops)).0.is_empty());
            let told = ops.take_all();
            assert!(
                matches!(told.as_slice(), [ClientOp::Fail { status, .. }] if status.code() == Code::Internal)
            );
        }
    }

    #[test]
    fn an_attempt_whose_request_is_not_whole_any_more_gets_no_other_stream() {
        let room = Arc::new(Room::new(10, 10));
        let leg = opened(Upload::once(&room));
        leg.upload.push(b"more than ".to_vec(), false);
        leg.upload.push(b"fits".to_vec(), false);
        assert!(!leg.detach());
        assert_eq!(room.taken(), 0);
        let leg = opened(Upload::by_policy(&room).again(1));
        leg.upload.push(b"more than ".to_vec(), false);
        leg.upload.push(b"fits".to_vec(), false);
        let decided = leg.upload.poll_decided(&Context::from_waker(Waker::noop()));
        assert_eq!(decided, Poll::Ready(1));
        assert!(!leg.upload.may_go_again() && !leg.detach());
        assert!(is_open(&leg), "it goes on");
        let late = leg.again(2);
        assert!(replayed(&late).is_empty() && late.close().is_none(), "and no other begins");
        assert!(is_open(&leg));
    }
}
