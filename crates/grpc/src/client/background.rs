//! The one task of a channel: it resolves, connects, waits between attempts, hears what connections report, asks the policy
//! what to do about it, and places the calls that wait.
//!
//! Reports are heard before waiting calls are placed, so that a call given back by a connection is not placed on it again.
//! What the policy asks for comes first; when it wants nothing and an address has no connection, calls wait for streams, or a
//! connection wears out, another one is made ([`super::pool`]).
//!
//! Invariant: at most one connection is being made at a time.
//! The task ends when the last handle of the channel is dropped; connections with calls under way outlive it.
//!
//! Sources: gRPC's connectivity page, its back-off page, RFC 9113 §6.8.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::Poll;
use std::io;
use std::sync::Arc;

use clearway_http2::Connection;
use clearway_transport::{
    Address, Clock, CloseReason, ConnectError, ConnectFault, ConnectPhase, Driver, OpQueue,
};
use tokio::time::Instant;

use super::addresses::Addresses;
use super::backoff::{Backoff, Budget};
use super::channel::{ConnectionId, Event, Shared, WaitsFor};
use super::connection::{ClientConnection, Ops};
use super::endpoint::{DEFAULT_CONNECT_TIMEOUT, Dialed, Endpoint};
use super::pool::{Pool, Want};
use super::start::unsent;
use crate::balance::{Connectivity, Next, PickFirst, Policy, Reaction};
use crate::cause::TransportEvent;
use crate::framing::config_for_messages;
use crate::{Code, Status};

/// After so many connections in a row that ended without one response, the back-off applies although each of them was
/// ready: a server that takes connections only to end them would be called in a loop.
const USELESS: u32 = 3;

/// What a step of the task came to.
enum Done {
    Resolved(Result<Vec<Address>, Status>),
    Dialed(Address, Result<Dialed, Status>),
    SettingsLate(Address),
    Rested,
}

type Step = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What a connection is being made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// The policy asked for it.
    Policy,
    /// There are others, and they do not suffice.
    Another,
}

/// A connection whose peer's SETTINGS have not come.
struct Candidate {
    id: ConnectionId,
    ops: Ops,
    address: Address,
}

/// The task; see the [module](self).
pub(super) struct Background {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    policy: Box<dyn Policy>,
    backoff: Backoff,
    attempt_began: Instant,
    /// What the connection being made may take.
    budget: Budget,
    /// The same, while the name is resolved: the first address gets what is left.
    resolving: Option<Budget>,
    step: Option<Step>,
    /// What the step, or the candidate, is for.
    purpose: Purpose,
    candidate: Option<Candidate>,
    pool: Pool,
    addresses: Addresses,
    next_id: ConnectionId,
    /// The last state published.
    state: Connectivity,
    last_error: Option<Status>,
    /// Connections in a row that ended without one response.
    useless: u32,
}

impl Background {
    pub(super) fn new(shared: Arc<Shared>, endpoint: Endpoint) -> Self {
        Self {
            shared,
            backoff: Backoff::new(endpoint.jitter),
            policy: Box::new(PickFirst::default()),
            attempt_began: Instant::now(),
            budget: Budget::new(Instant::now(), DEFAULT_CONNECT_TIMEOUT),
            resolving: None,
            step: None,
            purpose: Purpose::Policy,
            candidate: None,
            pool: Pool::new(endpoint.balancing().order(), endpoint.jitter),
            addresses: Addresses::default(),
            endpoint: Arc::new(endpoint),
            next_id: 0,
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
            self.place_waiting();
            let retry = self.want_another();
            let deadline = self.shared.expire_waiting(self.waits_for());
            if let Some(done) = self.next([deadline, retry].into_iter().flatten().min()).await {
                self.on_done(done);
            }
        }
    }

