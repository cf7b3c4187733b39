//! What happened in a run: plans, what the link delivered, what handlers and callers saw. One lock, one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clearway::Code;
use clearway_http2::{ErrorCode, Instant};
use clearway_testkit::{Random, Trail};

use crate::plan::Plan;

/// Something for the trail.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Happened {
    Begins(Plan),
    /// Of the client (true) or the server.
    Delivered {
        connection: usize,
        to_server: bool,
        octets: usize,
    },
    Connected(usize),
    Refused,
    Fault {
        connection: usize,
        what: &'static str,
    },
    Handler {
        call: u32,
        what: &'static str,
    },
    Sent {
        call: u32,
        by_client: bool,
        index: u32,
    },
    Ended {
        call: u32,
        code: Option<Code>,
    },
}

/// Something that reached the client on one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fact {
    /// The end, with this `grpc-status`.
    Status(Code),
    /// The end, without one.
    BareEnd,
    Reset(ErrorCode),
    /// A GOAWAY that leaves the stream out.
    LeftOut,
    /// The end of the connection.
    Over,
}

impl Fact {
    /// The server did not look at the call.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(self, Self::LeftOut | Self::Reset(ErrorCode::REFUSED_STREAM))
    }
}

/// One connection, as the client's side of the link saw it.
#[derive(Debug, Default)]
pub(crate) struct ConnectionRecord {
    /// The first fact of each stream that ends it.
    pub(crate) facts: BTreeMap<u32, (Instant, Fact)>,
    /// The streams whose response began and did not end with that.
    pub(crate) begun: BTreeSet<u32>,
    /// Which call each stream is.
    pub(crate) calls: BTreeMap<u32, u32>,
    /// When the server's SETTINGS reached the client.
    pub(crate) ready: Option<Instant>,
    pub(crate) over: Option<Instant>,
    /// When GOAWAY reached the client the last time, and the last stream it named.
    pub(crate) goaway: Option<(Instant, u32)>,
}

/// One call, as seen from everywhere.
#[derive(Debug, Default)]
pub(crate) struct CallRecord {
    pub(crate) began: Instant,
    /// Connection and stream of each time it was sent.
    pub(crate) attempts: Vec<(usize, u32)>,
    /// How often a handler was started for it.
    pub(crate) handlers: u32,
    /// What the handler said last, if it said anything.
    pub(crate) said: Option<Code>,
}

/// Everything.
pub(crate) struct Record {
    pub(crate) random: Random,
    /// Messages are compressed, both ways.
    pub(crate) gzip: bool,
    pub(crate) trail: Trail<Happened>,
    pub(crate) plans: Vec<Plan>,
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) connections: Vec<ConnectionRecord>,
    /// When no connection could be made.
    pub(crate) refusals: Vec<Instant>,
    /// Handlers that were begun and not dropped.
    pub(crate) running: usize,
    /// Those of them that count against a limit, by connection.
    pub(crate) handlers: BTreeMap<usize, usize>,
    /// How calls ended: a word, and how often.
    pub(crate) ends: BTreeMap<String, u64>,
    pub(crate) faults: Vec<String>,
    began: tokio::time::Instant,
}

/// The handle everybody has.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Record>>);

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Record {
            gzip: false,
            random: Random::new(seed),
            trail: Trail::new(),
            plans: Vec::new(),
            calls: Vec::new(),
            connections: Vec::new(),
            refusals: Vec::new(),
            running: 0,
            handlers: BTreeMap::new(),
            ends: BTreeMap::new(),
            faults: Vec::new(),
            began: tokio::time::Instant::now(),
        })))
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        self.record().now()
    }

    pub(crate) fn note(&self, what: Happened) {
        self.record().note(what);
    }

    pub(crate) fn plan(&self, call: u32) -> Plan {
        self.record().plans[call as usize]
    }

    pub(crate) fn fault(&self, what: String) {
        self.record().faults.push(what);
    }

    /// An instant of the record on tokio's clock.
    pub(crate) fn at(&self, instant: Instant) -> tokio::time::Instant {
        self.record().began + (instant - Instant::ZERO)
    }
}

impl Record {
    pub(crate) fn now(&self) -> Instant {
        let nanos = self.began.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(crate) fn note(&mut self, what: Happened) {
        let now = self.now();
        self.trail.note(now, what);
    }

    /// Something reached the client that ends a stream, if nothing did before.
    pub(crate) fn ends(&mut self, connection: usize, stream: u32, fact: Fact) {
        let now = self.now();
        self.connections[connection].facts.entry(stream).or_insert((now, fact));
    }

    /// The client sent the request of a call.
    pub(crate) fn attempt(&mut self, connection: usize, stream: u32, call: u32) {
        self.connections[connection].calls.insert(stream, call);
        // What is written late, on a connection that takes little, was begun before what went to a newer one.
        let attempts = &mut self.calls[call as usize].attempts;
        attempts.push((connection, stream));
        attempts.sort_unstable();
        // The client knew already that it is left out, and has to finish what it had begun to write.
        if let Some((when, last)) = self.connections[connection].goaway
            && last < stream
        {
            self.connections[connection].facts.entry(stream).or_insert((when, Fact::LeftOut));
        }
    }

    /// The client sees the end of a connection.
    pub(crate) fn over(&mut self, connection: usize) {
        let now = self.now();
        let entry = &mut self.connections[connection];
        entry.over.get_or_insert(now);
        if entry.ready.is_none() {
            self.refusals.push(now);
        }
        let streams: Vec<u32> = self.connections[connection].calls.keys().copied().collect();
        streams.into_iter().for_each(|stream| self.ends(connection, stream, Fact::Over));
    }
}
