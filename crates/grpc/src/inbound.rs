//! One direction of a call between the task that owns the connection, which fills it, and the task that reads it.
//!
//! The connection delivers whole messages; the reader takes them and gives their credit back when it does, which is what
//! slows down a peer that sends faster than we read. A reader that waits while a message is being put together says so
//! once, and the connection then asks for the credit the rest of it needs.
//!
//! Invariant: between [`Inbound::deliver`] and the reader taking a message (or giving up), its octets are held against
//! the stream's window; each is released exactly once.

use core::task::{Context, Poll, Waker};
use std::sync::{Arc, PoisonError};

use clearway_http2::StreamKey;

use crate::Status;
use crate::cause::Processed;
use crate::client::{Place, Places, QueueFull};
use crate::codec::{CompressionEncoding, Message};
use crate::framing::PREFIX;
use crate::message_queue::MessageQueue;
use crate::metadata::MetadataMap;
use crate::sync::Mutex;

/// Credit that is not given back at once is given back when this much has come together.
const RELEASE_AT: usize = 16 * 1024;
/// While the reader waits, when this much has: less than any window that is announced
/// ([`MIN_STREAM_WINDOW`](crate::framing::MIN_STREAM_WINDOW)), so that the next message can always begin, and once it has
/// begun the engine grants what it lacks.
const RELEASE_WAITING_AT: usize = 512;

/// What a reader asks of the connection's task.
pub(crate) trait StreamOps: Send + Sync {
    /// The reader consumed so many octets.
    fn release(&self, stream: StreamKey, octets: usize);
    /// The reader waits for the message that is being put together.
    fn want(&self, stream: StreamKey);
    /// The reader is gone. On the client that cancels the call; on the server the rest of the request is dropped.
    fn abandon(&self, stream: StreamKey);
}

/// When the reader is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WakeAt {
    /// At the end of the call only; the connection consumes the messages in the reader's stead.
    End,
    /// At the head, at each message and at the end.
    Each,
}

/// What became of a message that was delivered.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// Nobody will read it: its credit is the caller's to give back.
    Unread,
    /// Its reader, if it waits in some other task, is to be woken after the turn.
    Told(Option<Waker>),
    /// Its reader waits in the call's own task: that is to be polled or woken.
    AtHome,
}

/// How this direction ended: with trailers, or with a status other than OK.
pub(crate) type End = Result<MetadataMap, Status>;

/// The stream a call has, and how to reach the task that owns it.
#[derive(Clone)]
struct Link {
    stream: StreamKey,
    ops: Arc<dyn StreamOps>,
}

struct State {
    /// None until the call has a stream.
    link: Option<Link>,
    /// Client: what a call that waits occupies in its channel's queue.
    place: Option<Place>,
    head: Option<MetadataMap>,
    /// Client: what messages of the response that are flagged are compressed by.
    encoding: Option<CompressionEncoding>,
    messages: MessageQueue,
    end: Option<End>,
    /// A message is being put together; the reader, if it waits, must ask for it.
    assembling: bool,
    reader_waits: bool,
    abandoned: bool,
    /// Octets taken and not given back yet.
    owed: usize,
    waker: Option<Waker>,
}

/// One direction of a call.
pub(crate) struct Inbound {
    state: Mutex<State>,
    wake_at: WakeAt,
}

/// Everything a unary call brought.
pub(crate) struct Whole {
    pub(crate) head: Option<MetadataMap>,
    pub(crate) encoding: Option<CompressionEncoding>,
    pub(crate) messages: MessageQueue,
    pub(crate) end: End,
}

impl Inbound {
    /// For a stream that exists.
    pub(crate) fn new(stream: Option<StreamKey>, wake_at: WakeAt, ops: Arc<dyn StreamOps>) -> Self {
        Self::with_link(stream.map(|stream| Link { stream, ops }), wake_at)
    }

    /// For a call that gets its stream later.
    pub(crate) fn unopened(wake_at: WakeAt) -> Self {
        Self::with_link(None, wake_at)
    }

