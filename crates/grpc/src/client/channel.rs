//! [`Channel`]: everything that is known of one target, behind a handle that is cheap to clone.
//!
//! Callers ask the published picker and push to a connection's queue; only a call that finds none, or that comes back,
//! passes through the channel's own task ([`super::background`]).
//!
//! Invariants: a call is in exactly one place: a connection's queue or table, or [`Mail`]; whoever takes it out of one
//! puts it into another or ends it. An event of a connection is in the mail before any call that connection gives back.

use core::fmt;
use core::sync::atomic::AtomicUsize;
use core::time::Duration;
use std::sync::{Arc, PoisonError, RwLock};

use clearway_http2::BlockedOn;
use clearway_transport::{Clock, Closed, Stream};
use tokio::sync::{Notify, watch};

use super::background::Background;
use super::connection::ClientOp;
use super::endpoint::Endpoint;
use super::keepalive::Pace;
use super::replay::Room;
use super::service_config::Methods;
use super::start::{StartCall, deadline_passed, unsent};
use super::waiting::{Places, Waiting};
use crate::balance::{Connectivity, DropAll, Pick, Picker, Published, QueueAll};
use crate::cause::{Blocked, CallPhase, TransportEvent};
use crate::codec::CompressionEncoding;
use crate::codec::compression::Accepted;
use crate::intercept::Stack;
use crate::sync::Mutex;
use crate::{Code, Error, Status};

/// A connection of a channel.
pub(crate) type ConnectionId = u64;

/// What a connection reports to the channel.
pub(crate) enum Event {
    /// The peer's SETTINGS have come.
    Ready,
    /// Calls wait for one of its streams.
    Crowded,
    /// Its stream ids run out: another connection is wanted before they have.
    WearsOut,
    /// It had no calls for so long that it ends.
    Rests,
    /// It takes no more calls. `answered` says whether it ever brought a response.
    GoingAway { answered: bool },
    /// It is over.
    Closed { closed: Closed, answered: bool },
}

/// What calls in the mail wait for.
#[derive(Clone, Copy)]
pub(super) enum WaitsFor<'a> {
    /// A connection; why the last attempt to make one failed.
    Connection(Option<&'a Status>),
    /// A stream of one of so many connections, of which the peer allows so many at once on each.
    Stream { connections: usize, allowed: u32 },
}

impl WaitsFor<'_> {
    /// The status of a call whose deadline passed `after` it began.
    fn missed(self, after: Duration) -> Status {
        match self {
            Self::Connection(last_error) => {
                let status = deadline_passed(after, CallPhase::Connecting, None);
                match last_error {
                    Some(error) => status.and_note(format!("last attempt to connect: {}", error.message())),
                    None => status,
                }
            }
            Self::Stream { connections, allowed } => {
                let (on, allowed) = (BlockedOn::StreamLimit, Some(allowed));
                let blocked = Blocked { on, waited: after, allowed };
                deadline_passed(after, CallPhase::Queued, Some(blocked)).and_note(format!(
                    "there are {connections} connections (limit: max_connections_per_address)"
                ))
            }
        }
    }
}

/// What waits for the channel's task.
#[derive(Default)]
struct Mail {
    waiting: Waiting,
    /// Calls that wait for readiness, and were passed over since none can be made; they are older than those that wait.
    patient: Waiting,
    events: Vec<(ConnectionId, Event)>,
    /// Somebody wants a connection without a call.
    wanted: bool,
    /// The last handle is gone.
    closing: bool,
    /// The task is gone: nothing may be left here.
    dead: bool,
}

/// What callers, connections and the channel's task share.
pub(crate) struct Shared {
    pub(crate) authority: String,
    /// What goes into `:scheme`.
    pub(crate) scheme: &'static str,
    pub(crate) user_agent: String,
    pub(crate) timeout: Option<Duration>,
    /// What requests are compressed by, unless their client says more.
    pub(crate) send: Option<CompressionEncoding>,
    /// What responses may be.
    pub(crate) accepted: Option<Arc<Accepted>>,
    /// What is around every call.
    pub(crate) interceptors: Option<Stack>,
    pub(crate) places: Arc<Places>,
    /// What was said of methods, by service config.
    pub(super) methods: Option<Methods>,
    pub(super) wait_for_ready: bool,
    /// How often servers are asked for a sign of life.
    pub(super) pace: Pace,
    /// For what calls keep of their requests.
    pub(super) room: Arc<Room>,
    /// Where waits lie in their range, if that is not left to chance.
    pub(super) jitter: Option<f64>,
    picker: RwLock<Arc<dyn Picker>>,
    mail: Mutex<Mail>,
    pub(super) notify: Notify,
    connectivity: watch::Sender<Connectivity>,
    /// Connections that take calls.
    pub(super) connections: AtomicUsize,
    clock: Clock,
}

