//! The reservation of streams, under loom: callers, the channel's task and the tasks of connections, in every order of their steps. The
//! real [`Load`], picker, pool, mail and queues of operations; of a connection only its counts.
//!
//! What holds in each: a free stream and a call that waits never stay side by side when everybody has done what they were woken for; no
//! connection has more streams reserved than it allows; what was reserved is what is open or on its way.

#![allow(clippy::unwrap_used, reason = "tests, which clippy does not see through the cfg")]

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Waker};
use std::sync::Arc;

use clearway_transport::Address;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tokio::time::Instant;

use super::channel::Shared;
use super::connection::{ClientOp, Ops};
use super::endpoint::Endpoint;
use super::pool::Pool;
use super::start::StartCall;
use crate::balance::{Connectivity, Load, Order, Published};
use crate::inbound::{Inbound, WakeAt};

/// Two threads: every order with three preemptions at most where none is needed, as in the other models.
fn model(steps: impl Fn() + Sync + Send + 'static) {
    model_with(3, steps);
}

/// Three threads: two at most, or it takes a minute.
fn model_of_three(steps: impl Fn() + Sync + Send + 'static) {
    model_with(2, steps);
}

fn model_with(preemptions: usize, steps: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(steps);
}

fn call() -> Box<StartCall> {
    Box::new(StartCall::for_tests(Arc::new(Inbound::unopened(WakeAt::End))))
}

/// What `ClientConnection` does with its part of the load, without streams.
struct Connection {
    shared: Arc<Shared>,
    load: Arc<Load>,
    ops: Ops,
    open: u32,
    limit: u32,
    notified: Arc<Notified>,
}

/// What tokio's `Notify` orders, which loom does not see: whoever is woken sees what was done before.
#[derive(Default)]
struct Notified(AtomicUsize);