    fn with_link(link: Option<Link>, wake_at: WakeAt) -> Self {
        let state = State {
            link,
            place: None,
            head: None,
            encoding: None,
            messages: MessageQueue::default(),
            end: None,
            assembling: false,
            reader_waits: false,
            abandoned: false,
            owed: 0,
            waker: None,
        };
        Self { state: Mutex::new(state), wake_at }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // Nothing in `act` runs code of the user's, so a panic cannot leave the state half-changed.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // The connection's side.

    /// The call got its stream. False if the reader has given up: then nothing should be sent.
    pub(crate) fn opened(&self, stream: StreamKey, ops: Arc<dyn StreamOps>) -> bool {
        self.with(|state| {
            state.link = Some(Link { stream, ops });
            state.place = None;
            !state.abandoned
        })
    }

    /// The call lost its stream before anything came, and will get another.
    pub(crate) fn detached(&self) {
        self.with(|state| state.link = None);
    }

    /// The call waits; until it is opened, over, or given up it occupies a place in its channel's queue.
    ///
    /// # Errors
    /// All places are taken.
    pub(crate) fn occupy(&self, places: &Arc<Places>) -> Result<(), QueueFull> {
        self.with(|state| {
            if state.place.is_none() && !state.abandoned {
                state.place = Some(places.take()?);
            }
            Ok(())
        })
    }

    /// As [`Inbound::occupy`], for a call that was let in before: its place is beyond the limit if need be.
    pub(crate) fn occupy_again(&self, places: &Arc<Places>) {
        self.with(|state| {
            if state.place.is_none() && !state.abandoned {
                state.place = Some(places.take_always());
            }
        });
    }

    /// True once the reader has given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.with(|state| state.abandoned)
    }

    pub(crate) const fn wake_at(&self) -> WakeAt {
        self.wake_at
    }

    /// The head of the response. The waker given back is to be woken after the turn.
    pub(crate) fn deliver_head(
        &self,
        head: MetadataMap,
        encoding: Option<CompressionEncoding>,
    ) -> Option<Waker> {
        self.with(|state| {
            state.head = Some(head);
            state.encoding = encoding;
            self.waker(state)
        })
    }

    /// A whole message. The outer `None` says that nobody will read it: its credit is the caller's to give back.
    pub(crate) fn deliver(&self, message: Message) -> Option<Option<Waker>> {
        self.with(|state| {
            state.assembling = false;
            if state.abandoned {
                return None;
            }
            state.messages.push(message);
            Some(self.waker(state))
        })
    }

    /// As [`Inbound::deliver`], to a reader whose task can be visited: if it waits, and with `home`, the waker stays where it is, and
    /// the reader counts as told.
    pub(crate) fn deliver_to(&self, message: Message, home: &Waker) -> Delivered {
        self.with(|state| {
            state.assembling = false;
            if state.abandoned {
                return Delivered::Unread;
            }
            state.messages.push(message);
            let waits = core::mem::take(&mut state.reader_waits);
            if waits && state.waker.as_ref().is_some_and(|waker| waker.will_wake(home)) {
                return Delivered::AtHome;
            }
            if !waits {
                return Delivered::Told(None);
            }
            Delivered::Told(state.waker.take())
        })
    }

    /// A message has begun that is not whole yet. True if the reader waits for it right now.
    pub(crate) fn assembling(&self) -> bool {
        self.with(|state| {
            state.assembling = true;
            state.reader_waits || self.wake_at == WakeAt::End
        })
    }

    /// This direction is over; the first end counts.
    pub(crate) fn end(&self, end: End) -> Option<Waker> {
        self.with(|state| {
            state.end.get_or_insert(end);
            state.place = None;
            state.reader_waits = false;
            state.waker.take()
        })
    }

    fn waker(&self, state: &mut State) -> Option<Waker> {
        match self.wake_at {
            WakeAt::End => None,
            WakeAt::Each => {
                state.reader_waits = false;
                state.waker.take()
            }
        }
    }

    // The reader's side.

