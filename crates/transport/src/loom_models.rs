//! The queue under loom: in every order of the threads' steps the owner sees all that was pushed and asked, and never sleeps on
//! something it has not seen (loom calls that a deadlock).

#![allow(clippy::unwrap_used, reason = "tests, which clippy does not see through the cfg")]

use std::sync::Arc;
use std::task::{Context, Poll};

use loom::future::block_on;
use loom::thread;

use crate::op_queue::{Asked, OpQueue};

/// Every order in which threads are preempted three times at most where they need not be: what loom's authors found enough, and a
/// second instead of an hour.
fn model(steps: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(steps);
}

/// One turn of an owner, as the driver takes it: take, act, take again or park.
fn turn(queue: &OpQueue<u32>, seen: &mut Vec<u32>, cx: &Context<'_>) -> Asked {
    let mut ops = Vec::new();
    loop {
        let asked = queue.take(&mut ops, cx.waker());
        seen.append(&mut ops);
        if queue.park(cx.waker()) {
            return asked;
        }
    }
}

/// Sleeps and wakes until `enough`.
fn own(queue: &OpQueue<u32>, enough: impl Fn(&[u32], Asked) -> bool) -> Vec<u32> {
    let mut seen = Vec::new();
    block_on(core::future::poll_fn(|cx| {
        let asked = turn(queue, &mut seen, cx);
        if enough(&seen, asked) { Poll::Ready(()) } else { Poll::Pending }
    }));
    seen
}

#[test]
fn two_producers_and_an_owner_that_sleeps() {
    model(|| {
        let queue = Arc::new(OpQueue::default());
        let producers: Vec<_> = [10, 20]
            .into_iter()
            .map(|first| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    queue.push(first).unwrap();
                    queue.push(first + 1).unwrap();
                })
            })
            .collect();
        let seen = own(&queue, |seen, _| seen.len() == 4);
        for producer in producers {
            producer.join().unwrap();
        }
        for first in [10, 20] {
            let of_one: Vec<u32> = seen.iter().copied().filter(|op| op / 10 == first / 10).collect();
            assert_eq!(of_one, [first, first + 1], "nothing lost, doubled or overtaken");
        }
    });
}

#[test]
fn a_request_to_end_beside_a_push() {
    model(|| {
        let queue = Arc::new(OpQueue::default());
        let (pusher, asker) = (Arc::clone(&queue), Arc::clone(&queue));
        let pusher = thread::spawn(move || pusher.push(1).unwrap());
        let asker = thread::spawn(move || {
            asker.drain();
            asker.abort();
        });
        let seen = own(&queue, |seen, asked| asked == Asked::Abort && !seen.is_empty());
        assert_eq!(seen, [1]);
        pusher.join().unwrap();
        asker.join().unwrap();
    });
}

/// A handshake owns the queue first, then the driver: neither misses what was asked while they changed over.
#[test]
fn a_request_to_end_while_the_owner_changes() {
    model(|| {
        let queue = Arc::new(OpQueue::<u32>::default());
        let asker = Arc::clone(&queue);
        let asker = thread::spawn(move || asker.drain());
        let mut polls = 0;
        let in_handshake = block_on(core::future::poll_fn(|cx| {
            polls += 1;
            match queue.poll_asked_to_end(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                // The handshake ends by itself.
                Poll::Pending => Poll::Ready(false),
            }
        }));
        assert_eq!(polls, 1);
        own(&queue, |_, asked| asked == Asked::Drain);
        asker.join().unwrap();
        let _ = in_handshake;
    });
}

/// The connection ends while a call is pushed: the call is among what comes back, or its push fails, and never both or neither.
#[test]
fn a_push_beside_the_end() {
    model(|| {
        let queue = Arc::new(OpQueue::default());
        let pusher = Arc::clone(&queue);
        let pusher = thread::spawn(move || pusher.push(7).is_ok());
        let unapplied = queue.close();
        let accepted = pusher.join().unwrap();
        assert_eq!(unapplied == [7], accepted);
        assert!(queue.is_closed() && queue.push(8) == Err(8));
    });
}
