//! The connections of a channel: usually one to every address that the balancing policy spreads calls over
//! ([`LoadBalancing`](super::LoadBalancing)). More are made when calls wait because the peers allow no more streams at once, up to
//! [`Endpoint::max_connections_per_address`](super::Endpoint::max_connections_per_address); and one is made in good time for one
//! whose stream ids run out (RFC 9113 §5.1.1).
//!
//! A connection that ended of idleness, or that nobody had used, is not made again before there are calls: else servers that end
//! idle connections would keep all addresses but one connected for ever, in a channel that nobody uses.
//!
//! A connection that is alone takes calls without being asked how many it has; from the second on streams are reserved
//! ([`crate::balance::Spread`]).
//!
//! Invariant: connections in here are ready, and were not told to end. Left out: closing what is not needed any more before its
//! idle timeout does.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use clearway_transport::Address;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::channel::ConnectionId;
use super::connection::{ClientOp, Ops};
use crate::balance::{CONNECTION_ATTEMPT_DELAY, Load, One, Order, Picker, Spread};

/// How often to look whether there are calls again, while addresses have no connection because there were none.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A connection that takes calls.
struct Member {
    id: ConnectionId,
    ops: Ops,
    address: Address,
    /// When the attempt to make it did.
    began: Instant,
    /// Once it is one of several.
    load: Option<Arc<Load>>,
    /// What [`Pool::picks`] was when it was made.
    since: usize,
    /// Its stream ids run out: it serves until there is another.
    worn: bool,
}

/// An address that calls go to.
struct Site {
    address: Address,
    backoff: Backoff,
    /// No attempt before this: the last one failed.
    not_before: Option<Instant>,
    /// Its connection ended because nobody used it. There is no hurry for another while [`Pool::picks`] is this.
    rests: Option<usize>,
}

/// Whether another connection is to be made, beside those there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Nothing,
    /// Not before this.
    Later(Instant),
    To(Address),
}

/// The connections; see the [module](self).
pub(super) struct Pool {
    sites: Vec<Site>,
    members: Vec<Member>,
    order: Order,
    jitter: Option<f64>,
    /// Changes with each call that is spread.
    picks: Arc<AtomicUsize>,
    /// Calls wait for a stream of the only connection.
    crowded: bool,
}

impl Pool {
    pub(super) fn new(order: Order, jitter: Option<f64>) -> Self {
        let (sites, members) = (Vec::new(), Vec::new());
        Self { sites, members, order, jitter, picks: Arc::default(), crowded: false }
    }

    /// Calls go to these addresses from here on, and to no other. True if connections were given up for it.
    pub(super) fn settle(&mut self, addresses: impl IntoIterator<Item = Address>) -> bool {
        let mut before = core::mem::take(&mut self.sites);
        let begins = self.members.is_empty();
        for address in addresses {
            if self.sites.iter().all(|site| site.address != address) {
                let known = before.iter().position(|site| site.address == address);
                let mut site = match known {
                    Some(at) => before.swap_remove(at),
                    None => {
                        Site { address, backoff: Backoff::new(self.jitter), not_before: None, rests: None }
                    }
                };
                site.rests = site.rests.filter(|_| !begins);
                self.sites.push(site);
            }
        }
        let (sites, had) = (&self.sites, self.members.len());
        self.members.retain(|member| {
            let stays = sites.iter().any(|site| site.address == member.address);
            if !stays {
                member.ops.drain();
            }
            stays
        });
        self.members.len() < had
    }

    /// A connection is ready. It takes the place of those to its address that are worn out.
    pub(super) fn add(&mut self, id: ConnectionId, ops: Ops, address: Address, began: Instant) {
        self.members.retain(|member| {
            let replaced = member.worn && member.address == address;
            if replaced {
                member.ops.drain();
            }
            !replaced
        });
        self.crowded = false;
        let since = self.picked();
        self.members.push(Member { id, ops, address, began, load: None, since, worn: false });
    }