    /// The head and what messages are compressed by, or the status of a call that ended without one.
    pub(crate) fn poll_head(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Result<(MetadataMap, Option<CompressionEncoding>), Status>> {
        self.with(|state| match (state.head.take(), &state.end) {
            (Some(head), _) => Poll::Ready(Ok((head, state.encoding))),
            (None, Some(Ok(_))) => Poll::Ready(Ok((MetadataMap::new(), None))),
            (None, Some(Err(status))) => Poll::Ready(Err(status.clone())),
            (None, None) => {
                register(&mut state.waker, cx);
                Poll::Pending
            }
        })
    }

    /// The whole of a unary call.
    pub(crate) fn poll_whole(&self, cx: &Context<'_>) -> Poll<Whole> {
        self.with(|state| match state.end.take() {
            Some(end) => {
                let (head, messages) = (state.head.take(), core::mem::take(&mut state.messages));
                // Nothing is left to cancel.
                state.end = Some(Ok(MetadataMap::new()));
                Poll::Ready(Whole { head, encoding: state.encoding, messages, end })
            }
            None => {
                register(&mut state.waker, cx);
                Poll::Pending
            }
        })
    }

    /// The next message, or the end.
    pub(crate) fn poll_message(&self, cx: &Context<'_>) -> Poll<Result<Message, End>> {
        let (poll, link, release, want) = self.with(|state| {
            if let Some(message) = state.messages.pop() {
                state.owed = state.owed.saturating_add(message.len()).saturating_add(PREFIX);
                let release = if state.owed >= RELEASE_AT { core::mem::take(&mut state.owed) } else { 0 };
                return (Poll::Ready(Ok(message)), state.link_if(release > 0), release, false);
            }
            if let Some(end) = &state.end {
                return (Poll::Ready(Err(end.clone())), None, 0, false);
            }
            register(&mut state.waker, cx);
            let want = state.assembling && !state.reader_waits;
            state.reader_waits = true;
            let release = if state.owed >= RELEASE_WAITING_AT { core::mem::take(&mut state.owed) } else { 0 };
            (Poll::Pending, state.link_if(release > 0 || want), release, want)
        });
        if let Some(Link { stream, ops }) = link {
            if release > 0 {
                ops.release(stream, release);
            }
            if want {
                ops.want(stream);
            }
        }
        poll
    }

    /// The call that this one was made for is over: its reader is told so, and the peer as if the reader had given up.
    /// `status` depends on whether the peer can have acted on the call. The waker given back is to be woken.
    pub(crate) fn call_off(&self, status: impl FnOnce(Processed) -> Status) -> Option<Waker> {
        let (link, owed, waker) = self.with(|state| {
            if state.end.is_some() || state.abandoned {
                return (None, 0, None);
            }
            let processed = if state.link.is_some() { Processed::Maybe } else { Processed::No };
            state.end = Some(Err(status(processed)));
            (state.abandoned, state.reader_waits, state.place) = (true, false, None);
            let owed = core::mem::take(&mut state.owed).saturating_add(state.messages.clear());
            (state.link_if(true), owed, state.waker.take())
        });
        if let Some(Link { stream, ops }) = link {
            if owed > 0 {
                ops.release(stream, owed);
            }
            ops.abandon(stream);
        }
        waker
    }

    /// The reader gives up.
    pub(crate) fn abandon(&self) {
        let (link, owed) = self.with(|state| {
            state.abandoned = true;
            state.place = None;
            state.waker = None;
            state.owed = state.owed.saturating_add(state.messages.clear());
            let owed = core::mem::take(&mut state.owed);
            (state.link_if(state.end.is_none()), owed)
        });
        if let Some(Link { stream, ops }) = link {
            if owed > 0 {
                ops.release(stream, owed);
            }
            ops.abandon(stream);
        }
    }
}

impl State {
    /// The link, when there is something to say over it.
    fn link_if(&self, needed: bool) -> Option<Link> {
        if needed { self.link.clone() } else { None }
    }
}

fn register(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(old) => old.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

/// The reader's handle: giving it up gives up the call (client) or the rest of the request (server).
pub(crate) struct Reader(Arc<Inbound>);

impl Reader {
    pub(crate) const fn new(inbound: Arc<Inbound>) -> Self {
        Self(inbound)
    }
}

impl core::ops::Deref for Reader {
    type Target = Inbound;

    fn deref(&self) -> &Inbound {
        &self.0
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bytes::Bytes;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl StreamOps for Log {
        fn release(&self, _: StreamKey, octets: usize) {
            self.0.lock().unwrap().push(format!("release {octets}"));
        }
        fn want(&self, _: StreamKey) {
            self.0.lock().unwrap().push("want".to_owned());
        }
        fn abandon(&self, _: StreamKey) {
            self.0.lock().unwrap().push("abandon".to_owned());
        }
    }

    /// A key from an engine, the only place that makes them.
    pub(crate) fn key() -> StreamKey {
        use clearway_http2::hpack::{HeaderField, Indexing};
        let now = clearway_http2::Instant::ZERO;
        let mut connection = clearway_http2::Connection::client(clearway_http2::Config::default(), now);
        let field = |name: &'static str, value: &'static str| HeaderField {
            name: name.as_bytes(),
            value: value.as_bytes(),
            indexing: Indexing::Without,
        };
        let request = [field(":method", "POST"), field(":scheme", "http"), field(":path", "/")];
        connection.tx(now).open(request, true).unwrap()
    }

    fn fresh(wake_at: WakeAt) -> (Arc<Log>, Arc<Inbound>) {
        let log = Arc::new(Log::default());
        let ops: Arc<dyn StreamOps> = Arc::<Log>::clone(&log);
        (log, Arc::new(Inbound::new(Some(key()), wake_at, ops)))
    }

    fn taken(log: &Log) -> Vec<String> {
        core::mem::take(&mut log.0.lock().unwrap())
    }

    #[test]
    fn credit_goes_back_when_the_reader_waits_or_enough_has_come_together() {
        let (log, inbound) = fresh(WakeAt::Each);
        let cx = Context::from_waker(Waker::noop());
        assert!(inbound.deliver(Bytes::from_static(b"abc").into()).is_some());
        assert!(inbound.deliver(Bytes::from(vec![0; RELEASE_AT]).into()).is_some());
        assert!(inbound.poll_message(&cx).is_ready());
        assert!(taken(&log).is_empty(), "a little credit waits");
        assert!(inbound.poll_message(&cx).is_ready());
        assert_eq!(taken(&log), [format!("release {}", 3 + RELEASE_AT + 2 * PREFIX)]);
        for _ in 0..2 {
            assert!(inbound.deliver(Bytes::from(vec![0; RELEASE_WAITING_AT / 2]).into()).is_some());
            assert!(taken(&log).is_empty(), "next to nothing waits, too");
            assert!(inbound.poll_message(&cx).is_ready());
            assert!(inbound.poll_message(&cx).is_pending());
        }
        assert_eq!(taken(&log), [format!("release {}", RELEASE_WAITING_AT + 2 * PREFIX)]);
    }

    #[test]
    fn a_reader_that_waits_asks_for_the_message_in_assembly_once() {
        let (log, inbound) = fresh(WakeAt::Each);
        let cx = Context::from_waker(Waker::noop());
        assert!(!inbound.assembling(), "nobody waits yet");
        assert!(inbound.poll_message(&cx).is_pending());
        assert!(inbound.poll_message(&cx).is_pending());
        assert_eq!(taken(&log), ["want"]);
        assert!(inbound.assembling(), "now somebody does");
        assert!(inbound.deliver(Bytes::new().into()).is_some_and(|waker| waker.is_some()));
    }

    #[test]
    fn a_reader_that_gives_up_releases_what_it_held() {
        let (log, inbound) = fresh(WakeAt::Each);
        assert!(inbound.deliver(Bytes::from_static(b"abc").into()).is_some());
        drop(Reader::new(Arc::clone(&inbound)));
        assert_eq!(taken(&log), ["release 8", "abandon"]);
        assert!(inbound.deliver(Bytes::new().into()).is_none() && inbound.is_abandoned());
    }

    #[test]
    fn after_the_end_there_is_nothing_to_give_up() {
        let (log, inbound) = fresh(WakeAt::End);
        let cx = Context::from_waker(Waker::noop());
        assert!(inbound.poll_whole(&cx).is_pending());
        assert!(inbound.deliver_head(MetadataMap::new(), None).is_none(), "only the end wakes");
        assert_eq!(
            inbound.deliver(Bytes::from_static(b"m").into()).map(|waker| waker.is_some()),
            Some(false)
        );
        assert!(inbound.end(Ok(MetadataMap::new())).is_some());
        let Poll::Ready(whole) = inbound.poll_whole(&cx) else { panic!("it has ended") };
        assert!(whole.head.is_some() && whole.messages.len() == 1 && whole.end.is_ok());
        drop(Reader::new(inbound));
        assert!(taken(&log).is_empty());
    }
}