impl Shared {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            authority: endpoint.authority().to_owned(),
            scheme: endpoint.scheme(),
            user_agent: endpoint.user_agent_text(),
            timeout: endpoint.timeout,
            send: endpoint.send,
            accepted: endpoint.accepted.clone(),
            interceptors: endpoint.interceptors.clone(),
            places: Arc::new(Places::new(endpoint.max_queued_calls)),
            methods: endpoint.repeats.methods(),
            wait_for_ready: endpoint.repeats.wait_for_ready,
            pace: Pace::new(endpoint),
            room: Arc::new(endpoint.repeats.room()),
            jitter: endpoint.jitter,
            picker: RwLock::new(Arc::new(QueueAll)),
            mail: Mutex::default(),
            notify: Notify::new(),
            connectivity: watch::Sender::new(Connectivity::Idle),
            connections: AtomicUsize::new(0),
            clock: Clock::start(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Mail) -> T) -> T {
        // Nothing in `act` runs code of the user's, so a panic cannot leave the mail half-changed.
        act(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a call.
    pub(crate) fn start(&self, call: Box<StartCall>) {
        if let Err(call) = self.place(call) {
            match call.inbound.occupy(&self.places) {
                Ok(()) => self.wait(call),
                Err(full) => {
                    let cause = unsent(TransportEvent::QueueFull { limit: full.limit });
                    call.fail(Status::from_transport(Code::ResourceExhausted, cause));
                }
            }
        }
    }

    /// A connection gives back a call that never left, or that the peer refused unseen.
    pub(crate) fn take_back(&self, call: Box<StartCall>) {
        call.inbound.occupy_again(&self.places);
        self.wait(call);
    }

    /// Sends a call where the picker says; gives it back if that is nowhere yet.
    pub(super) fn place(&self, call: Box<StartCall>) -> Result<(), Box<StartCall>> {
        let pick = self.picker.read().unwrap_or_else(PoisonError::into_inner).pick(&call);
        match pick {
            Pick::Connection(ops) => {
                if let Err(ClientOp::Start(call)) = ops.push(ClientOp::Start(call)) {
                    return Err(call);
                }
            }
            Pick::Reserved(ops) => {
                if let Err(ClientOp::StartReserved(call)) = ops.push(ClientOp::StartReserved(call)) {
                    return Err(call);
                }
            }
            Pick::Queue => return Err(call),
            // gRPC's wait-for-ready page: such a call waits until a connection is up, or its deadline.
            Pick::Fail(_) if call.wait_for_ready => return Err(call),
            Pick::Fail(status) => call.fail(status),
            Pick::Drop(status) => call.drop_for_good(status),
        }
        Ok(())
    }

    fn wait(&self, call: Box<StartCall>) {
        let deadline = call.deadline.map(|at| self.clock.at(at));
        let refused = self.with(|mail| {
            if mail.dead {
                return Some(call);
            }
            mail.waiting.push(call, deadline);
            None
        });
        match refused {
            Some(call) => call.fail(closed()),
            None => self.notify.notify_one(),
        }
    }

    /// A connection reports.
    pub(crate) fn tell(&self, connection: ConnectionId, event: Event) {
        self.with(|mail| mail.events.push((connection, event)));
        self.notify.notify_one();
    }

    fn want_connection(&self) {
        self.with(|mail| mail.wanted = true);
        self.notify.notify_one();
    }

    fn close(&self) {
        self.with(|mail| mail.closing = true);
        self.notify.notify_one();
    }

    // The channel's task.

    pub(super) fn take_events(&self) -> Vec<(ConnectionId, Event)> {
        self.with(|mail| core::mem::take(&mut mail.events))
    }

    pub(super) fn is_closing(&self) -> bool {
        self.with(|mail| mail.closing)
    }

    /// True if a call waits or somebody asked for a connection.
    pub(super) fn is_wanted(&self) -> bool {
        self.with(|mail| {
            core::mem::take(&mut mail.wanted) || !mail.waiting.is_empty() || !mail.patient.is_empty()
        })
    }

    /// True if a call waits for a stream, or for a connection.
    pub(super) fn has_waiting(&self) -> bool {
        self.with(|mail| !mail.waiting.is_empty() || !mail.patient.is_empty())
    }

    /// The next call to place; where none can be made (`failing`) not one that was passed over.
    pub(super) fn pop_waiting(&self, failing: bool) -> Option<Box<StartCall>> {
        self.with(|mail| {
            let passed_over = if failing { None } else { mail.patient.pop() };
            passed_over.or_else(|| mail.waiting.pop())
        })
    }

    /// A call that waits for readiness goes on waiting.
    pub(super) fn pass_over(&self, call: Box<StartCall>) {
        let deadline = call.deadline.map(|at| self.clock.at(at));
        self.with(|mail| mail.patient.push(call, deadline));
    }

    pub(super) fn put_back(&self, call: Box<StartCall>) {
        let deadline = call.deadline.map(|at| self.clock.at(at));
        self.with(|mail| {
            let queue = if call.wait_for_ready { &mut mail.patient } else { &mut mail.waiting };
            queue.put_back(call, deadline);
        });
    }

    /// Ends the calls that waited too long; says when the next one will have.
    pub(super) fn expire_waiting(&self, what_for: WaitsFor<'_>) -> Option<tokio::time::Instant> {
        let now = self.clock.now();
        while let Some(call) = self.with(|mail| mail.waiting.expire(now).or_else(|| mail.patient.expire(now)))
        {
            let after = self.clock.to_tokio(now).saturating_duration_since(call.started);
            call.fail(what_for.missed(after));
        }
        let next = |mail: &mut Mail| [&mail.waiting, &mail.patient].map(Waiting::next_deadline);
        self.with(next).into_iter().flatten().min().map(|at| self.clock.to_tokio(at))
    }

    pub(super) fn publish(&self, published: Published) {
        *self.picker.write().unwrap_or_else(PoisonError::into_inner) = published.picker;
        self.connectivity.send_replace(published.state);
    }

    /// The task ends: whoever waits is told, and nobody waits again.
    pub(super) fn bury(&self) {
        let picker = Arc::new(DropAll(closed()));
        self.publish(Published { state: Connectivity::Shutdown, picker });
        self.with(|mail| mail.dead = true);
        while let Some(call) = self.pop_waiting(false) {
            call.fail(closed());
        }
    }
}

fn closed() -> Status {
    Status::from_transport(Code::Unavailable, unsent(TransportEvent::ChannelClosed))
}

/// The last handle tells the task to end.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A connection to a target: made when it is needed, made again when it was lost, shared by all calls.
///
/// Cheap to clone; clones are the same channel. One channel per target is enough for a program. When the last clone is
/// dropped, calls that are under way go on, and the connection is closed after them.
///
/// While no connection can be made calls fail at once with UNAVAILABLE, and say why, unless they wait for readiness
/// ([`Endpoint::wait_for_ready`]); while one is being made all wait, at most as long as their deadline allows. At most [`Endpoint::max_queued_calls`] may wait.
#[derive(Clone)]
pub struct Channel(Arc<Handle>);

impl Channel {
    /// The endpoint of a target that is part of the program: [`Endpoint::from_static`].
    ///
    /// # Panics
    /// If the target cannot be read.
    #[must_use]
    pub fn from_static(target: &'static str) -> Endpoint {
        Endpoint::from_static(target)
    }

    /// The endpoint of a target: [`Endpoint::new`].
    ///
    /// # Errors
    /// The target cannot be read.
    pub fn from_shared(target: impl Into<String>) -> Result<Endpoint, Error> {
        Endpoint::new(target.into())
    }

    /// A channel whose task runs on the current runtime.
    pub(super) fn spawn(endpoint: Endpoint) -> Self {
        let shared = Arc::new(Shared::new(&endpoint));
        tokio::spawn(Background::new(Arc::clone(&shared), endpoint).run());
        Self(Arc::new(Handle(shared)))
    }

    /// A channel over one stream that is connected already, and no other: when it ends, calls fail.
    pub(crate) fn over(stream: Stream) -> Self {
        Endpoint::in_process().over(stream).connect_lazy()
    }

    /// The endpoint's channel, connected.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let shared = self.shared();
        let mut states = shared.connectivity.subscribe();
        loop {
            let idle = match &*states.borrow_and_update() {
                Connectivity::Ready => return Ok(()),
                Connectivity::TransientFailure(why) => return Err(Error::connect(why.clone())),
                Connectivity::Shutdown => return Err(Error::connect(closed())),
                Connectivity::Idle => true,
                Connectivity::Connecting => false,
            };
            if idle {
                shared.want_connection();
            }
            if states.changed().await.is_err() {
                return Err(Error::connect(closed()));
            }
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared();
        f.debug_struct("Channel")
            .field("authority", &shared.authority)
            .field("state", &*shared.connectivity.borrow())
            .finish_non_exhaustive()
    }
}
