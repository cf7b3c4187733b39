//! Interceptors of a whole channel.

use crate::client::Endpoint;
use crate::intercept::{IntoInterceptor, Stack};

impl Endpoint {
    /// Puts an interceptor around every call of the channel; of several the first is the outermost. See
    /// [`intercept`](crate::intercept) for what it can do. It runs once for a call, however often that is attempted.
    ///
    /// Default: none.
    #[must_use]
    pub fn interceptor<Form>(mut self, interceptor: impl IntoInterceptor<Form>) -> Self {
        self.interceptors = Some(Stack::and(self.interceptors.as_ref(), interceptor.into_interceptor()));
        self
    }
}
