//! What becomes of a handler whose call is cancelled: [`OnCancel`].

use super::{Methods, NamedService, Service};

/// What becomes of a handler whose call is over before it is: the client gave it up, its deadline passed, or the connection
/// is gone. The client is told at once in every case, and what the handler still says is thrown away.
///
/// A handler that runs on takes up the room of a call (see
/// [`Server::max_concurrent_streams`](crate::transport::Server::max_concurrent_streams)), and if it does so for long it is counted and
/// named: [`Server::on_overrun`](crate::transport::Server::on_overrun).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[repr(u8)]
pub enum OnCancel {
    /// Its future is dropped where it awaits. What it must do in any case belongs into a `Drop`, or into a task.
    #[default]
    Drop = 0,
    /// It goes on and is told: [`Request::cancelled`](crate::Request::cancelled), [`CallContext`](crate::CallContext). The calls it
    /// made are cancelled, and calls it makes from then on fail at once, unless they are detached from the context. A response stream is
    /// read on, until it ends by itself.
    Token = 1,
    /// It goes on to its end. Calls it makes do not take part in the context: they have their own deadline, if any, and
    /// nothing cancels them. It can still ask whether somebody waits.
    Detached = 2,
}

impl OnCancel {
    pub(crate) const fn read(octet: u8) -> Self {
        match octet {
            1 => Self::Token,
            2 => Self::Detached,
            _ => Self::Drop,
        }
    }
}

/// A service whose owner chose what becomes of handlers whose call is cancelled; made by [`Service::on_cancel`].
#[derive(Clone, Debug)]
pub struct Cancelling<S> {
    service: S,
    on_cancel: OnCancel,
}

impl<S> Cancelling<S> {
    pub(super) const fn new(service: S, on_cancel: OnCancel) -> Self {
        Self { service, on_cancel }
    }
}

impl<S: Service> Service for Cancelling<S> {
    fn name(&self) -> &str {
        self.service.name()
    }

    fn register(self, methods: &mut Methods<'_>) {
        methods.when_cancelled(self.on_cancel);
        self.service.register(methods);
    }
}

impl<S: NamedService> NamedService for Cancelling<S> {
    const NAME: &'static str = S::NAME;
}
