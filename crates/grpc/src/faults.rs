//! Faults on purpose, for tests of programs that make calls or answer them: [`Faults`] delays calls, fails, resets or loses them,
//! cuts their streams and corrupts their messages, by method and by share, the same way again for the same seed.
//!
//! It is an interceptor ([`crate::intercept`]), for either side, and works over any connection;
//! [`Router::in_process`](crate::transport::Router::in_process) needs no socket. What it does on a server is seen on the wire: a reset is
//! RST_STREAM. On a client the same faults happen before or after the wire, and look the same to the caller.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use clearway::client::{Grpc, MethodPath};
//! use clearway::codec::BytesCodec;
//! use clearway::faults::{Fault, Faults};
//! use clearway::server::GenericService;
//! use clearway::transport::Server;
//! use clearway::{Code, Request, Response, Status};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let echo = GenericService::new("demo.Echo").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
//!     Ok(Response::new(request.into_inner()))
//! });
//! let faults = Faults::seeded(7)
//!     .on("/demo.Echo/*", Fault::delay(Duration::from_millis(20)))
//!     .on("/demo.Echo/Echo", Fault::fail(Status::unavailable("injected")).share(0.3));
//! let client = Grpc::new(Server::builder().interceptor(faults.clone()).add_service(echo).in_process());
//! let path = MethodPath::from_static("/demo.Echo/Echo");
//! let mut failed = 0;
//! for _ in 0..100 {
//!     match client.unary(Request::new(Bytes::from_static(b"hi")), path.clone(), BytesCodec).await {
//!         Ok(_) => {}
//!         Err(status) => {
//!             assert_eq!(status.code(), Code::Unavailable);
//!             failed += 1;
//!         }
//!     }
//! }
//! assert_eq!(failed, faults.injected().iter().filter(|injected| injected.fault.starts_with("fail")).count());
//! assert!((20..40).contains(&failed));
//! # }
//! ```
//!
//! Invariant: what happens to a call follows from the seed, its method and its number among the calls of that method, and from nothing
//! else: neither from time nor from what other methods do. So a run in which each method's calls begin in the same order is the same run.
//!
//! Left out: faults of connections (the transport's own tests have those), and of single frames.

use core::fmt;
use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use clearway_http2::{By, ErrorCode};

use crate::cause::{Processed, TransportCause, TransportEvent};
use crate::intercept::{Call, Direction, Intercept, MessageSize, Side, Watch};
use crate::{Code, Status};

/// The seed of a run that is to be repeated.
const SEED: &str = "CLEARWAY_FAULT_SEED";

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: Kind,
    share: f64,
}

#[derive(Clone, Debug)]
enum Kind {
    Delay(Duration),
    Fail(Status),
    Reset(ErrorCode),
    Lose,
    CutAfter(u64),
    Corrupt,
}

impl Fault {
    const fn of(kind: Kind) -> Self {
        Self { kind, share: 1.0 }
    }

    /// The call begins so much later.
    #[must_use]
    pub const fn delay(by: Duration) -> Self {
        Self::of(Kind::Delay(by))
    }

    /// The call ends with this status before anything of it is sent (client), or before its handler runs (server).
    #[must_use]
    pub const fn fail(status: Status) -> Self {
        Self::of(Kind::Fail(status))
    }

    /// The call's stream is reset with this code: on a server by RST_STREAM before its handler runs, on a client as if that had come.
    #[must_use]
    pub const fn reset(code: ErrorCode) -> Self {
        Self::of(Kind::Reset(code))
    }

    /// The call is lost: it goes no further and nobody answers. It ends by its deadline, or when it is given up.
    #[must_use]
    pub const fn lose() -> Self {
        Self::of(Kind::Lose)
    }

    /// The call's stream is reset (CANCEL) when more than so many messages want to pass in one direction.
    #[must_use]
    pub const fn cut_after(messages: u64) -> Self {
        Self::of(Kind::CutAfter(messages))
    }

    /// In every message received one octet, which the seed chooses, is another one. Empty messages stay empty.
    #[must_use]
    pub const fn corrupt() -> Self {
        Self::of(Kind::Corrupt)
    }

    /// It happens to this share of calls, from 0 (none) to 1 (all). Default: 1.
    #[must_use]
    pub const fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Delay(by) => write!(f, "delay {by:?}"),
            Kind::Fail(status) => write!(f, "fail {status}"),
            Kind::Reset(code) => write!(f, "reset {code}"),
            Kind::Lose => f.write_str("lose"),
            Kind::CutAfter(messages) => write!(f, "cut after {messages}"),
            Kind::Corrupt => f.write_str("corrupt"),
        }
    }
}

