//! Who is told of handlers that run on although their call is over.

use core::time::Duration;
use std::sync::Arc;

use crate::server::{Overrun, Server};

impl Server {
    /// Calls `report` when a handler has run on for [`Server::overrun_after`] after its call was over, and again when it has ended.
    /// It says which method that is. `report` may be called by any task and must return quickly.
    ///
    /// Without it such handlers are counted ([`ServerCounters::overruns`](crate::transport::ServerCounters::overruns)) and a warning
    /// goes to `tracing`, at most ten a second.
    ///
    /// ```
    /// use clearway::transport::Server;
    ///
    /// // the handler of /shop.Orders/Place still runs 1.0s after its call was cancelled
    /// let server = Server::builder().on_overrun(|overrun| eprintln!("{overrun}"));
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn on_overrun(mut self, report: impl Fn(&Overrun) + Send + Sync + 'static) -> Self {
        self.overruns.report = Some(Arc::new(report));
        self
    }

    /// How long a handler may run on after its call was over before it is counted and named.
    ///
    /// Default: 1 second. With [`Duration::ZERO`] every handler is that has not ended when this server looks, right after its call was
    /// over, also one that is being dropped.
    #[must_use]
    pub fn overrun_after(mut self, after: Duration) -> Self {
        self.overruns.after = Some(after);
        self
    }
}
