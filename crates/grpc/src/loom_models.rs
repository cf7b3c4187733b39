//! What callers, handlers and the connection's task share, under loom: in every order of their steps a call that is given up
//! is cancelled exactly once, credit goes back exactly once, and nobody sleeps on what has happened (loom calls that a deadlock).

#![allow(clippy::unwrap_used, reason = "tests, which clippy does not see through the cfg")]

use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::StreamKey;
use loom::future::block_on;
use loom::sync::Mutex;
use loom::thread;

use crate::client::Places;
use crate::codec::Message;
use crate::framing::PREFIX;
use crate::gate::{GateClosed, SendGate};
use crate::inbound::tests::key;
use crate::inbound::{Delivered, Inbound, Reader, StreamOps, WakeAt};
use crate::metadata::MetadataMap;
use crate::seat::{Seat, Taken};

/// Every order in which threads are preempted three times at most where they need not be: what loom's authors found enough, and a
/// second instead of an hour.
fn model(steps: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(steps);
}

/// What the connection's task was asked.
#[derive(Default)]
struct Asked {
    released: usize,
    wanted: usize,
    abandoned: usize,
}

#[derive(Default)]
struct Log(Mutex<Asked>);

impl StreamOps for Log {
    fn release(&self, _: StreamKey, octets: usize) {
        self.0.lock().unwrap().released += octets;
    }
    fn want(&self, _: StreamKey) {
        self.0.lock().unwrap().wanted += 1;
    }
    fn abandon(&self, _: StreamKey) {
        self.0.lock().unwrap().abandoned += 1;
    }
}

fn ops(log: &Arc<Log>) -> Arc<dyn StreamOps> {
    Arc::<Log>::clone(log)
}

fn message(octets: &'static [u8]) -> Message {
    Bytes::from_static(octets).into()
}

/// A caller goes away while its call gets a stream: the connection is told not to send it, or is asked to reset it; one of the two.
#[test]
fn a_call_given_up_while_it_is_opened() {
    let key = key();
    model(move || {
        let (log, inbound) = (Arc::new(Log::default()), Arc::new(Inbound::unopened(WakeAt::End)));
        let reader = Reader::new(Arc::clone(&inbound));
        let caller = thread::spawn(move || drop(reader));
        let sent = inbound.opened(key, ops(&log));
        caller.join().unwrap();
        assert_eq!(log.0.lock().unwrap().abandoned, usize::from(sent));
    });
}

/// The same while the call ends: whoever is first, a call that is over is not reset.
#[test]
fn a_call_given_up_while_it_ends() {
    let key = key();
    model(move || {
        let log = Arc::new(Log::default());
        let inbound = Arc::new(Inbound::new(Some(key), WakeAt::End, ops(&log)));
        let reader = Reader::new(Arc::clone(&inbound));
        let caller = thread::spawn(move || drop(reader));
        drop(inbound.end(Ok(MetadataMap::new())));
        let after_the_end = inbound.is_abandoned();
        caller.join().unwrap();
        let abandoned = log.0.lock().unwrap().abandoned;
        assert!(abandoned <= 1);
        assert!(after_the_end || abandoned == 0, "the reader went after the end, and asked for a reset");
    });
}

#[test]
fn a_unary_caller_is_woken_at_the_end() {
    let key = key();
    model(move || {
        let log = Arc::new(Log::default());
        let inbound = Arc::new(Inbound::new(Some(key), WakeAt::End, ops(&log)));
        let reader = Reader::new(Arc::clone(&inbound));
        let connection = thread::spawn(move || {
            drop(inbound.deliver_head(MetadataMap::new(), None));
            assert!(inbound.deliver(message(b"m")).is_some_and(|waker| waker.is_none()));
            if let Some(waker) = inbound.end(Ok(MetadataMap::new())) {
                waker.wake();
            }
        });
        let mut whole = block_on(poll_fn(|cx| reader.poll_whole(cx)));
        assert!(whole.head.is_some() && whole.end.is_ok());
        assert_eq!(whole.messages.pop(), Some(message(b"m")));
        connection.join().unwrap();
    });
}