    fn picked(&self) -> usize {
        self.picks.load(Ordering::Relaxed)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Member> {
        let at = self.members.iter().position(|member| member.id == id)?;
        Some(self.members.remove(at))
    }

    /// A connection takes no more calls; says where it went to, and when it was begun, if it was one of these.
    pub(super) fn lost(&mut self, id: ConnectionId, answered: bool) -> Option<(Address, Instant)> {
        let Member { address, since, began, .. } = self.remove(id)?;
        if !answered && since == self.picked() {
            self.let_rest(&address);
        }
        Some((address, began))
    }

    /// A connection was idle for long enough. Says where it went to.
    pub(super) fn rest(&mut self, id: ConnectionId) -> Option<Address> {
        let address = self.remove(id)?.address;
        self.let_rest(&address);
        Some(address)
    }

    fn let_rest(&mut self, address: &Address) {
        let picked = self.picked();
        if let Some(site) = self.site(address) {
            site.rests = Some(picked);
        }
    }

    fn site(&mut self, address: &Address) -> Option<&mut Site> {
        self.sites.iter_mut().find(|site| site.address == *address)
    }

    /// The last attempt to have a connection there, which began then, was in vain.
    pub(super) fn put_off(&mut self, address: &Address, began: Instant) {
        if let Some(site) = self.site(address) {
            site.not_before = Some(began + site.backoff.next());
        }
    }

    /// An attempt to have a connection there was not in vain.
    pub(super) fn encourage(&mut self, address: &Address) {
        if let Some(site) = self.site(address) {
            site.backoff.reset();
            site.not_before = None;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// True if calls are to be spread over several addresses.
    pub(super) fn is_spread(&self) -> bool {
        self.sites.len() > 1
    }

    /// True if calls go to this address, when there is a connection to it.
    pub(super) fn calls_go_to(&self, address: &Address) -> bool {
        self.sites.iter().any(|site| site.address == *address)
    }

    /// One of these addresses that a connection goes to.
    pub(super) fn connected<'a>(&self, addresses: &'a [Address]) -> Option<&'a Address> {
        addresses.iter().find(|address| self.members.iter().any(|member| member.address == **address))
    }

    /// Calls wait in the only connection.
    pub(super) fn crowded(&mut self, id: ConnectionId) {
        self.crowded |= self.members.iter().any(|member| member.id == id && member.load.is_none());
    }

    /// Nobody waits any more.
    pub(super) fn relax(&mut self) {
        self.crowded = false;
    }

    /// A connection's stream ids run out.
    pub(super) fn wears_out(&mut self, id: ConnectionId) {
        for member in self.members.iter_mut().filter(|member| member.id == id) {
            member.worn = true;
        }
    }

    /// Where another connection should go to. `waiting`: calls wait in the channel although it is ready. `since` says since when
    /// one is being made to an address.
    pub(super) fn wants_another(
        &self,
        waiting: bool,
        cap: usize,
        now: Instant,
        since: impl Fn(&Address) -> Option<Instant>,
    ) -> Want {
        let unclear = |member: &Member| {
            member.ops.is_closed() || member.load.as_ref().is_some_and(|load| !load.is_known())
        };
        // Its report is on the way; what waits may wait for that alone. And the first connection is the policy's.
        if self.members.is_empty() || self.members.iter().any(unclear) {
            return Want::Nothing;
        }
        let (pressed, picked) = (waiting || self.crowded, self.picked());
        let fresh = self.fresh();
        let fresh = |site: &Site| fresh.get(&site.address).copied().unwrap_or(0);
        // A second one to an address is the last resort: made alone, and when those to others had their time.
        let second_at = self
            .sites
            .iter()
            .filter_map(|site| Some((site, since(&site.address)?)))
            .try_fold(now, |at, (site, began)| {
                (fresh(site) == 0).then(|| at.max(began + CONNECTION_ATTEMPT_DELAY))
            });
        let place = |site: &'_ Site| match fresh(site) {
            _ if since(&site.address).is_some() => None,
            0 => (pressed || site.rests != Some(picked)).then_some(site.not_before),
            there => second_at
                .filter(|_| pressed && there < cap)
                .map(|at| site.not_before.max(Some(at).filter(|at| now < *at))),
        };
        let mut places: Vec<_> =
            self.sites.iter().filter_map(|site| Some((place(site)?, fresh(site), &site.address))).collect();
        // Where the last attempt failed the next one may fail, too: those come last, and take turns.
        places.sort_by_key(|(at, fresh, _)| (*at, *fresh));
        // Nobody tells that there are calls again.
        let resting = self.sites.iter().any(|site| site.rests == Some(picked) && fresh(site) == 0);
        let mut later = resting.then(|| now + LOOK_AGAIN);
        for (at, _, address) in places {
            match at.filter(|at| now < *at) {
                Some(at) => later = Some(later.map_or(at, |other: Instant| other.min(at))),
                None => return Want::To(address.clone()),
            }
        }
        later.map_or(Want::Nothing, Want::Later)
    }

    /// How many connections there are to each address that are not worn out.
    fn fresh(&self) -> HashMap<&Address, usize> {
        let mut fresh = HashMap::new();
        for member in self.members.iter().filter(|member| !member.worn) {
            let count: &mut usize = fresh.entry(&member.address).or_default();
            *count = count.saturating_add(1);
        }
        fresh
    }

