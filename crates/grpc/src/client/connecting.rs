//! The connections that are being made: to several addresses side by side, so that one that swallows what is sent to it keeps
//! nobody waiting.
//!
//! An attempt dials; once octets can flow the connection's own task takes over, and has to hear from the peer (its SETTINGS, RFC 9113
//! §3.4) before the attempt's time is over.
//!
//! Invariants: there is one attempt to an address at most. An attempt ends once: with a connection ([`Connecting::ready`]), with a
//! failure ([`Connecting::lost`], [`Connecting::poll_failed`]), or given up.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use clearway_http2::Connection;
use clearway_transport::{Address, Clock, CloseReason, ConnectFault, ConnectPhase, Driver, OpQueue};
use tokio::time::Instant;

use super::backoff::Budget;
use super::channel::{ConnectionId, Shared};
use super::connection::{ClientConnection, Ops};
use super::dial::{connect_status, refused};
use super::endpoint::{Dialed, Endpoint};
use crate::Status;
use crate::framing::config_for_messages;

/// What a connection is being made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The policy asked for it.
    Policy,
    /// There are others, and they do not suffice.
    Another,
}

/// An attempt, to those who did not see how it went.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) address: Address,
    pub(super) purpose: Purpose,
    pub(super) began: Instant,
}

enum Stage {
    Dialing(Pin<Box<dyn Future<Output = Result<Dialed, Status>> + Send>>),
    /// The peer's SETTINGS have not come; `late` is ready when they should have.
    Greeting {
        id: ConnectionId,
        ops: Ops,
        late: Pin<Box<dyn Future<Output = ()> + Send>>,
    },
}

struct Attempt {
    tried: Tried,
    budget: Budget,
    stage: Stage,
}

impl Stage {
    fn give_up(&self) {
        if let Self::Greeting { ops, .. } = self {
            ops.abort();
        }
    }
}

/// Makes a connection of what was dialed.
struct Maker {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    next_id: ConnectionId,
}

/// All attempts under way; see the [module](self).
pub(super) struct Connecting {
    maker: Maker,
    attempts: Vec<Attempt>,
}

impl Connecting {
    pub(super) fn new(shared: Arc<Shared>, endpoint: Arc<Endpoint>) -> Self {
        Self { maker: Maker { shared, endpoint, next_id: 0 }, attempts: Vec::new() }
    }

    /// Begins an attempt, or makes the one that is under way to this address one for this purpose.
    pub(super) fn start(&mut self, address: Address, purpose: Purpose, budget: Budget) {
        let under_way = self.attempts.iter_mut().find(|attempt| attempt.tried.address == address);
        if let Some(attempt) = under_way {
            attempt.tried.purpose = purpose;
            return;
        }
        let endpoint = Arc::clone(&self.maker.endpoint);
        let to = address.clone();
        let dial = async move { endpoint.dial(&to, budget).await.map_err(|error| refused(&error)) };
        let tried = Tried { address, purpose, began: Instant::now() };
        self.attempts.push(Attempt { tried, budget, stage: Stage::Dialing(Box::pin(dial)) });
    }

    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Since when an attempt to this address is under way, if one is.
    pub(super) fn since(&self, address: &Address) -> Option<Instant> {
        let attempt = self.attempts.iter().find(|attempt| attempt.tried.address == *address)?;
        Some(attempt.tried.began)
    }

    /// A connection takes calls: its attempt is over.
    pub(super) fn ready(&mut self, connection: ConnectionId) -> Option<(Tried, Ops)> {
        match self.remove(connection)? {
            Attempt { tried, stage: Stage::Greeting { ops, .. }, .. } => Some((tried, ops)),
            Attempt { stage: Stage::Dialing(_), .. } => None,
        }
    }

    /// A connection ended before its peer's SETTINGS came.
    pub(super) fn lost(
        &mut self,
        connection: ConnectionId,
        reason: Option<&CloseReason>,
    ) -> Option<(Tried, Status)> {
        let Attempt { tried, .. } = self.remove(connection)?;
        let fault = reason.map_or(ConnectFault::Ended, CloseReason::connect_fault);
        // A server of TLS 1.3 refuses a client's certificate when the handshake is over for the client.
        let phase =
            if matches!(fault, ConnectFault::Tls(_)) { ConnectPhase::Tls } else { ConnectPhase::Settings };
        let error = reason.map_or_else(|| "the peer is going away".to_owned(), ToString::to_string);
        let why = self.maker.failure(phase, &tried.address, fault, error);
        Some((tried, why))
    }

    fn remove(&mut self, connection: ConnectionId) -> Option<Attempt> {
        let is_it =
            |attempt: &Attempt| matches!(attempt.stage, Stage::Greeting { id, .. } if id == connection);
        let at = self.attempts.iter().position(is_it)?;
        Some(self.attempts.remove(at))
    }

    /// Calls go there, or will: attempts to elsewhere are given up, and the others are not the policy's any more.
    pub(super) fn settle(&mut self, calls_go: impl Fn(&Address) -> bool) {
        self.attempts.retain_mut(|attempt| {
            let stays = calls_go(&attempt.tried.address);
            if !stays {
                attempt.stage.give_up();
            }
            attempt.tried.purpose = Purpose::Another;
            stays
        });
    }

    /// Ready with an attempt that failed. Pending when there is none.
    pub(super) fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<(Tried, Status)> {
        for at in 0..self.attempts.len() {
            let Some(attempt) = self.attempts.get_mut(at) else { break };
            if let Poll::Ready(why) = self.maker.poll(attempt, cx) {
                let Attempt { tried, stage, .. } = self.attempts.remove(at);
                stage.give_up();
                return Poll::Ready((tried, why));
            }
        }
        Poll::Pending
    }

    /// The channel ends. What is connected already ends as soon as it hears of it.
    pub(super) fn drain(&self) {
        for attempt in &self.attempts {
            if let Stage::Greeting { ops, .. } = &attempt.stage {
                ops.drain();
            }
        }
    }
}

impl Maker {
    /// Takes an attempt on; ready with why it failed.
    fn poll(&mut self, attempt: &mut Attempt, cx: &mut Context<'_>) -> Poll<Status> {
        if let Stage::Dialing(dial) = &mut attempt.stage {
            match core::task::ready!(dial.as_mut().poll(cx)) {
                Ok(dialed) => attempt.stage = self.begin(dialed, attempt.budget),
                Err(why) => return Poll::Ready(why),
            }
        }
        let Stage::Greeting { late, .. } = &mut attempt.stage else { return Poll::Pending };
        core::task::ready!(late.as_mut().poll(cx));
        let error = attempt.budget.late();
        let (phase, fault) = (ConnectPhase::Settings, ConnectFault::of(&error));
        Poll::Ready(self.failure(phase, &attempt.tried.address, fault, error.to_string()))
    }

    /// The connection's own task takes over.
    fn begin(&mut self, dialed: Dialed, budget: Budget) -> Stage {
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
        // The tasks live as long as their connections do, which may be longer than the channel's.
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
        Stage::Greeting { id, ops, late: Box::pin(budget.spent()) }
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
