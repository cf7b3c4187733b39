//! The server: services, the methods they are made of, and the connections that call them.
//!
//! A [`Service`] registers its methods with [`Methods`]; generated code does that for a trait, [`GenericService`] for plain
//! functions. [`Server`] holds the knobs, [`Router`] the services, and serves them.
//!
//! How a call goes: the connection's task finds the method by the path, collects the request's message, decodes it where it
//! lies, builds the handler's future and polls it once, in place. If that is enough, the response is encoded straight into
//! the connection's output and no task ever existed; if not, the same future is spawned and its answer comes back as an
//! operation. Handlers of streams are spawned when the request begins; when messages have come for one that waits, the connection's task polls it
//! where it is, and what it answers goes straight into the output, too.
//!
//! A method that turns out to be slow, or seldom ready at once, is left to tasks; see [`Placement`].
//!
//! Left out so far: the services health, reflection and channelz.

mod admit;
mod call;
mod connection;
mod contain;
mod counters;
#[cfg(feature = "tower")]
mod dispatch;
mod drain;
mod generic;
mod incoming;
mod intake;
mod intercepted;
mod knobs;
mod known;
#[cfg(feature = "tower")]
mod layers;
mod methods;
mod on_cancel;
mod ops;
mod origin;
mod overrun;
mod per_core;
mod placement;
mod respond;
mod run;
mod serve;
mod streaming;
mod task;
mod unary;
mod via;
mod visit;

pub use counters::ServerCounters;
pub use drain::{DrainReport, UnfinishedCall};
pub use generic::GenericService;
#[cfg(feature = "tls")]
pub use knobs::tls::HandshakeFailure;
#[cfg(feature = "tower")]
pub use layers::ServerService;
pub use methods::Methods;
pub use on_cancel::{Cancelling, OnCancel};
pub(crate) use origin::Origin;
pub use overrun::{CallEnd, Overrun};
pub use per_core::ThreadPerCore;
pub use placement::Placement;
pub use serve::{Router, Server};

/// A service: a name and its methods.
pub trait Service: Send + 'static {
    /// The full name, `package.Service`.
    fn name(&self) -> &str;

    /// Adds every method of the service to `methods`.
    fn register(self, methods: &mut Methods<'_>);

    /// The same service with its handlers polled where `placement` says, whichever way it was made. Default:
    /// [`Placement::Auto`].
    fn placed(self, placement: Placement) -> Placed<Self>
    where
        Self: Sized,
    {
        Placed { service: self, placement }
    }

    /// The same service with handlers that are treated as `on_cancel` says when their call is cancelled, whichever way it was
    /// made. Default: [`OnCancel::Drop`]. One call can choose for itself: [`CallContext::on_cancel`](crate::CallContext::on_cancel).
    fn on_cancel(self, on_cancel: OnCancel) -> Cancelling<Self>
    where
        Self: Sized,
    {
        Cancelling::new(self, on_cancel)
    }
}

/// A service whose handlers are polled where its owner said; made by [`Service::placed`].
#[derive(Clone, Debug)]
pub struct Placed<S> {
    service: S,
    placement: Placement,
}

impl<S: Service> Service for Placed<S> {
    fn name(&self) -> &str {
        self.service.name()
    }

    fn register(self, methods: &mut Methods<'_>) {
        methods.placement(self.placement);
        self.service.register(methods);
    }
}

impl<S: NamedService> NamedService for Placed<S> {
    const NAME: &'static str = S::NAME;
}

/// A service whose name is known when the program is written.
pub trait NamedService {
    /// The full name, `package.Service`.
    const NAME: &'static str;
}