    /// Waits for the step under way, for mail, or for the deadline of a waiting call.
    async fn next(&mut self, deadline: Option<Instant>) -> Option<Done> {
        let shared = Arc::clone(&self.shared);
        let mut mail = core::pin::pin!(shared.notify.notified());
        let mut timer = core::pin::pin!(deadline.map(tokio::time::sleep_until));
        let step = &mut self.step;
        poll_fn(|cx| {
            if let Some(future) = step
                && let Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *step = None;
                return Poll::Ready(Some(done));
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

    /// The candidate takes calls.
    fn ready(&mut self, connection: ConnectionId) {
        let Some(Candidate { id, ops, address }) =
            self.candidate.take_if(|candidate| candidate.id == connection)
        else {
            return;
        };
        self.step = None;
        self.last_error = None;
        if self.useless < USELESS {
            self.backoff.reset();
            self.pool.encourage(&address);
        }
        if self.purpose == Purpose::Policy {
            self.pool.settle(self.addresses.around(&address, self.endpoint.balancing()));
        }
        self.pool.add(id, ops, address);
        self.connections_changed();
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
        if let Some(address) = self.pool.lost(connection, answered) {
            self.useless = if answered { 0 } else { self.useless.saturating_add(1) };
            if self.useless >= USELESS {
                self.pool.put_off(&address, self.attempt_began);
            }
            self.addresses.doubt();
            self.connections_changed();
        } else if let Some(candidate) = self.candidate.take_if(|candidate| candidate.id == connection) {
            self.step = None;
            let fault = reason.as_ref().map_or(ConnectFault::Ended, CloseReason::connect_fault);
            // A server of TLS 1.3 refuses a client's certificate when the handshake is over for the client.
            let phase = if matches!(fault, ConnectFault::Tls(_)) {
                ConnectPhase::Tls
            } else {
                ConnectPhase::Settings
            };
            let error =
                reason.map_or_else(|| "the peer is going away".to_owned(), |reason| reason.to_string());
            let why = self.failure(phase, &candidate.address, fault, error);
            self.failed(&candidate.address, why);
        }
    }

    /// The connection that was being made could not be.
    fn failed(&mut self, address: &Address, why: Status) {
        self.last_error = Some(why.clone());
        match self.purpose {
            Purpose::Policy => {
                let reaction = self.policy.failed(why);
                self.react(reaction);
            }
            // The others go on.
            Purpose::Another => {
                self.pool.put_off(address, self.attempt_began);
                self.addresses.doubt();
            }
        }
    }

    /// Makes another connection if an address has none, calls wait for streams, or one wears out; or asks the resolver again.
    /// Says when to look again if that is to be later.
    fn want_another(&mut self) -> Option<Instant> {
        if self.step.is_some() || self.candidate.is_some() {
            return None;
        }
        if self.shared.places.taken() == 0 {
            self.pool.relax();
        }
        let now = Instant::now();
        let ask_at = self.addresses.ask_at().filter(|_| self.pool.is_spread() && !self.pool.is_empty());
        if ask_at.is_some_and(|at| at <= now) {
            self.purpose = Purpose::Another;
            self.step = Some(self.resolution(now));
            return None;
        }
        let most = self.endpoint.connections.most;
        match self.pool.wants_another(self.shared.has_waiting(), most, now) {
            Want::Nothing => ask_at,
            Want::Later(at) => Some(ask_at.map_or(at, |ask_at| ask_at.min(at))),
            Want::To(address) => {
                self.attempt_began = now;
                self.dial(address, Purpose::Another);
                None
            }
        }
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
        if self.pool.settle(self.addresses.around(&member, self.endpoint.balancing())) {
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
            Done::Resolved(answer) if self.purpose == Purpose::Another => {
                self.resolved_again(answer);
                return;
            }
            Done::Resolved(answer) => {
                if let Ok(addresses) = &answer {
                    self.addresses.said(addresses.clone(), Instant::now());
                }
                self.last_error = answer.as_ref().err().cloned().or(self.last_error.take());
                self.policy.resolved(answer)
            }
            Done::Dialed(address, Ok(dialed)) => {
                self.begin(address, dialed);
                return;
            }
            Done::Dialed(address, Err(why)) => {
                self.failed(&address, why);
                return;
            }
            Done::SettingsLate(address) => {
                self.give_up_candidate();
                let error = self.budget.late();
                let fault = ConnectFault::of(&error);
                let why = self.failure(ConnectPhase::Settings, &address, fault, error.to_string());
                self.failed(&address, why);
                return;
            }
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
            Next::Connect(address) => self.dial(address, Purpose::Policy),
            Next::BackOff => {
                let until = self.attempt_began + self.backoff.next();
                self.step = Some(Box::pin(async move {
                    tokio::time::sleep_until(until).await;
                    Done::Rested
                }));
            }
        }
    }

    fn give_up_candidate(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            candidate.ops.abort();
        }
    }

    fn resolve(&mut self) {
        // Another connection was being made when the last of the others was lost: the policy begins anew.
        self.give_up_candidate();
        self.purpose = Purpose::Policy;
        let now = Instant::now();
        let not_before = if self.useless < USELESS { now } else { self.attempt_began + self.backoff.next() };
        self.attempt_began = now.max(not_before);
        self.resolving = Some(self.budget_from(self.attempt_began));
        self.step = Some(self.resolution(not_before));
    }

    /// Asks the resolver, not before this.
    fn resolution(&self, not_before: Instant) -> Step {
        let endpoint = Arc::clone(&self.endpoint);
        let budget = self.budget_from(not_before);
        Box::pin(async move {
            tokio::time::sleep_until(not_before).await;
            if let Some(why) = endpoint.refusal() {
                let error = io::Error::new(io::ErrorKind::InvalidInput, why);
                return Done::Resolved(Err(connect_failed(
                    ConnectPhase::Resolve,
                    endpoint.to_string(),
                    &error,
                )));
            }
            if let Some(address) = endpoint.custom_address() {
                return Done::Resolved(Ok(vec![address]));
            }
            let resolve = async { Ok(endpoint.target().resolve().await) };
            Done::Resolved(match budget.within(resolve).await {
                Ok(answer) => answer.map_err(|error| refused(&error)),
                Err(late) => Err(connect_failed(ConnectPhase::Resolve, endpoint.to_string(), &late)),
            })
        })
    }

    fn dial(&mut self, address: Address, purpose: Purpose) {
        self.purpose = purpose;
        let resolving = self.resolving.take().filter(|_| purpose == Purpose::Policy);
        self.budget = resolving.unwrap_or_else(|| self.budget_from(Instant::now()));
        let (endpoint, budget) = (Arc::clone(&self.endpoint), self.budget);
        self.step = Some(Box::pin(async move {
            let dialed = endpoint.dial(&address, budget).await.map_err(|error| refused(&error));
            Done::Dialed(address, dialed)
        }));
    }

    /// The bytes can flow: the connection's own task takes over, and has to hear from the peer in time.
    fn begin(&mut self, address: Address, dialed: Dialed) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let (clock, peer) = (Clock::start(), dialed.peer());
        let ops: Ops = Arc::new(OpQueue::default());
        let mut connection = Connection::client(
            self.shared.pace.configure(config_for_messages(&self.endpoint.http2)),
            clock.now(),
        );
        connection.limit_life(self.endpoint.connections.life, clock.now());
        if let Some(observe) = &self.endpoint.observe {
            connection.observe(observe(&peer));
        }
        let (shared, queue) = (Arc::clone(&self.shared), Arc::clone(&ops));
        let app = ClientConnection::new(id, shared, Arc::clone(&ops), peer.clone(), clock);
        let config = self.endpoint.driver.clone();
        // The tasks live as long as their connections do, which may be longer than this one.
        match dialed {
            Dialed::Stream(io) => {
                let io = self.endpoint.watched(io);
                tokio::spawn(Driver::new(io, peer, connection, app, queue, clock, config));
            }
            Dialed::Custom(io) => {
                let io = self.endpoint.watched(io);
                tokio::spawn(Driver::new(io, peer, connection, app, queue, clock, config));
            }
        }
        self.candidate = Some(Candidate { id, ops, address: address.clone() });
        let budget = self.budget;
        self.step = Some(Box::pin(async move {
            budget.spent().await;
            Done::SettingsLate(address)
        }));
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
        let failing = matches!(self.state, Connectivity::TransientFailure(_));
        while let Some(call) = self.shared.pop_waiting(failing) {
            if let Err(call) = self.shared.place(call) {
                if failing {
                    self.shared.pass_over(call);
                    continue;
                }
                self.shared.put_back(call);
                // The connection is over and its report on the way, which wakes this task; or all streams are taken. Whoever
                // freed one meanwhile may have found nobody waiting.
                if !self.pool.has_free_stream() {
                    return;
                }
            }
        }
    }

    fn failure(&self, phase: ConnectPhase, address: &Address, fault: ConnectFault, error: String) -> Status {
        let address = if self.endpoint.custom_address().is_some() {
            self.endpoint.to_string()
        } else {
            address.to_string()
        };
        connect_status(phase, address, fault, error)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Also when the runtime goes down: nobody may wait for a task that is gone.
        self.shared.bury();
        self.pool.drain();
        if let Some(candidate) = &self.candidate {
            candidate.ops.drain();
        }
    }
}

fn connect_failed(phase: ConnectPhase, address: String, error: &io::Error) -> Status {
    connect_status(phase, address, ConnectFault::of(error), error.to_string())
}

fn connect_status(phase: ConnectPhase, address: String, fault: ConnectFault, error: String) -> Status {
    Status::from_transport(
        Code::Unavailable,
        unsent(TransportEvent::Connect { phase, address, fault, error }),
    )
}

fn refused(error: &ConnectError) -> Status {
    connect_failed(error.phase, error.address.to_string(), &error.source)
}
