//! One direction of a faulty link in virtual time: it delays, cuts the bytes anywhere, stalls, and ends, at once or after what
//! is on its way. A seed says what it does.
//!
//! Invariant: what comes out is a beginning of what went in, in order: like TCP, it loses nothing but its end.

use std::collections::VecDeque;
use std::time::Duration;

use clearway_http2::Instant;

use crate::seed::Random;

/// What a way does to the octets.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How long a piece travels at most.
    pub longest_delay: Duration,
    /// The longest piece, in octets.
    pub longest_piece: usize,
    /// One piece in so many is 32 octets at most.
    pub crumbs: usize,
    /// Octets that may be on their way; then the sender must wait.
    pub capacity: usize,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Way {
    random: Random,
    weather: Weather,
    octets: VecDeque<u8>,
    /// When each piece arrives, and how long it is.
    pieces: VecDeque<(Instant, usize)>,
    stalled_until: Instant,
    closed: bool,
}

impl Way {
    /// A way with nothing on it.
    #[must_use]
    pub const fn new(random: Random, weather: Weather) -> Self {
        Self {
            random,
            weather,
            octets: VecDeque::new(),
            pieces: VecDeque::new(),
            stalled_until: Instant::ZERO,
            closed: false,
        }
    }

    /// How many octets it takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.closed { 0 } else { self.weather.capacity.saturating_sub(self.octets.len()) }
    }

    /// Octets set out, in pieces. Without an end in sight nothing is dropped; after it everything is.
    pub fn push(&mut self, now: Instant, octets: &[u8]) {
        if self.closed {
            return;
        }
        self.octets.extend(octets);
        let mut left = octets.len();
        while left > 0 {
            let longest =
                if self.random.one_in(self.weather.crumbs) { 32 } else { self.weather.longest_piece };
            let piece = (1 + self.random.below(longest)).min(left);
            let longest = u64::try_from(self.weather.longest_delay.as_nanos()).unwrap_or(u64::MAX);
            let due = now + Duration::from_nanos(self.random.bits() % longest.max(1));
            let last = self.pieces.back().map_or(due, |(at, _)| *at);
            self.pieces.push_back((due.max(last), piece));
            left -= piece;
        }
    }

    /// When something arrives next, or the end is seen.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        match self.pieces.front() {
            Some((at, _)) => Some((*at).max(self.stalled_until)),
            None => self.closed.then_some(self.stalled_until),
        }
    }

    /// The next piece, if it has arrived.
    pub fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (at, length) = *self.pieces.front()?;
        if at.max(self.stalled_until) > now {
            return None;
        }
        self.pieces.pop_front();
        Some(self.octets.drain(..length).collect())
    }

    /// Octets the receiver did not take: they come again.
    pub fn put_back(&mut self, now: Instant, octets: &[u8]) {
        if !octets.is_empty() {
            octets.iter().rev().for_each(|octet| self.octets.push_front(*octet));
            self.pieces.push_front((now, octets.len()));
        }
    }

    /// Nothing arrives until then.
    pub fn stall(&mut self, until: Instant) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// The weather changes: a stall is over, and from now on it is as given.
    pub fn clear_up(&mut self, weather: Weather) {
        self.stalled_until = Instant::ZERO;
        self.weather = weather;
    }

    /// What the weather is like.
    #[must_use]
    pub const fn weather(&self) -> Weather {
        self.weather
    }

    /// The sender closes: what is on its way arrives, and then the end.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The link breaks: of what is on its way `keep` octets arrive at most, and then the end.
    pub fn cut(&mut self, keep: usize) {
        self.closed = true;
        self.octets.truncate(keep);
        let mut left = self.octets.len();
        for (_, length) in &mut self.pieces {
            *length = (*length).min(left);
            left -= *length;
        }
        self.pieces.retain(|(_, length)| *length > 0);
    }

    /// Octets on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.octets.len()
    }

    /// True if nothing is on its way and nothing will be.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.closed && self.octets.is_empty()
    }
}
