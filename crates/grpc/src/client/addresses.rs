//! What the resolver said, and when it is to be asked again.
//!
//! A name is resolved when the first connection is wanted, and again when a connection is lost while others are left: its
//! server may be gone and another in its place. Not more often than every [`AGAIN`] (grpc-go's figure).
//!
//! Left out: asking on a timer. A server that limits its connections' age makes its clients ask.

use core::time::Duration;
use std::collections::HashSet;

use clearway_transport::Address;
use tokio::time::Instant;

use super::knobs::balancing::LoadBalancing;

/// The least time between two questions.
const AGAIN: Duration = Duration::from_secs(30);

/// The addresses in an order in which both families get their turn early, since one of them may lead nowhere (RFC 8305 §4): the
/// first, the first of another family, the second, and so on. One that comes twice has one turn.
pub(super) fn by_turns(mut all: Vec<Address>) -> Vec<Address> {
    let mut seen = HashSet::new();
    all.retain(|address| seen.insert(address.clone()));
    let Some(first) = all.first().cloned() else { return all };
    let (own, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| same_family(&first, address));
    let (mut own, mut other) = (own.into_iter(), other.into_iter());
    let mut turns = Vec::with_capacity(own.len().saturating_add(other.len()));
    loop {
        let pair = [own.next(), other.next()];
        if pair.iter().all(Option::is_none) {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// The addresses in an order of chance (gRFC A62): each draws a number.
pub(super) fn shuffled(all: Vec<Address>, mut chance: impl FnMut() -> f64) -> Vec<Address> {
    let mut drawn: Vec<_> = all.into_iter().map(|address| (chance(), address)).collect();
    drawn.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    drawn.into_iter().map(|(_, address)| address).collect()
}

fn same_family(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => one.is_ipv4() == other.is_ipv4(),
        _ => core::mem::discriminant(one) == core::mem::discriminant(other),
    }
}

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
        if balancing == LoadBalancing::PickFirst || !self.all.contains(first) {
            return vec![first.clone()];
        }
        self.all.iter().filter(|address| same_family(first, address)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<Address> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn both_families_get_their_turn() {
        let order = |of: &[&str]| by_turns(all(of));
        assert_eq!(
            order(&["[::1]:1", "[::1]:2", "[::1]:3", "1.1.1.1:4"]),
            all(&["[::1]:1", "1.1.1.1:4", "[::1]:2", "[::1]:3"])
        );
        assert_eq!(order(&["1.1.1.1:1", "[::1]:2", "[::1]:3"]), all(&["1.1.1.1:1", "[::1]:2", "[::1]:3"]));
        assert_eq!(
            order(&["1.1.1.1:1", "unix:/a", "1.1.1.1:2"]),
            all(&["1.1.1.1:1", "unix:/a", "1.1.1.1:2"])
        );
        assert_eq!(order(&["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:1"]), all(&["1.1.1.1:1", "1.1.1.1:2"]));
        assert_eq!(order(&[]), []);
    }

    #[test]
    fn every_order_may_come() {
        let three = all(&["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3"]);
        let draw = |numbers: [f64; 3]| {
            let mut numbers = numbers.into_iter();
            shuffled(three.clone(), || numbers.next().unwrap())
        };
        let draws = [
            [0.0, 0.5, 1.0],
            [0.0, 1.0, 0.5],
            [0.5, 0.0, 1.0],
            [0.5, 1.0, 0.0],
            [1.0, 0.0, 0.5],
            [1.0, 0.5, 0.0],
        ];
        let orders: HashSet<_> = draws.map(draw).into_iter().collect();
        assert_eq!(orders.len(), 6, "{orders:?}");
        assert!(orders.iter().all(|order| three.iter().all(|address| order.contains(address))));
        assert_eq!(draw([0.5; 3]), three);
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
