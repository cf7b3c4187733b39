//! Certificates that change while a program runs: files are read again at an interval, and new handshakes use what is new.
//!
//! A configuration is replaced whole or not at all: files that cannot be used (half written, a key that is not its
//! certificate's, a certificate out of force) leave the old one in use and are reported. Contents are compared, not times, so it does
//! not matter how a file is changed: written over, renamed over, or reached by a symbolic link that now leads elsewhere
//! (Kubernetes' `..data`). Connections that exist go on; sessions made before a change are not resumed after it.
//!
//! A thread does it, since reading files blocks: one for each [`Reload`], and none when no file is watched. It ends with the
//! last configuration.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use super::identity::PeerIdentity;
use super::material::{Files, TlsConfigError};

/// How long files that do not fit together are given to be written to their end before that is reported.
const SETTLE: Duration = Duration::from_millis(100);

type Report = Arc<dyn Fn(&ReloadEvent) + Send + Sync>;

/// How a configuration's files are looked after. One may serve several configurations; clones look after the same ones.
#[derive(Clone)]
pub struct Reload {
    interval: Duration,
    report: Option<Report>,
    watching: Arc<Watching>,
}

#[derive(Default)]
struct Watching {
    watched: Mutex<Vec<Weak<dyn Watched>>>,
    /// Dropped with this, which ends the thread.
    thread: Mutex<Option<Sender<()>>>,
    checks: AtomicU64,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// What happened to a configuration's files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadEvent {
    /// The files.
    pub files: Vec<PathBuf>,
    /// What happened.
    pub outcome: ReloadOutcome,
}

/// What became of a change, or of the lack of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadOutcome {
    /// New handshakes use what the files hold now.
    Reloaded {
        /// The serial number of this side's certificate, in hexadecimal, if it has one.
        serial: Option<String>,
        /// When it expires.
        not_after: Option<SystemTime>,
    },
    /// The files cannot be used: what was in use stays in use. Told once for each content.
    Kept(TlsConfigError),
    /// This side's certificate, in use, expires soon. Told once for each certificate.
    ExpiresSoon {
        /// How long it still is in force.
        left: Duration,
    },
    /// This side's certificate, in use, has expired. Told once for each certificate.
    Expired,
}

impl fmt::Display for ReloadEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            ReloadOutcome::Reloaded { serial: Some(serial), .. } => {
                write!(f, "TLS files reloaded, certificate {serial}")?;
            }
            ReloadOutcome::Reloaded { serial: None, .. } => f.write_str("TLS files reloaded")?,
            ReloadOutcome::Kept(why) => {
                write!(f, "TLS files changed and cannot be used, the old stay in use: {why}")?;
            }
            ReloadOutcome::ExpiresSoon { left } => {
                write!(f, "TLS certificate expires in {} h, and there is no new one", left.as_secs() / 3600)?;
            }
            ReloadOutcome::Expired => f.write_str("TLS certificate has expired, and there is no new one")?,
        }
        for (at, file) in self.files.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { ": " } else { ", " }, file.display())?;
        }
        Ok(())
    }
}

impl Default for Reload {
    fn default() -> Self {
        Self::every(Self::INTERVAL)
    }
}

impl Reload {
    /// How often files are read, unless [`Reload::every`] says otherwise.
    pub const INTERVAL: Duration = Duration::from_secs(30);
    /// A certificate that expires within this time is reported, once.
    pub const SOON: Duration = Duration::from_secs(24 * 3600);