    /// What the peer allows on each connection, if calls wait for that.
    pub(super) fn stream_limit(&self) -> Option<u32> {
        self.members.iter().find_map(|member| member.load.as_ref()).map(|load| load.limit())
    }

    /// True if a call would find a reserved stream, on a connection that is not over.
    pub(super) fn has_free_stream(&self) -> bool {
        self.members
            .iter()
            .any(|member| !member.ops.is_closed() && member.load.as_ref().is_some_and(|load| load.free() > 0))
    }

    /// Where calls go.
    pub(super) fn picker(&mut self) -> Arc<dyn Picker> {
        if let [Member { ops, load: None, .. }] = self.members.as_slice() {
            return Arc::new(One(Arc::clone(ops)));
        }
        self.spread()
    }

    /// The same, also where there is one: its streams are reserved from here on.
    pub(super) fn spread(&mut self) -> Arc<dyn Picker> {
        let share = |member: &mut Member| {
            let load = member.load.get_or_insert_with(|| {
                let load = Arc::<Load>::default();
                // One that is over has its report on the way.
                let _ = member.ops.push(ClientOp::Share(Arc::clone(&load)));
                load
            });
            (Arc::clone(&member.ops), Arc::clone(load))
        };
        let connections = self.members.iter_mut().map(share).collect();
        Arc::new(Spread::new(self.order, connections, Arc::clone(&self.picks)))
    }

