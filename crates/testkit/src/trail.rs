//! What happened in a run, in order: the last of it to be printed when it fails, and a hash of all of it, so that two runs
//! of one seed can be compared.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use clearway_http2::Instant;

/// Events kept to be printed.
const KEPT: usize = 60;

/// The events of a run.
#[derive(Clone, Debug)]
pub struct Trail<E> {
    last: VecDeque<(Instant, E)>,
    hash: u64,
    count: u64,
}

impl<E: Hash> Trail<E> {
    /// Nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: VecDeque::new(), hash: 0, count: 0 }
    }

    /// Something happens.
    pub fn note(&mut self, now: Instant, event: E) {
        // With fixed keys: the same events give the same hash in every process.
        let mut hasher = DefaultHasher::new();
        (self.hash, now, &event).hash(&mut hasher);
        self.hash = hasher.finish();
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((now, event));
    }

    /// A number that stands for everything that happened.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How much has happened.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl<E: Hash> Default for Trail<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: fmt::Debug> fmt::Display for Trail<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, event) in &self.last {
            writeln!(f, "  {at:?} {event:?}")?;
        }
        Ok(())
    }
}