    /// Files are read this often; at least every 10 ms and at most once a day.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        let interval = interval.clamp(Duration::from_millis(10), Duration::from_secs(24 * 3600));
        Self { interval, report: None, watching: Arc::default() }
    }

    /// Calls `report` for every event, on the thread that reads the files or in [`Reload::check_now`]. To be chosen before this
    /// is given to a configuration.
    #[must_use]
    pub fn on_event(mut self, report: impl Fn(&ReloadEvent) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }

    /// True if [`Reload::on_event`] was called.
    #[must_use]
    pub const fn reports(&self) -> bool {
        self.report.is_some()
    }

    /// Reads all files now, on this thread; when it returns, what is new is in use. For a signal handler's task, or tests.
    pub fn check_now(&self) {
        self.watching.check(self.report.as_ref());
    }

    /// How often the files were read.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.watching.checks.load(Ordering::Relaxed)
    }

    /// How often a configuration was replaced.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.watching.reloads.load(Ordering::Relaxed)
    }

    /// How often files could not be used; each content counts once.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.watching.failures.load(Ordering::Relaxed)
    }

    /// Looks after one more configuration, and sees to it that there is a thread.
    fn watch(&self, watched: Weak<dyn Watched>) -> Result<(), TlsConfigError> {
        lock(&self.watching.watched).push(watched);
        let mut thread = lock(&self.watching.thread);
        if thread.is_none() {
            let (sender, over) = channel();
            let (watching, interval) = (Arc::downgrade(&self.watching), self.interval);
            let report = self.report.clone();
            let run = move || {
                while over.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    let Some(watching) = watching.upgrade() else { return };
                    watching.check(report.as_ref());
                }
            };
            let spawned = std::thread::Builder::new().name("clearway-tls".to_owned()).spawn(run);
            spawned.map_err(|error| TlsConfigError::new(format!("no thread for reloading: {error}")))?;
            *thread = Some(sender);
        }
        Ok(())
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Watching {
    fn check(&self, report: Option<&Report>) {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let all: Vec<_> = {
            let mut watched = lock(&self.watched);
            watched.retain(|one| one.strong_count() > 0);
            watched.iter().filter_map(Weak::upgrade).collect()
        };
        for event in all.iter().flat_map(|one| one.check()) {
            match event.outcome {
                ReloadOutcome::Reloaded { .. } => self.reloads.fetch_add(1, Ordering::Relaxed),
                ReloadOutcome::Kept(_) => self.failures.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            if let Some(report) = report {
                // It is the user's, and must not end the thread.
                let _ = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| report(&event)));
            }
        }
    }
}

/// A configuration with files.
trait Watched: Send + Sync {
    fn check(&self) -> Vec<ReloadEvent>;
}

/// What was made of files, and until when this side's certificate is in force.
pub(super) struct Made<C> {
    pub(super) config: C,
    pub(super) term: Option<Term>,
}

