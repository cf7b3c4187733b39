//! `pick_first`: connections to one address, the first that takes one (gRPC's load balancing page, gRFC A62).
//!
//! Addresses are tried in order; one that takes long is not waited for, the next is tried beside it (gRFC A61, RFC 8305).
//!
//! Without calls it has no connection and stays idle. When every address failed it says so and tries again after the
//! back-off, and calls fail until a connection is up (A62: the failure is sticky).
//!
//! Left out: pauses between passes for each address alone; the back-off is for all of them.

use std::sync::Arc;
use std::vec;

use clearway_transport::Address;

use super::{Connectivity, FailAll, Next, Picker, Policy, Published, QueueAll, Reaction};
use crate::cause::TransportEvent;
use crate::client::unsent;
use crate::{Code, Status};

/// The policy; see the [module](self).
#[derive(Default)]
pub(crate) struct PickFirst {
    /// Addresses that were not tried in this pass.
    left: vec::IntoIter<Address>,
    /// Attempts that neither failed nor brought a connection.
    under_way: usize,
    /// Calls fail until a connection is up.
    failing: bool,
}

impl PickFirst {
    fn publish(state: Connectivity) -> Option<Published> {
        Some(Published { state, picker: Arc::new(QueueAll) })
    }

    /// Tries the next address, if there is one.
    fn try_next(&mut self) -> Option<Next> {
        let address = self.left.next()?;
        self.under_way = self.under_way.saturating_add(1);
        Some(Next::Connect(address))
    }

    /// The same; when there is none, and the last attempt is over, calls fail with what went wrong there.
    fn advance(&mut self, why: impl FnOnce() -> Status) -> Reaction {
        match self.try_next() {
            None if self.under_way == 0 => self.give_up(why()),
            next => Reaction { publish: None, next: next.unwrap_or(Next::Rest) },
        }
    }

    fn give_up(&mut self, why: Status) -> Reaction {
        self.failing = true;
        let picker = Arc::new(FailAll(why.clone()));
        let publish = Some(Published { state: Connectivity::TransientFailure(why), picker });
        Reaction { publish, next: Next::BackOff }
    }
}

impl Policy for PickFirst {
    fn wanted(&mut self) -> Reaction {
        let publish = if self.failing { None } else { Self::publish(Connectivity::Connecting) };
        Reaction { publish, next: Next::Resolve }
    }

    fn resolved(&mut self, answer: Result<Vec<Address>, Status>) -> Reaction {
        match answer {
            Ok(addresses) => {
                (self.left, self.under_way) = (addresses.into_iter(), 0);
                self.advance(|| Status::from_transport(Code::Unavailable, unsent(TransportEvent::NoAddress)))
            }
            Err(why) => self.give_up(why),
        }
    }

    fn ready(&mut self, connections: Arc<dyn Picker>) -> Reaction {
        *self = Self::default();
        let publish = Some(Published { state: Connectivity::Ready, picker: connections });
        Reaction { publish, next: Next::Rest }
    }

    fn slow(&mut self) -> Reaction {
        Reaction { publish: None, next: self.try_next().unwrap_or(Next::Rest) }
    }

    fn failed(&mut self, why: Status) -> Reaction {
        self.under_way = self.under_way.saturating_sub(1);
        self.advance(|| why)
    }

    fn gone(&mut self) -> Reaction {
        Reaction { publish: Self::publish(Connectivity::Idle), next: Next::Rest }
    }

