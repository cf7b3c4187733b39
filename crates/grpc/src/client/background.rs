//! The one task of a channel: it resolves, connects, waits between attempts, hears what connections report, asks the policy
//! what to do about it, and places the calls that wait.
//!
//! Reports are heard before waiting calls are placed, so that a call given back by a connection is not placed on it again.
//! What the policy asks for comes first; when it wants nothing and an address has no connection, calls wait for streams, or a
//! connection wears out, another one is made ([`super::pool`]).
//!
//! Connections are made side by side, one to an address at a time ([`super::connecting`]).
//!
//! Invariant: while there is a connection the policy wants nothing.
//! The task ends when the last handle of the channel is dropped; connections with calls under way outlive it.
//!
//! Sources: gRPC's connectivity page, its back-off page, RFC 9113 §6.8.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::Poll;
use std::io;
use std::sync::Arc;

use clearway_transport::{Address, CloseReason, ConnectPhase};
use tokio::time::Instant;

use super::addresses::{Addresses, by_turns, shuffled};
use super::backoff::{Backoff, Budget};
use super::channel::{ConnectionId, Event, Shared, WaitsFor};
use super::connecting::{Connecting, Purpose, Tried};
use super::dial::{connect_failed, refused};
use super::endpoint::{DEFAULT_CONNECT_TIMEOUT, Endpoint};
use super::pool::{Pool, Want};
use crate::Status;
use crate::balance::{CONNECTION_ATTEMPT_DELAY, Connectivity, Next, PickFirst, Policy, Reaction};
use crate::chance::chance;

/// After so many connections in a row that ended without one response, the back-off applies although each of them was
/// ready: a server that takes connections only to end them would be called in a loop.
const USELESS: u32 = 3;

/// While so many connections are being made no more are begun, but those the policy asks for.
const MOST_AT_ONCE: usize = 64;

/// What the task waited for and came to.
enum Done {
    /// For the policy.
    Resolved(Result<Vec<Address>, Status>),
    /// While there are connections.
    ResolvedAgain(Result<Vec<Address>, Status>),
    Rested,
    /// An attempt to connect.
    Failed(Tried, Status),
}

type Step<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The task; see the [module](self).
pub(super) struct Background {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    policy: Box<dyn Policy>,
    /// What the policy waits for beside connections: the resolver, or the end of a back-off.
    step: Option<Step<Done>>,
    /// The resolver is asked again.
    asking_again: Option<Step<Done>>,
    backoff: Backoff,
    /// What the back-off counts from: when the policy's last pass over the addresses began, or an attempt that succeeded since.
    attempt_began: Instant,
    /// What the first attempt of a pass may take: what resolving the name left.
    resolving: Option<Budget>,
    /// When the attempt the policy asked for last counts as slow.
    slow_at: Option<Instant>,
    connecting: Connecting,
    pool: Pool,
    addresses: Addresses,
    /// The last state published.
    state: Connectivity,
    last_error: Option<Status>,
    /// Connections in a row that ended without one response.
    useless: u32,
}

impl Background {
    pub(super) fn new(shared: Arc<Shared>, endpoint: Endpoint) -> Self {
        let endpoint = Arc::new(endpoint);
        Self {
            backoff: Backoff::new(endpoint.jitter),
            policy: Box::new(PickFirst::default()),
            step: None,
            asking_again: None,
            attempt_began: Instant::now(),
            resolving: None,
            slow_at: None,
            connecting: Connecting::new(Arc::clone(&shared), Arc::clone(&endpoint)),
            pool: Pool::new(endpoint.balancing().order(), endpoint.jitter),
            addresses: Addresses::default(),
            shared,
            endpoint,
            state: Connectivity::Idle,
            last_error: None,
            useless: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            for (connection, event) in self.shared.take_events() {
                self.on_event(connection, event);
            }
            if self.shared.is_closing() {
                return;
            }
            if matches!(self.state, Connectivity::Idle) && self.shared.is_wanted() {
                let reaction = self.policy.wanted();
                self.react(reaction);
            }
            if self.slow_at.take_if(|at| *at <= Instant::now()).is_some() {
                let reaction = self.policy.slow();
                self.react(reaction);
            }
            self.place_waiting();
            let retry = self.want_another();
            let deadline = self.shared.expire_waiting(self.waits_for());
            if let Some(done) = self.next([deadline, retry, self.slow_at].into_iter().flatten().min()).await {
                self.on_done(done);
            }
        }
    }