/// When a certificate is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Term {
    /// The earliest to expire of a side's certificates. One that cannot be read has none; the handshake's verifier will say so.
    pub(super) fn of<'a>(all: impl IntoIterator<Item = &'a Arc<CertifiedKey>>) -> Option<Self> {
        let own = all.into_iter().filter_map(|certified| certified.cert.first());
        let identities = own.filter_map(|own| PeerIdentity::parse(own).ok());
        identities.min_by_key(PeerIdentity::not_after).map(|identity| Self {
            serial: identity.serial().to_owned(),
            not_before: identity.not_before(),
            not_after: identity.not_after(),
        })
    }

    fn is_in_force(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

type Make<C> = Box<dyn Fn(&Files) -> Result<Made<C>, TlsConfigError> + Send + Sync>;

/// A configuration that is replaced when its files change.
pub(super) struct Live<C> {
    current: RwLock<Arc<C>>,
    paths: Vec<PathBuf>,
    make: Make<C>,
    seen: Mutex<Seen>,
    /// Keeps the thread.
    _reload: Option<Reload>,
}

/// What was found so far.
#[derive(Default)]
struct Seen {
    digest: Vec<u8>,
    /// The last complaint, which is not repeated.
    complaint: Option<String>,
    term: Option<Term>,
    warned: Warned,
}

/// What was said of the certificate in use.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd)]
enum Warned {
    #[default]
    No,
    Soon,
    Expired,
}

impl<C: Send + Sync + 'static> Live<C> {
    /// A configuration made of files, which are looked after from now on, if there are any.
    pub(super) fn new(
        paths: Vec<PathBuf>,
        reload: &Reload,
        make: Make<C>,
    ) -> Result<Arc<Self>, TlsConfigError> {
        let files = Files::read(paths.iter().map(PathBuf::as_path))?;
        let Made { config, term } = make(&files)?;
        let seen = Seen { digest: files.digest(), term, ..Seen::default() };
        let watches = !paths.is_empty();
        let this = Arc::new(Self {
            current: RwLock::new(Arc::new(config)),
            paths,
            make,
            seen: Mutex::new(seen),
            _reload: watches.then(|| reload.clone()),
        });
        if watches {
            let watched: Weak<Self> = Arc::downgrade(&this);
            reload.watch(watched)?;
        }
        Ok(this)
    }

    /// What is in use.
    pub(super) fn current(&self) -> Arc<C> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn load(&self) -> (Vec<u8>, Result<Made<C>, TlsConfigError>) {
        match Files::read(self.paths.iter().map(PathBuf::as_path)) {
            Ok(files) => (files.digest(), (self.make)(&files)),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    /// The outcome of reading the files, if there is something to tell.
    fn look(&self, seen: &mut Seen, now: SystemTime) -> Option<ReloadOutcome> {
        let read = Files::read(self.paths.iter().map(PathBuf::as_path));
        if read.is_ok_and(|files| files.digest() == seen.digest) {
            seen.complaint = None;
            return None;
        }
        let (mut digest, mut made) = self.load();
        if made.is_err() {
            // Somebody may be writing.
            std::thread::sleep(SETTLE);
            (digest, made) = self.load();
        }
        let usable = made.and_then(|made| match &made.term {
            // A certificate in force is not given up for one that is not.
            Some(new)
                if !new.is_in_force(now) && seen.term.as_ref().is_some_and(|old| old.is_in_force(now)) =>
            {
                Err(TlsConfigError::new(format!("certificate {} is not in force", new.serial)))
            }
            _ => Ok(made),
        });
        match usable {
            // It was changed back meanwhile.
            Ok(_) if digest == seen.digest => None,
            Ok(Made { config, term }) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                let outcome = ReloadOutcome::Reloaded {
                    serial: term.as_ref().map(|term| term.serial.clone()),
                    not_after: term.as_ref().map(|term| term.not_after),
                };
                *seen = Seen { digest, term, ..Seen::default() };
                Some(outcome)
            }
            Err(why) => {
                let complaint = format!("{why} {digest:?}");
                let is_new = seen.complaint.as_ref() != Some(&complaint);
                seen.complaint = Some(complaint);
                is_new.then_some(ReloadOutcome::Kept(why))
            }
        }
    }
}

impl Seen {
    /// What there is to say of the certificate in use, once.
    fn warning(&mut self, now: SystemTime) -> Option<ReloadOutcome> {
        let term = self.term.as_ref()?;
        let (stage, outcome) = match term.not_after.duration_since(now) {
            Err(_) => (Warned::Expired, ReloadOutcome::Expired),
            Ok(left) if left < Reload::SOON => (Warned::Soon, ReloadOutcome::ExpiresSoon { left }),
            Ok(_) => return None,
        };
        let is_news = stage > self.warned;
        self.warned = stage;
        is_news.then_some(outcome)
    }
}

impl<C: Send + Sync + 'static> Watched for Live<C> {
    fn check(&self) -> Vec<ReloadEvent> {
        let now = SystemTime::now();
        let mut seen = lock(&self.seen);
        let looked = self.look(&mut seen, now);
        let outcomes = [looked, seen.warning(now)].into_iter().flatten();
        outcomes.map(|outcome| ReloadEvent { files: self.paths.clone(), outcome }).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