    /// Lets every connection end when its calls have.
    pub(super) fn drain(&self) {
        for member in &self.members {
            member.ops.drain();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::Tcp(([127, 0, 0, 1], port).into())
    }

    /// No connection is being made.
    fn none(_: &Address) -> Option<Instant> {
        None
    }

    fn lost(pool: &mut Pool, id: ConnectionId, answered: bool) -> Option<Address> {
        pool.lost(id, answered).map(|(address, _)| address)
    }

    fn pool(ports: &[u16]) -> Pool {
        let mut pool = Pool::new(Order::LeastUsed, Some(0.5));
        pool.settle(ports.iter().map(|port| address(*port)));
        pool
    }

    #[test]
    fn every_address_gets_a_connection_and_a_failing_one_its_own_back_off() {
        let (mut pool, now) = (pool(&[1, 2, 3, 2]), Instant::now());
        assert_eq!(pool.wants_another(false, 4, now, none), Want::Nothing, "the first is the policy's");
        pool.add(1, Ops::default(), address(2), Instant::now());
        assert_eq!(pool.wants_another(false, 4, now, none), Want::To(address(1)));
        pool.put_off(&address(1), now);
        assert_eq!(pool.wants_another(false, 4, now, none), Want::To(address(3)));
        pool.add(3, Ops::default(), address(3), Instant::now());
        let first = now + Duration::from_secs(1);
        assert_eq!(pool.wants_another(false, 4, now, none), Want::Later(first));
        assert_eq!(pool.wants_another(false, 4, first, none), Want::To(address(1)));
        pool.put_off(&address(1), first);
        assert_eq!(
            pool.wants_another(false, 4, first, none),
            Want::Later(first + Duration::from_millis(1_600))
        );
    }

    /// An address that swallows what is sent to it takes all of the time an attempt may take, which is longer than the first waits.
    #[test]
    fn addresses_that_fail_slowly_keep_no_other_waiting() {
        let (mut pool, mut now) = (pool(&[1, 2, 3, 4]), Instant::now());
        pool.add(1, Ops::default(), address(4), Instant::now());
        let mut tried = Vec::new();
        for _ in 0..5 {
            let Want::To(to) = pool.wants_another(false, 4, now, none) else { panic!("some have none") };
            pool.put_off(&to, now);
            tried.push(to);
            now += Duration::from_secs(20);
        }
        assert_eq!(tried, [1, 2, 3, 1, 2].map(address));
        assert_eq!(
            pool.wants_another(true, 4, now, none),
            Want::To(address(4)),
            "calls wait: where it works first"
        );
    }

    #[test]
    fn connections_are_made_side_by_side() {
        let (mut pool, now) = (pool(&[1, 2, 3]), Instant::now());
        pool.add(1, Ops::default(), address(1), now);
        let to_2 = |to: &Address| (*to == address(2)).then_some(now);
        assert_eq!(pool.wants_another(false, 4, now, to_2), Want::To(address(3)), "nobody waits for the one");
        let to_both = |to: &Address| (*to != address(1)).then_some(now);
        assert_eq!(pool.wants_another(false, 4, now, to_both), Want::Nothing);
        let soon = now + CONNECTION_ATTEMPT_DELAY;
        assert_eq!(pool.wants_another(true, 4, now, to_both), Want::Later(soon), "those may suffice");
        assert_eq!(pool.wants_another(true, 4, soon, to_both), Want::To(address(1)));
        assert_eq!(
            pool.wants_another(true, 4, soon, |_| Some(now)),
            Want::Nothing,
            "a second one is made alone"
        );
        pool.add(2, Ops::default(), address(2), now);
        pool.add(3, Ops::default(), address(3), now);
        let to_1 = |to: &Address| (*to == address(1)).then_some(now);
        assert_eq!(pool.wants_another(true, 4, soon, to_1), Want::Nothing, "also one to another address");
    }

    #[test]
    fn calls_that_wait_get_a_connection_where_there_are_fewest() {
        let (mut pool, now) = (pool(&[1, 2]), Instant::now());
        for (id, port) in [(1, 1), (2, 2), (3, 1)] {
            pool.add(id, Ops::default(), address(port), Instant::now());
        }
        assert_eq!(pool.wants_another(false, 2, now, none), Want::Nothing);
        assert_eq!(pool.wants_another(true, 2, now, none), Want::To(address(2)));
        pool.add(4, Ops::default(), address(2), Instant::now());
        assert_eq!(pool.wants_another(true, 2, now, none), Want::Nothing, "the cap");
    }

    /// Two connections, and what says that a call was made.
    fn two() -> (Pool, impl Fn(&mut Pool)) {
        let mut pool = pool(&[1, 2]);
        pool.add(1, Ops::default(), address(1), Instant::now());
        pool.add(2, Ops::default(), address(2), Instant::now());
        let called = |pool: &mut Pool| {
            let inbound = Arc::new(crate::inbound::Inbound::unopened(crate::inbound::WakeAt::End));
            let _ = pool.picker().pick(&crate::client::StartCall::for_tests(inbound));
            for load in pool.members.iter().filter_map(|member| member.load.as_ref()) {
                load.begin(0, 100);
            }
        };
        (pool, called)
    }

    #[test]
    fn an_address_whose_connection_was_idle_rests_until_there_are_calls() {
        let (mut pool, called) = two();
        let now = Instant::now();
        called(&mut pool);
        assert_eq!(pool.rest(2), Some(address(2)));
        assert_eq!(pool.wants_another(false, 4, now, none), Want::Later(now + LOOK_AGAIN));
        assert_eq!(pool.wants_another(true, 4, now, none), Want::To(address(2)), "calls wait");
        pool.settle([address(1), address(2)]);
        assert_eq!(pool.wants_another(false, 4, now, none), Want::Later(now + LOOK_AGAIN), "it rests still");
        called(&mut pool);
        assert_eq!(
            pool.wants_another(false, 4, now, none),
            Want::To(address(2)),
            "the other one is not to do it all"
        );
    }

    /// A server that ends idle connections sooner than we do, and a channel that nobody uses.
    #[test]
    fn a_connection_that_nobody_used_is_not_made_again_before_there_are_calls() {
        let (mut pool, called) = two();
        let now = Instant::now();
        called(&mut pool);
        assert_eq!(lost(&mut pool, 2, false), Some(address(2)));
        assert_eq!(
            pool.wants_another(false, 4, now, none),
            Want::To(address(2)),
            "somebody called meanwhile"
        );
        pool.add(3, Ops::default(), address(2), Instant::now());
        assert_eq!(lost(&mut pool, 3, false), Some(address(2)));
        assert_eq!(pool.wants_another(false, 4, now, none), Want::Later(now + LOOK_AGAIN));
        called(&mut pool);
        assert_eq!(pool.wants_another(false, 4, now, none), Want::To(address(2)));
        pool.add(4, Ops::default(), address(2), Instant::now());
        assert_eq!(lost(&mut pool, 4, true), Some(address(2)));
        assert_eq!(pool.wants_another(false, 4, now, none), Want::To(address(2)), "it was used");
    }

    #[test]
    fn an_address_that_is_gone_loses_its_connections() {
        let (mut pool, now) = (pool(&[1, 2]), Instant::now());
        pool.add(1, Ops::default(), address(1), Instant::now());
        pool.add(2, Ops::default(), address(2), Instant::now());
        assert!(!pool.settle([address(2), address(1)]));
        assert!(pool.settle([address(2), address(3)]));
        assert_eq!((pool.len(), pool.lost(1, true)), (1, None));
        assert_eq!(pool.connected(&[address(1), address(3)]), None);
        assert_eq!(pool.connected(&[address(3), address(2)]), Some(&address(2)));
        assert_eq!(pool.wants_another(false, 4, now, none), Want::To(address(3)));
    }
}
