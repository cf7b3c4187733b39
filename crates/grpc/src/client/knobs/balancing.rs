//! Which of several addresses calls go to.

use crate::balance::Order;
use crate::client::{Endpoint, ServiceConfig};

/// Which of a target's addresses calls go to (gRPC's load balancing page).
///
/// Every call is placed for itself: a backend that is slow holds no more calls than it is slower, and one that is gone
/// gets none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum LoadBalancing {
    /// A connection to each; a call goes where the fewest are under way, and among equals to each in turn (gRFC A48, of all addresses
    /// instead of a few by chance).
    #[default]
    LeastRequest,
    /// A connection to each; calls go to each in turn.
    RoundRobin,
    /// One connection, to the first that takes one: all calls go there.
    PickFirst,
}

impl LoadBalancing {
    /// The policy of that name in a service config.
    pub(in crate::client) fn named(name: &str) -> Option<Self> {
        match name {
            "least_request_experimental" => Some(Self::LeastRequest),
            "round_robin" => Some(Self::RoundRobin),
            "pick_first" => Some(Self::PickFirst),
            _ => None,
        }
    }

    pub(in crate::client) const fn order(self) -> Order {
        match self {
            Self::LeastRequest | Self::PickFirst => Order::LeastUsed,
            Self::RoundRobin => Order::InTurn,
        }
    }
}

impl Endpoint {
    /// Which of the target's addresses calls go to, if there are several: `ipv4:10.0.0.1:50051,10.0.0.2:50051`, or a name
    /// with several addresses, of which those of one family are used. Connections are made side by side; for the first one an
    /// address has 250 ms before the next is tried beside it, the families by turns (RFC 8305, gRFC A61). An address that takes
    /// no connection is tried again after gRPC's back-off, and the name is resolved again when a connection is lost, every
    /// 30 s at most.
    ///
    /// Default: [`LoadBalancing::LeastRequest`]; gRPC's own is `pick_first`, which sends all calls to one backend. What a
    /// service config says counts more.
    #[must_use]
    pub fn load_balancing(mut self, policy: LoadBalancing) -> Self {
        self.balancing = policy;
        self
    }

    /// True if the addresses are to be tried in an order of chance.
    pub(in crate::client) fn shuffles(&self) -> bool {
        self.repeats.config.as_ref().is_some_and(ServiceConfig::shuffles_addresses)
    }

    /// What counts.
    pub(in crate::client) fn balancing(&self) -> LoadBalancing {
        let config = self.repeats.config.as_ref().and_then(|config| config.load_balancing_policy());
        config.and_then(LoadBalancing::named).unwrap_or(self.balancing)
    }
}