/// A fault that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Injected {
    /// `/package.Service/Method`.
    pub path: String,
    /// Which call of this method it was, from 0.
    pub call: u64,
    /// What happened.
    pub fault: String,
}

/// Faults by method. Clones share what happened so far.
#[derive(Clone, Debug)]
pub struct Faults {
    seed: u64,
    rules: Arc<Vec<(Pattern, Fault)>>,
    past: Arc<Mutex<Past>>,
}

#[derive(Debug, Default)]
struct Past {
    calls: HashMap<String, u64>,
    /// The newest, at most [`Faults::REMEMBERED`].
    injected: VecDeque<Injected>,
    forgotten: u64,
}

impl Past {
    fn remember(&mut self, injected: Injected) {
        if self.injected.len() >= Faults::REMEMBERED {
            self.injected.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.injected.push_back(injected);
    }
}

impl Faults {
    /// How many faults that happened are remembered; before more the oldest are forgotten.
    pub const REMEMBERED: usize = 10_000;

    /// No faults, with the seed that `CLEARWAY_FAULT_SEED` has, or another one each time. It is printed to standard error, with the line that
    /// repeats the run.
    #[must_use]
    pub fn new() -> Self {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            use core::hash::{BuildHasher as _, Hasher as _};
            std::hash::RandomState::new().build_hasher().finish()
        });
        eprintln!("faults: seed {seed} ({SEED}={seed} repeats it)");
        Self::seeded(seed)
    }

    /// No faults, with this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, rules: Arc::default(), past: Arc::default() }
    }

    /// Adds a fault for the methods that `pattern` matches: a path, `/package.Service/Method`, in which one `*` may stand for any text.
    /// All that match apply, in the order they were added; of those that end the call the first.
    #[must_use]
    pub fn on(mut self, pattern: &str, fault: Fault) -> Self {
        Arc::make_mut(&mut self.rules).push((Pattern::new(pattern), fault));
        self
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What happened so far, in the order of the calls' beginnings: the newest [`Faults::REMEMBERED`] faults. How many there were
    /// before those [`Faults::forgotten`] says.
    #[must_use]
    pub fn injected(&self) -> Vec<Injected> {
        self.past().injected.iter().cloned().collect()
    }

    /// How many faults happened that [`Faults::injected`] does not know any more.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.past().forgotten
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in store for the next call of a method, and a number for what is left to chance.
    fn plan(&self, path: &str) -> (Vec<Kind>, u64) {
        let mut past = self.past();
        let calls = past.calls.entry(path.to_owned()).or_default();
        let call = *calls;
        *calls = call.wrapping_add(1);
        let drawn = mix(self.seed ^ mix(name(path)) ^ mix(call));
        let mut kinds = Vec::new();
        for (index, (pattern, fault)) in self.rules.iter().enumerate() {
            if pattern.matches(path) && unit(mix(drawn ^ mix(!(index as u64)))) < fault.share {
                past.remember(Injected { path: path.to_owned(), call, fault: fault.to_string() });
                kinds.push(fault.kind.clone());
            }
        }
        (kinds, drawn)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Intercept for Faults {
    type Watch = Option<Injecting>;

    async fn begin(&self, call: &mut Call) -> Result<Option<Injecting>, Status> {
        let (kinds, drawn) = self.plan(call.path());
        let (mut cut_after, mut corrupt) = (None, None);
        for kind in kinds {
            match kind {
                Kind::Delay(by) => tokio::time::sleep(by).await,
                Kind::Fail(status) => return Err(status),
                Kind::Reset(code) => return Err(reset(call.side(), code)),
                Kind::Lose => core::future::pending().await,
                Kind::CutAfter(messages) => cut_after = cut_after.or(Some(messages)),
                Kind::Corrupt => corrupt = Some(drawn),
            }
        }
        let watch = || Injecting {
            side: call.side(),
            cut_after,
            corrupt,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            altered: AtomicU64::new(0),
        };
        Ok((cut_after.is_some() || corrupt.is_some()).then(watch))
    }
}

/// What goes wrong with the messages of one call.
#[derive(Debug)]
pub struct Injecting {
    side: Side,
    cut_after: Option<u64>,
    corrupt: Option<u64>,
    sent: AtomicU64,
    received: AtomicU64,
    altered: AtomicU64,
}

impl Watch for Injecting {
    fn message(&self, message: MessageSize) -> Result<(), Status> {
        let passed = match message.direction {
            Direction::Sent => &self.sent,
            Direction::Received => &self.received,
        };
        let before = passed.fetch_add(1, Ordering::Relaxed);
        match self.cut_after {
            Some(messages) if before >= messages => Err(reset(self.side, ErrorCode::CANCEL)),
            _ => Ok(()),
        }
    }

    fn alter(&self, octets: Bytes) -> Bytes {
        let Some(drawn) = self.corrupt else { return octets };
        let random = mix(drawn ^ mix(self.altered.fetch_add(1, Ordering::Relaxed)));
        let mut altered = octets.to_vec();
        let at = usize::try_from(random >> 8).unwrap_or(0).checked_rem(altered.len());
        if let Some(octet) = at.and_then(|at| altered.get_mut(at)) {
            // Never zero, so it is another octet.
            *octet ^= 1_u8.rotate_left(u32::try_from(random % 8).unwrap_or(0));
        }
        altered.into()
    }
}

/// Among the sources of a status: a server sends RST_STREAM with this code in its stead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InjectedReset(pub(crate) ErrorCode);

impl fmt::Display for InjectedReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reset with {} by an injected fault", self.0)
    }
}

