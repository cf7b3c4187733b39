//! The one task of a channel: it resolves, connects, waits between attempts, hears what connections report, asks the policy
//! what to do about it, and places the calls that wait.
//!
//! Reports are heard before waiting calls are placed, so that a call given back by a connection is not placed on it again.
//! The task ends when the last handle of the channel is dropped; connections with calls under way outlive it.
//!
//! Sources: gRPC's connectivity page, its back-off page, RFC 9113 §6.8.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use std::io;
use std::sync::Arc;

use clearway_http2::Connection;
use clearway_transport::{
    Address, Clock, CloseReason, ConnectError, ConnectFault, ConnectPhase, Driver, OpQueue,
};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::channel::{ConnectionId, Event, Shared};
use super::connection::{ClientConnection, Ops};
use super::endpoint::{Dialed, Endpoint};
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

/// The connection that calls go to, or will.
struct Current {
    id: ConnectionId,
    ops: Ops,
    address: Address,
    ready: bool,
}

/// The task; see the [module](self).
pub(super) struct Background {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    policy: Box<dyn Policy>,
    backoff: Backoff,
    attempt_began: Instant,
    step: Option<Step>,
    current: Option<Current>,
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
            endpoint: Arc::new(endpoint),
            policy: Box::new(PickFirst::default()),
            attempt_began: Instant::now(),
            step: None,
            current: None,
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
            let deadline = self.shared.expire_waiting(self.last_error.as_ref());
            if let Some(done) = self.next(deadline).await {
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
        // Connections that are not the current one drain by themselves.
        let Some(current) = self.current.as_mut().filter(|current| current.id == connection) else { return };
        let reaction = match event {
            Event::Ready => {
                self.step = None;
                self.last_error = None;
                current.ready = true;
                if self.useless < USELESS {
                    self.backoff.reset();
                }
                self.policy.ready(Arc::clone(&current.ops))
            }
            Event::GoingAway { answered } => self.lost(None, answered),
            Event::Closed { closed, answered } => self.lost(Some(closed.reason), answered),
        };
        self.react(reaction);
    }

    /// The current connection takes no calls any more.
    fn lost(&mut self, reason: Option<CloseReason>, answered: bool) -> Reaction {
        let Some(current) = self.current.take() else { return self.policy.gone() };
        if current.ready {
            self.useless = if answered { 0 } else { self.useless.saturating_add(1) };
            return self.policy.gone();
        }
        self.step = None;
        let fault = reason.as_ref().map_or(ConnectFault::Ended, CloseReason::connect_fault);
        // A server of TLS 1.3 refuses a client's certificate when the handshake is over for the client.
        let phase =
            if matches!(fault, ConnectFault::Tls(_)) { ConnectPhase::Tls } else { ConnectPhase::Settings };
        let error = reason.map_or_else(|| "the peer is going away".to_owned(), |reason| reason.to_string());
        let why = self.failure(phase, &current.address, fault, error);
        self.failed(why)
    }

    fn failed(&mut self, why: Status) -> Reaction {
        self.last_error = Some(why.clone());
        self.policy.failed(why)
    }

    fn on_done(&mut self, done: Done) {
        let reaction = match done {
            Done::Resolved(answer) => {
                self.last_error = answer.as_ref().err().cloned().or(self.last_error.take());
                self.policy.resolved(answer)
            }
            Done::Dialed(address, Ok(dialed)) => {
                self.begin(address, dialed);
                return;
            }
            Done::Dialed(_, Err(why)) => self.failed(why),
            Done::SettingsLate(address) => {
                if let Some(current) = self.current.take() {
                    current.ops.abort();
                }
                let error = io::Error::from(io::ErrorKind::TimedOut);
                let fault = ConnectFault::of(&error);
                let why = self.failure(ConnectPhase::Settings, &address, fault, error.to_string());
                self.failed(why)
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
            Next::Connect(address) => self.dial(address),
            Next::BackOff => {
                let until = self.attempt_began + self.backoff.next();
                self.step = Some(Box::pin(async move {
                    tokio::time::sleep_until(until).await;
                    Done::Rested
                }));
            }
        }
    }

    fn resolve(&mut self) {
        let now = Instant::now();
        let not_before = if self.useless < USELESS { now } else { self.attempt_began + self.backoff.next() };
        self.attempt_began = now.max(not_before);
        let endpoint = Arc::clone(&self.endpoint);
        let deadline = self.attempt_began + endpoint.connect_timeout;
        self.step = Some(Box::pin(async move {
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
            Done::Resolved(match tokio::time::timeout_at(deadline, endpoint.target().resolve()).await {
                Ok(answer) => answer.map_err(|error| refused(&error)),
                Err(_) => {
                    let error = io::Error::from(io::ErrorKind::TimedOut);
                    Err(connect_failed(ConnectPhase::Resolve, endpoint.to_string(), &error))
                }
            })
        }));
    }

    fn dial(&mut self, address: Address) {
        let endpoint = Arc::clone(&self.endpoint);
        self.step = Some(Box::pin(async move {
            let dialed = endpoint.dial(&address).await.map_err(|error| refused(&error));
            Done::Dialed(address, dialed)
        }));
    }

    /// The bytes can flow: the connection's own task takes over, and has to hear from the peer in time.
    fn begin(&mut self, address: Address, dialed: Dialed) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let (clock, peer) = (Clock::start(), dialed.peer());
        let ops: Ops = Arc::new(OpQueue::default());
        let mut connection = Connection::client(config_for_messages(&self.endpoint.http2), clock.now());
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
        self.current = Some(Current { id, ops, address: address.clone(), ready: false });
        let deadline = Instant::now() + self.endpoint.connect_timeout;
        self.step = Some(Box::pin(async move {
            tokio::time::sleep_until(deadline).await;
            Done::SettingsLate(address)
        }));
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
                // The connection is over; its report is on the way and wakes this task.
                self.shared.put_back(call);
                return;
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
        if let Some(current) = &self.current {
            current.ops.drain();
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
