//! Interceptors of a whole server.

use crate::intercept::{IntoInterceptor, Stack};
use crate::server::Server;

impl Server {
    /// Puts an interceptor around every method of every service added from here on; of several the first is the outermost. See
    /// [`intercept`](crate::intercept) for what it can do.
    ///
    /// Default: none. Calls of methods that nobody intercepts do not pay for it.
    #[must_use]
    pub fn interceptor<Form>(mut self, interceptor: impl IntoInterceptor<Form>) -> Self {
        self.interceptors = Some(Stack::and(self.interceptors.as_ref(), interceptor.into_interceptor()));
        self
    }
}