impl std::error::Error for InjectedReset {}

fn reset(side: Side, code: ErrorCode) -> Status {
    let by = if side == Side::Client { By::Peer } else { By::Application };
    let event = TransportEvent::Reset { code, by, rule: None };
    let cause = TransportCause { connection: None, event, processed: Processed::Maybe };
    let mut status = Status::from_transport(Code::from_reset(code), cause);
    status.set_source(Arc::new(InjectedReset(code)));
    status
}

/// A path in which one `*` may stand for any text.
#[derive(Clone, Debug)]
struct Pattern {
    begins: String,
    /// None: the path is exactly that.
    ends: Option<String>,
}

impl Pattern {
    fn new(pattern: &str) -> Self {
        match pattern.split_once('*') {
            Some((begins, ends)) => Self { begins: begins.to_owned(), ends: Some(ends.to_owned()) },
            None => Self { begins: pattern.to_owned(), ends: None },
        }
    }

    fn matches(&self, path: &str) -> bool {
        match &self.ends {
            None => path == self.begins,
            Some(ends) => path.strip_prefix(&*self.begins).is_some_and(|rest| rest.ends_with(&**ends)),
        }
    }
}

/// A number for a name (FNV-1a).
fn name(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads a number over all bits (SplitMix64).
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number from 0 to less than 1.
fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_star_anywhere_or_none() {
        for (pattern, matching, other) in [
            ("/a.B/C", "/a.B/C", "/a.B/CC"),
            ("/a.B/*", "/a.B/C", "/a.BB/C"),
            ("*", "/a.B/C", ""),
            ("*/Get", "/a.B/Get", "/a.B/Gets"),
            ("/a.*/Get", "/a.B/Get", "/a.Get"),
        ] {
            assert!(Pattern::new(pattern).matches(matching), "{pattern}");
            assert!(other.is_empty() || !Pattern::new(pattern).matches(other), "{pattern}");
        }
    }

    #[test]
    fn the_newest_faults_are_remembered_and_the_others_counted() {
        let faults = Faults::seeded(1).on("*", Fault::lose());
        let (remembered, more) = (Faults::REMEMBERED as u64, 7);
        (0..remembered).for_each(|_| drop(faults.plan("/a.B/C")));
        assert_eq!((faults.injected().len(), faults.forgotten()), (Faults::REMEMBERED, 0));
        (0..more).for_each(|_| drop(faults.plan("/a.B/C")));
        let calls: Vec<u64> = faults.injected().iter().map(|one| one.call).collect();
        assert_eq!(calls, (more..remembered + more).collect::<Vec<_>>());
        assert_eq!(faults.forgotten(), more);
    }

    #[test]
    fn a_seed_is_a_run_whatever_other_methods_do() {
        let faults = || Faults::seeded(3).on("/a.B/*", Fault::lose().share(0.25));
        let (first, second) = (faults(), faults());
        for _ in 0..1000 {
            first.plan("/a.B/C");
        }
        for call in 0..2000 {
            second.plan(if call % 2 == 0 { "/a.B/D" } else { "/a.B/C" });
        }
        let of = |faults: &Faults| -> Vec<u64> {
            faults.injected().into_iter().filter(|one| one.path == "/a.B/C").map(|one| one.call).collect()
        };
        assert_eq!(of(&first), of(&second));
        assert!((200..300).contains(&of(&first).len()), "{}", of(&first).len());
        let other = Faults::seeded(4).on("/a.B/*", Fault::lose().share(0.25));
        for _ in 0..1000 {
            other.plan("/a.B/C");
        }
        assert_ne!(of(&first), of(&other));
    }
}