    /// Waits for what is under way, for mail, or for this time.
    async fn next(&mut self, wake_at: Option<Instant>) -> Option<Done> {
        let shared = Arc::clone(&self.shared);
        let mut mail = core::pin::pin!(shared.notify.notified());
        let mut timer = core::pin::pin!(wake_at.map(tokio::time::sleep_until));
        poll_fn(|cx| {
            for step in [&mut self.step, &mut self.asking_again] {
                if let Some(future) = step
                    && let Poll::Ready(done) = future.as_mut().poll(cx)
                {
                    *step = None;
                    return Poll::Ready(Some(done));
                }
            }
            if let Poll::Ready((tried, why)) = self.connecting.poll_failed(cx) {
                return Poll::Ready(Some(Done::Failed(tried, why)));
            }
            let late = timer.as_mut().as_pin_mut().is_some_and(|timer| timer.poll(cx).is_ready());
            if late || mail.as_mut().poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    fn on_event(&mut self, connection: ConnectionId, event: Event) {
        match event {
            Event::Ready => self.ready(connection),
            Event::Crowded => self.pool.crowded(connection),
            Event::WearsOut => self.pool.wears_out(connection),
            Event::Rests => {
                if self.pool.rest(connection).is_some() {
                    self.connections_changed();
                }
            }
            Event::GoingAway { answered } => self.lost(connection, None, answered),
            Event::Closed { closed, answered } => self.lost(connection, Some(closed.reason), answered),
        }
    }

    /// A connection takes calls. With the first one the policy has what it wanted, whoever asked for it.
    fn ready(&mut self, connection: ConnectionId) {
        let Some((Tried { address, began, .. }, ops)) = self.connecting.ready(connection) else { return };
        self.last_error = None;
        if self.useless < USELESS {
            self.backoff.reset();
            self.pool.encourage(&address);
        }
        if self.pool.is_empty() {
            self.settle(&address);
        }
        (self.step, self.slow_at, self.resolving) = (None, None, None);
        self.attempt_began = self.attempt_began.max(began);
        self.pool.add(connection, ops, address, began);
        self.connections_changed();
    }

    /// Calls go to this address and to those it stands for, and to no other. True if connections were given up for it.
    fn settle(&mut self, address: &Address) -> bool {
        let given_up = self.pool.settle(self.addresses.around(address, self.endpoint.balancing()));
        let pool = &self.pool;
        self.connecting.settle(|address| pool.calls_go_to(address));
        given_up
    }

    /// There are more connections, or fewer.
    fn connections_changed(&mut self) {
        self.shared.connections.store(self.pool.len(), Ordering::Relaxed);
        let reaction =
            if self.pool.is_empty() { self.policy.gone() } else { self.policy.ready(self.pool.picker()) };
        self.react(reaction);
    }

    /// A connection takes no calls any more. One that is in no pool drains by itself.
    fn lost(&mut self, connection: ConnectionId, reason: Option<CloseReason>, answered: bool) {
        if let Some((address, began)) = self.pool.lost(connection, answered) {
            self.useless = if answered { 0 } else { self.useless.saturating_add(1) };
            if self.useless >= USELESS {
                self.pool.put_off(&address, began);
            }
            self.addresses.doubt();
            self.connections_changed();
        } else if let Some((tried, why)) = self.connecting.lost(connection, reason.as_ref()) {
            self.failed(&tried, why);
        }
    }

    /// A connection could not be made.
    fn failed(&mut self, tried: &Tried, why: Status) {
        self.last_error = Some(why.clone());
        match tried.purpose {
            Purpose::Policy => {
                let reaction = self.policy.failed(why);
                self.react(reaction);
            }
            // The others go on.
            Purpose::Another => {
                self.pool.put_off(&tried.address, tried.began);
                self.addresses.doubt();
            }
        }
    }

    /// Makes more connections if addresses have none, calls wait for streams, or one wears out; and asks the resolver again.
    /// Says when to look again if that is to be later.
    fn want_another(&mut self) -> Option<Instant> {
        if self.shared.places.taken() == 0 {
            self.pool.relax();
        }
        let now = Instant::now();
        let may_ask = self.asking_again.is_none() && self.pool.is_spread() && !self.pool.is_empty();
        let mut ask_at = self.addresses.ask_at().filter(|_| may_ask);
        if ask_at.take_if(|at| *at <= now).is_some() {
            let answer = self.resolution(now);
            self.asking_again = Some(Box::pin(async move { Done::ResolvedAgain(answer.await) }));
        }
        let (most, waiting) = (self.endpoint.connections.most, self.shared.has_waiting());
        while self.connecting.len() < MOST_AT_ONCE {
            let connecting = &self.connecting;
            match self.pool.wants_another(waiting, most, now, |address| connecting.since(address)) {
                Want::Nothing => return ask_at,
                Want::Later(at) => return Some(ask_at.map_or(at, |ask_at| ask_at.min(at))),
                Want::To(address) => {
                    let budget = self.budget_from(now);
                    self.connecting.start(address, Purpose::Another, budget);
                }
            }
        }
        ask_at
    }

    /// The resolver was asked again, while there are connections.
    fn resolved_again(&mut self, answer: Result<Vec<Address>, Status>) {
        let now = Instant::now();
        let addresses = answer.unwrap_or_default();
        // Connections that work are not given up for an answer that knows none of them.
        let Some(member) = self.pool.connected(&addresses).cloned() else {
            return self.addresses.said_nothing(now);
        };
        self.addresses.said(addresses, now);
        if self.settle(&member) {
            self.connections_changed();
        }
    }

    /// What the calls that wait here wait for.
    fn waits_for(&self) -> WaitsFor<'_> {
        match self.pool.stream_limit() {
            Some(allowed) => WaitsFor::Stream { connections: self.pool.len(), allowed },
            None => WaitsFor::Connection(self.last_error.as_ref()),
        }
    }

    fn on_done(&mut self, done: Done) {
        let reaction = match done {
            Done::Resolved(answer) => {
                if let Ok(addresses) = &answer {
                    // What is under way from before may lead to where no server is any more.
                    self.connecting.settle(|address| addresses.contains(address));
                    self.addresses.said(addresses.clone(), Instant::now());
                }
                self.last_error = answer.as_ref().err().cloned().or(self.last_error.take());
                self.policy.resolved(answer.map(|all| by_turns(self.in_order(all))))
            }
            Done::ResolvedAgain(answer) => return self.resolved_again(answer),
            Done::Failed(tried, why) => return self.failed(&tried, why),
            Done::Rested => self.policy.rested(),
        };
        self.react(reaction);
    }

    fn react(&mut self, reaction: Reaction) {
        if let Some(published) = reaction.publish {
            self.state = published.state.clone();
            self.shared.publish(published);
        }
        match reaction.next {
            Next::Rest => {}
            Next::Resolve => self.resolve(),
            Next::Connect(address) => {
                let now = Instant::now();
                let budget = self.resolving.take().unwrap_or_else(|| self.budget_from(now));
                self.connecting.start(address, Purpose::Policy, budget);
                self.slow_at = Some(now + CONNECTION_ATTEMPT_DELAY);
            }
            Next::BackOff => {
                let until = self.attempt_began + self.backoff.next();
                self.step = Some(Box::pin(async move {
                    tokio::time::sleep_until(until).await;
                    Done::Rested
                }));
            }
        }
    }

    /// The order in which the policy tries addresses, but for their families.
    fn in_order(&self, all: Vec<Address>) -> Vec<Address> {
        let chance = || self.endpoint.jitter.unwrap_or_else(chance);
        if self.endpoint.shuffles() { shuffled(all, chance) } else { all }
    }

    fn resolve(&mut self) {
        let now = Instant::now();
        let not_before = if self.useless < USELESS { now } else { self.attempt_began + self.backoff.next() };
        self.attempt_began = now.max(not_before);
        self.resolving = Some(self.budget_from(self.attempt_began));
        self.asking_again = None;
        let answer = self.resolution(not_before);
        self.step = Some(Box::pin(async move { Done::Resolved(answer.await) }));
    }

    /// Asks the resolver, not before this.
    fn resolution(&self, not_before: Instant) -> Step<Result<Vec<Address>, Status>> {
        let endpoint = Arc::clone(&self.endpoint);
        let budget = self.budget_from(not_before);
        Box::pin(async move {
            tokio::time::sleep_until(not_before).await;
            if let Some(why) = endpoint.refusal() {
                let error = io::Error::new(io::ErrorKind::InvalidInput, why);
                return Err(connect_failed(ConnectPhase::Resolve, endpoint.to_string(), &error));
            }
            if let Some(address) = endpoint.custom_address() {
                return Ok(vec![address]);
            }
            let resolve = async { Ok(endpoint.target().resolve().await) };
            match budget.within(resolve).await {
                Ok(answer) => answer.map_err(|error| refused(&error)),
                Err(late) => Err(connect_failed(ConnectPhase::Resolve, endpoint.to_string(), &late)),
            }
        })
    }

    /// What an attempt that begins then may take (gRPC's back-off page): after many failures as long as the wait after it.
    fn budget_from(&self, begins: Instant) -> Budget {
        let usual = DEFAULT_CONNECT_TIMEOUT.max(self.backoff.base());
        Budget::new(begins, self.endpoint.connect_timeout.unwrap_or(usual))
    }

    /// Places the calls that wait, as long as the picker has somewhere to put them.
    fn place_waiting(&self) {
        if matches!(self.state, Connectivity::Idle | Connectivity::Connecting) {
            return;
        }
        self.shared.place_waiting(matches!(self.state, Connectivity::TransientFailure(_)), &self.pool);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Also when the runtime goes down: nobody may wait for a task that is gone.
        self.shared.bury();
        self.pool.drain();
        self.connecting.drain();
    }
}