/// A reader takes one message of two and goes away: what it took, what it left and what came too late is given back once each.
#[test]
fn credit_goes_back_once_when_a_reader_leaves() {
    let key = key();
    model(move || {
        let log = Arc::new(Log::default());
        let inbound = Arc::new(Inbound::new(Some(key), WakeAt::Each, ops(&log)));
        let reader = Reader::new(Arc::clone(&inbound));
        let caller = thread::spawn(move || {
            let first = block_on(poll_fn(|cx| reader.poll_message(cx)));
            assert_eq!(first.ok(), Some(message(b"1")));
            drop(reader);
        });
        let mut too_late = 0;
        for octets in [&b"1"[..], &b"22"[..]] {
            match inbound.deliver(message(octets)) {
                Some(Some(waker)) => waker.wake(),
                Some(None) => {}
                None => too_late += octets.len() + PREFIX,
            }
        }
        caller.join().unwrap();
        let asked = log.0.lock().unwrap();
        assert_eq!(asked.released + too_late, 3 + 2 * PREFIX);
        assert_eq!(asked.abandoned, 1);
    });
}

/// A reader that waits while a message begins: it asks for the message's credit, or the connection sees that it waits; never neither.
#[test]
fn a_message_in_assembly_is_asked_for() {
    let key = key();
    model(move || {
        let log = Arc::new(Log::default());
        let inbound = Arc::new(Inbound::new(Some(key), WakeAt::Each, ops(&log)));
        let reader = Reader::new(Arc::clone(&inbound));
        let connection = thread::spawn(move || inbound.assembling());
        let cx = Context::from_waker(Waker::noop());
        assert!(reader.poll_message(&cx).is_pending());
        let seen_waiting = connection.join().unwrap();
        assert!(seen_waiting || log.0.lock().unwrap().wanted == 1);
    });
}

/// A streaming reader sees every message in order, then the end, however the connection's steps fall between its own.
#[test]
fn a_streaming_reader_misses_nothing() {
    let key = key();
    model(move || {
        let log = Arc::new(Log::default());
        let inbound = Arc::new(Inbound::new(Some(key), WakeAt::Each, ops(&log)));
        let reader = Reader::new(Arc::clone(&inbound));
        let connection = thread::spawn(move || {
            for octets in [&b"1"[..], &b"2"[..]] {
                if let Some(waker) = inbound.deliver(message(octets)).flatten() {
                    waker.wake();
                }
            }
            if let Some(waker) = inbound.end(Ok(MetadataMap::new())) {
                waker.wake();
            }
        });
        let mut seen = Vec::new();
        while let Ok(next) = block_on(poll_fn(|cx| reader.poll_message(cx))) {
            seen.push(next);
        }
        assert_eq!(seen, [message(b"1"), message(b"2")]);
        connection.join().unwrap();
    });
}

/// A writer pushes past the mark, and the connection applies that onto a full backlog, which drains or whose stream ends: the writer
/// is let through, or sent away.
#[test]
fn a_writer_that_waits_is_let_through_or_sent_away() {
    const MARK: usize = 1 << 18;
    const MUCH: usize = 1 << 20;
    for closes in [false, true] {
        model(move || {
            let gate = Arc::new(SendGate::shut());
            let (push, pushed) = loom::sync::mpsc::channel();
            let writer = Arc::clone(&gate);
            let writer = thread::spawn(move || {
                assert_eq!(block_on(poll_fn(|cx| writer.poll_open(cx))), Ok(MARK));
                writer.pushed(MUCH);
                push.send(MUCH).unwrap();
                block_on(poll_fn(|cx| writer.poll_open(cx)))
            });
            let wake = |waker: Option<Waker>| waker.into_iter().for_each(Waker::wake);
            wake(gate.writable(MARK));
            wake(gate.applied(pushed.recv().unwrap(), true, MARK));
            wake(if closes { gate.close() } else { gate.writable(MARK) });
            assert_eq!(writer.join().unwrap(), if closes { Err(GateClosed) } else { Ok(MARK) });
        });
    }
}