impl Notified {
    fn order(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Connection {
    /// `share`: streams are reserved from here on.
    fn shares(&mut self, limit: u32) {
        self.limit = limit;
        self.load.begin(self.open, limit);
        self.notified.order();
        self.shared.notify.notify_one();
    }

    /// `streams_are_free`: the peer allows so many, and these have ended.
    fn hears(&mut self, limit: u32, ended: u32) {
        self.limit = limit;
        self.open -= ended;
        self.load.allow(limit);
        self.load.give_back(ended);
        self.take_waiting();
    }

    fn take_waiting(&mut self) {
        while let Some(call) = self.shared.pop_for(&self.load) {
            self.open_reserved(call);
        }
    }

    /// `open_reserved`: false if the call is gone or comes too late, and its stream is free again.
    fn open_reserved(&mut self, call: Box<StartCall>) -> bool {
        let (gone, refused) = (call.inbound.is_abandoned(), self.open >= self.limit);
        if !gone && !refused {
            self.open += 1;
            return true;
        }
        self.load.allow(self.limit);
        self.load.give_back(1);
        if !gone {
            self.shared.take_back(call);
        }
        false
    }

    /// Does what was pushed to it.
    fn turn(&mut self) {
        for op in self.ops.take_all() {
            let ClientOp::StartReserved(call) = op else { continue };
            if !self.open_reserved(call) {
                self.take_waiting();
            }
        }
    }
}

/// The channel's task.
struct Channel {
    shared: Arc<Shared>,
    pool: Pool,
    notified: Arc<Notified>,
}

impl Channel {
    /// A ready channel, and its connections with so many streams open and allowed.
    fn with<const N: usize>(streams: [(u32, u32); N]) -> (Self, [Connection; N]) {
        let shared = Arc::new(Shared::new(&Endpoint::in_process()));
        let mut pool = Pool::new(Order::LeastUsed, Some(0.5));
        let mut id = 0;
        let all = streams.map(|counts| {
            let (ops, address) = (Ops::default(), Address::Tcp(([127, 0, 0, 1], id).into()));
            id += 1;
            pool.add(u64::from(id), Arc::clone(&ops), address, Instant::now());
            (ops, counts)
        });
        let picker = pool.spread();
        shared.publish(Published { state: Connectivity::Ready, picker });
        let notified = Arc::<Notified>::default();
        let connections = all.map(|(ops, (open, limit))| {
            let Some(ClientOp::Share(load)) = ops.take_all().pop() else { panic!("it is to share") };
            if limit > 0 {
                load.begin(open, limit);
            }
            Connection {
                shared: Arc::clone(&shared),
                load,
                ops,
                open,
                limit,
                notified: Arc::clone(&notified),
            }
        });
        (Self { shared, pool, notified }, connections)
    }

    /// Does its work, if it was woken.
    fn turn(&self) {
        let woken = pin!(self.shared.notify.notified());
        if woken.poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.notified.order();
            self.shared.place_waiting(false, &self.pool);
        }
    }

    /// Everybody does what there is to do; then nothing may be left that could be done.
    fn settle(&self, connections: &mut [Connection]) {
        for _ in 0..4 {
            self.turn();
            connections.iter_mut().for_each(Connection::turn);
        }
        for connection in &*connections {
            let (used, free) = (connection.load.used(), connection.load.free());
            assert_eq!(used, connection.open, "reserved, and neither open nor on its way");
            assert!(used <= connection.limit, "{used} of {} are reserved", connection.limit);
            assert!(free == 0 || !self.shared.has_waiting(), "a call waits, and {free} streams are free");
        }
    }
}

/// The connection's task does this, whatever others do meanwhile.
fn meanwhile(
    mut connection: Connection,
    steps: impl FnOnce(&mut Connection) + Send + 'static,
) -> thread::JoinHandle<Connection> {
    thread::spawn(move || {
        steps(&mut connection);
        connection
    })
}

/// A call comes to a channel whose one connection has so many streams open and allowed, and does this meanwhile. What came of it.
fn a_call_comes_while(
    streams: (u32, u32),
    steps: impl FnOnce(&mut Connection) + Send + 'static,
) -> (Channel, [Connection; 1]) {
    let (channel, [connection]) = Channel::with([streams]);
    let connection = meanwhile(connection, steps);
    channel.shared.start(call());
    channel.turn();
    let mut all = [connection.join().unwrap()];
    channel.settle(&mut all);
    (channel, all)
}

/// A call comes while the only stream ends.
#[test]
fn a_call_that_comes_while_a_stream_ends_gets_it() {
    model(|| {
        let (_, [connection]) = a_call_comes_while((1, 1), |connection| connection.hears(1, 1));
        assert_eq!(connection.open, 1);
    });
}

/// The same while the peer allows more.
#[test]
fn a_call_that_comes_while_the_limit_rises_gets_a_stream() {
    model(|| {
        let (_, [connection]) = a_call_comes_while((1, 1), |connection| connection.hears(2, 0));
        assert_eq!(connection.open, 2);
    });
}

/// The same while a connection says for the first time what there is.
#[test]
fn a_call_that_comes_while_a_connection_begins_to_share_gets_a_stream() {
    model(|| {
        let (_, [connection]) = a_call_comes_while((0, 0), |connection| connection.shares(1));
        assert_eq!(connection.open, 1);
    });
}

/// Two callers at once, the channel's task and a connection that has one free stream and then another.
#[test]
fn two_calls_that_come_at_once_get_the_two_streams() {
    model_of_three(|| {
        let (channel, [connection]) = Channel::with([(1, 2)]);
        let connection = meanwhile(connection, |connection| connection.hears(2, 1));
        let shared = Arc::clone(&channel.shared);
        let caller = thread::spawn(move || shared.start(call()));
        channel.shared.start(call());
        channel.turn();
        caller.join().unwrap();
        let mut all = [connection.join().unwrap()];
        channel.settle(&mut all);
        assert_eq!(all[0].open, 2);
    });
}

/// Two callers at once and one free stream: one waits.
#[test]
fn the_last_stream_goes_to_one_of_two() {
    model(|| {
        let (channel, [connection]) = Channel::with([(1, 2)]);
        let shared = Arc::clone(&channel.shared);
        let caller = thread::spawn(move || shared.start(call()));
        channel.shared.start(call());
        caller.join().unwrap();
        let mut all = [connection];
        channel.settle(&mut all);
        assert_eq!((all[0].open, channel.shared.has_waiting()), (2, true));
    });
}

/// Two connections look for waiting calls at once, and so does the channel's task: one may reserve in vain while another looks.
#[test]
fn two_connections_that_have_streams_at_once_forget_nobody() {
    for waiting in [1, 2] {
        model_of_three(move || {
            let (channel, connections) = Channel::with([(1, 1), (1, 1)]);
            for _ in 0..waiting {
                channel.shared.start(call());
            }
            let hears = |connection: &mut Connection| connection.hears(1, 1);
            let tasks = connections.map(|connection| meanwhile(connection, hears));
            channel.turn();
            let mut all = tasks.map(|task| task.join().unwrap());
            channel.settle(&mut all);
            assert_eq!(all[0].open + all[1].open, waiting);
        });
    }
}

/// Of two calls that wait for the one stream the first is given up: the other gets it, unless it was taken before.
#[test]
fn a_call_given_up_keeps_no_stream() {
    model(|| {
        let (channel, [connection]) = Channel::with([(1, 1)]);
        let first = call();
        let given_up = Arc::clone(&first.inbound);
        channel.shared.start(first);
        channel.shared.start(call());
        let connection = meanwhile(connection, |connection| connection.hears(1, 1));
        given_up.abandon();
        channel.turn();
        let mut all = [connection.join().unwrap()];
        channel.settle(&mut all);
        assert_eq!(all[0].open, 1);
    });
}

/// The peer lowers its limit while a call reserves a stream, which is one too many then: the call waits, and gets the next one that ends.
#[test]
fn a_limit_that_is_lowered_meanwhile_costs_nobody_his_turn() {
    model(|| {
        let (channel, mut all) = a_call_comes_while((1, 2), |connection| {
            connection.hears(1, 0);
            connection.turn();
        });
        assert_eq!((all[0].open, channel.shared.has_waiting()), (1, true));
        all[0].hears(1, 1);
        channel.settle(&mut all);
        assert_eq!((all[0].open, channel.shared.has_waiting()), (1, false));
    });
}
