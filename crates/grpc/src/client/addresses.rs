//! What the resolver said, and when it is to be asked again.
//!
//! A name is resolved when the first connection is wanted, and again when a connection is lost while others are left: its
//! server may be gone and another in its place. Not more often than every [`AGAIN`] (grpc-go's figure).
//!
//! Left out: asking on a timer. A server that limits its connections' age makes its clients ask.

use core::time::Duration;

use clearway_transport::Address;
use tokio::time::Instant;

use super::knobs::balancing::LoadBalancing;

/// The least time between two questions.
const AGAIN: Duration = Duration::from_secs(30);

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    all: Vec<Address>,
    asked: Option<Instant>,
    /// A connection was lost since.
    doubtful: bool,
}

impl Addresses {
    pub(super) fn said(&mut self, all: Vec<Address>, now: Instant) {
        *self = Self { all, asked: Some(now), doubtful: false };
    }

    /// No answer came: what was said last may still be so.
    pub(super) fn said_nothing(&mut self, now: Instant) {
        (self.asked, self.doubtful) = (Some(now), false);
    }

    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// When the resolver is to be asked again, if at all.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.asked.filter(|_| self.doubtful).map(|asked| asked + AGAIN)
    }

    /// Where calls go when there is a connection to `first`.
    ///
    /// A name may have addresses of both families, of the same servers: those of the other family are for others.
    pub(super) fn around(&self, first: &Address, balancing: LoadBalancing) -> Vec<Address> {
        let same_family = |address: &&Address| match (first, address) {
            (Address::Tcp(first), Address::Tcp(other)) => first.is_ipv4() == other.is_ipv4(),
            _ => core::mem::discriminant(first) == core::mem::discriminant(*address),
        };
        if balancing == LoadBalancing::PickFirst || !self.all.contains(first) {
            return vec![first.clone()];
        }
        self.all.iter().filter(same_family).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<Address> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn calls_are_spread_over_one_family() {
        let mut addresses = Addresses::default();
        addresses.said(all(&["[::1]:5", "127.0.0.1:5", "127.0.0.2:5"]), Instant::now());
        let (first, other) = (&all(&["127.0.0.2:5"])[0], &all(&["127.0.0.3:5"])[0]);
        let around = |first, balancing| addresses.around(first, balancing);
        assert_eq!(around(first, LoadBalancing::LeastRequest), all(&["127.0.0.1:5", "127.0.0.2:5"]));
        assert_eq!(around(first, LoadBalancing::PickFirst), all(&["127.0.0.2:5"]));
        assert_eq!(around(other, LoadBalancing::RoundRobin), all(&["127.0.0.3:5"]));
    }

    #[test]
    fn the_resolver_is_asked_again_after_a_loss_and_half_a_minute() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        addresses.said(all(&["127.0.0.1:5"]), now);
        assert_eq!(addresses.ask_at(), None);
        addresses.doubt();
        assert_eq!(addresses.ask_at(), Some(now + AGAIN));
        addresses.said_nothing(now + AGAIN);
        assert_eq!(addresses.ask_at(), None);
    }
}