/// Two calls come at once for the last place: one gets it.
#[test]
fn the_last_place_goes_to_one_of_two() {
    model(|| {
        let places = Arc::new(Places::new(1));
        let other = Arc::clone(&places);
        let other = thread::spawn(move || other.take());
        let ours = places.take();
        let theirs = other.join().unwrap();
        assert!(ours.is_ok() != theirs.is_ok(), "refused: {}, {}", ours.is_err(), theirs.is_err());
        drop((ours, theirs));
        assert!(places.take().is_ok());
    });
}

/// A handler that counts its messages.
struct Counting {
    reader: Reader,
    seen: usize,
}

impl Counting {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<usize> {
        loop {
            match core::task::ready!(self.reader.poll_message(cx)) {
                Ok(_) => self.seen += 1,
                Err(_) => return Poll::Ready(self.seen),
            }
        }
    }
}

/// The handler's own task; None if the connection's had the last word.
fn at_home(seat: &Seat<Counting>) -> Option<usize> {
    block_on(poll_fn(|cx| match seat.take(cx.waker()) {
        Taken::Handler(mut handler) => match handler.poll(cx) {
            Poll::Pending => {
                seat.put_back(handler);
                Poll::Pending
            }
            Poll::Ready(seen) => {
                let _ = seat.leave();
                Poll::Ready(Some(seen))
            }
        },
        Taken::Elsewhere => Poll::Pending,
        Taken::Over => Poll::Ready(None),
    }))
}

/// The connection's task visits a handler, if it can, and has it polled at home if not.
fn visit(seat: &Seat<Counting>, home: &Waker) -> Option<usize> {
    let Some(mut handler) = seat.take_here() else {
        home.wake_by_ref();
        return None;
    };
    match handler.poll(&Context::from_waker(home)) {
        Poll::Pending => {
            let (left, waker) = seat.put_back_here(handler);
            assert!(left.is_none());
            waker.into_iter().for_each(Waker::wake);
            None
        }
        Poll::Ready(seen) => {
            seat.done_here();
            home.wake_by_ref();
            Some(seen)
        }
    }
}

/// A handler is visited for each message, and woken for something else meanwhile: it sees every message, and ends once, at home or in a
/// visit. Its task learns of that.
#[test]
fn a_handler_that_is_visited_misses_nothing_and_ends_once() {
    let key = key();
    model(move || {
        let log = Arc::new(Log::default());
        let inbound = Arc::new(Inbound::new(Some(key), WakeAt::Each, ops(&log)));
        let reader = Reader::new(Arc::clone(&inbound));
        let seat = Arc::new(Seat::new(Counting { reader, seen: 0 }));
        let task = Arc::clone(&seat);
        let task = thread::spawn(move || at_home(&task));
        let mut ended = None;
        for octets in [&b"1"[..], &b"2"[..]] {
            let Some(home) = seat.home() else {
                inbound.deliver(message(octets)).flatten().into_iter().for_each(Waker::wake);
                continue;
            };
            match inbound.deliver_to(message(octets), &home) {
                Delivered::AtHome => {
                    home.wake_by_ref();
                    ended = ended.or(visit(&seat, &home));
                }
                Delivered::Told(waker) => waker.into_iter().for_each(Waker::wake),
                Delivered::Unread => panic!("its reader is there"),
            }
        }
        inbound.end(Ok(MetadataMap::new())).into_iter().for_each(Waker::wake);
        if let Some(home) = seat.home() {
            ended = ended.or(visit(&seat, &home));
        }
        let at_home = task.join().unwrap();
        assert_eq!((ended.xor(at_home), ended.is_some() && at_home.is_some()), (Some(2), false));
    });
}

/// A handler's task is dropped, as when its runtime goes down, while the connection's visits it: it is dropped once, by one of the two.
#[test]
fn a_handler_whose_task_is_dropped_in_a_visit_is_dropped_once() {
    model(|| {
        let handler = Arc::new(());
        let seat = Arc::new(Seat::new(Arc::clone(&handler)));
        let task = Arc::clone(&seat);
        let task = thread::spawn(move || task.leave().is_some());
        let left = seat.take_here().map(|visited| seat.put_back_here(visited).0.is_some());
        let by_the_task = task.join().unwrap();
        assert!(by_the_task != (left == Some(true)), "dropped by both, or by nobody");
        assert_eq!(Arc::strong_count(&handler), 1);
    });
}