    fn rested(&mut self) -> Reaction {
        Reaction { publish: None, next: Next::Resolve }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use crate::balance::{One, Pick};
    use crate::client::{Ops, StartCall};
    use crate::inbound::{Inbound, WakeAt};

    fn addresses(ports: &[u16]) -> Vec<Address> {
        ports.iter().map(|port| Address::Tcp(([127, 0, 0, 1], *port).into())).collect()
    }

    /// State and pick in one word, and what comes next.
    fn told(reaction: Reaction) -> (String, Next) {
        let call = StartCall::for_tests(Arc::new(Inbound::unopened(WakeAt::End)));
        let text = reaction.publish.map_or_else(String::new, |published| {
            let pick = match published.picker.pick(&call) {
                Pick::Connection(_) | Pick::Reserved(_) => "connection".to_owned(),
                Pick::Queue => "queue".to_owned(),
                Pick::Fail(status) => format!("fail {}", status.message()),
                Pick::Drop(_) => "drop".to_owned(),
            };
            let state = match published.state {
                Connectivity::Idle => "idle",
                Connectivity::Connecting => "connecting",
                Connectivity::Ready => "ready",
                Connectivity::TransientFailure(_) => "failure",
                Connectivity::Shutdown => "shutdown",
            };
            format!("{state}: {pick}")
        });
        (text, reaction.next)
    }

    fn connect(port: u16) -> Next {
        Next::Connect(Address::Tcp(([127, 0, 0, 1], port).into()))
    }

    fn why(text: &'static str) -> Status {
        Status::new(Code::Unavailable, text)
    }

    #[test]
    fn addresses_are_tried_in_order_and_the_first_that_answers_takes_the_calls() {
        let mut policy = PickFirst::default();
        assert_eq!(told(policy.wanted()), ("connecting: queue".to_owned(), Next::Resolve));
        assert_eq!(told(policy.resolved(Ok(addresses(&[1, 2])))), (String::new(), connect(1)));
        assert_eq!(told(policy.failed(why("a"))), (String::new(), connect(2)));
        assert_eq!(
            told(policy.ready(Arc::new(One(Ops::default())))),
            ("ready: connection".to_owned(), Next::Rest)
        );
        assert_eq!(told(policy.gone()), ("idle: queue".to_owned(), Next::Rest));
    }

    #[test]
    fn the_next_address_is_tried_beside_one_that_is_slow() {
        let mut policy = PickFirst::default();
        let _ = policy.wanted();
        assert_eq!(told(policy.resolved(Ok(addresses(&[1, 2, 3])))), (String::new(), connect(1)));
        assert_eq!(told(policy.slow()), (String::new(), connect(2)));
        assert_eq!(told(policy.failed(why("a"))), (String::new(), connect(3)));
        assert_eq!(told(policy.slow()), (String::new(), Next::Rest), "there is no other");
        assert_eq!(told(policy.failed(why("b"))), (String::new(), Next::Rest), "one is under way");
        assert_eq!(told(policy.failed(why("c"))), ("failure: fail c".to_owned(), Next::BackOff));
        assert_eq!(told(policy.resolved(Ok(addresses(&[1])))), (String::new(), connect(1)));
        assert_eq!(told(policy.failed(why("d"))).1, Next::BackOff, "the passes before do not count");
    }

    #[test]
    fn failure_is_sticky_until_a_connection_is_up() {
        let mut policy = PickFirst::default();
        let _ = policy.wanted();
        let _ = policy.resolved(Ok(addresses(&[1])));
        assert_eq!(told(policy.failed(why("a"))), ("failure: fail a".to_owned(), Next::BackOff));
        assert_eq!(told(policy.rested()), (String::new(), Next::Resolve));
        assert_eq!(told(policy.resolved(Err(why("b")))), ("failure: fail b".to_owned(), Next::BackOff));
        assert_eq!(told(policy.resolved(Ok(addresses(&[1])))), (String::new(), connect(1)));
        assert_eq!(told(policy.ready(Arc::new(One(Ops::default())))).0, "ready: connection");
        assert_eq!(told(policy.gone()).0, "idle: queue");
        assert_eq!(told(policy.wanted()).0, "connecting: queue");
    }

    #[test]
    fn no_address_at_all_is_a_failure() {
        let mut policy = PickFirst::default();
        let (text, next) = told(policy.resolved(Ok(Vec::new())));
        assert_eq!(
            (text.as_str(), next),
            (
                "failure: fail the resolver gave no address; the peer has not processed the call",
                Next::BackOff
            )
        );
    }
}
