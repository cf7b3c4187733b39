//! [`InterceptedService`]: an interceptor around one client's channel, or around one service.

use core::fmt;
use core::marker::PhantomData;
use std::sync::OnceLock;

use super::stack::AnyInterceptor;
use super::{IntoInterceptor, Stack};
use crate::client::{CallRoute, GrpcService};
use crate::server::{Methods, NamedService, Service};

/// A channel, or a service, with an interceptor around it.
///
/// Around a channel it is what clients are made of; around a service it is what a server is given. `with_interceptor` of generated
/// clients and servers makes one. It has no task and no lock; clones share the interceptor.
pub struct InterceptedService<S, I> {
    inner: S,
    interceptor: AnyInterceptor,
    /// On a client: this one and those inside, once that was asked for.
    stack: OnceLock<Stack>,
    of: PhantomData<fn() -> I>,
}

impl<S, I> InterceptedService<S, I> {
    /// Puts `interceptor` around `inner`. It is an [`Intercept`](super::Intercept), or a function of `Request<()>`
    /// ([`Interceptor`](super::Interceptor)).
    pub fn new<Form>(inner: S, interceptor: I) -> Self
    where
        I: IntoInterceptor<Form>,
    {
        let interceptor = interceptor.into_interceptor();
        Self { inner, interceptor, stack: OnceLock::new(), of: PhantomData }
    }
}

impl<S: Clone, I> Clone for InterceptedService<S, I> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            interceptor: self.interceptor.clone(),
            stack: self.stack.clone(),
            of: PhantomData,
        }
    }
}

impl<S: fmt::Debug, I> fmt::Debug for InterceptedService<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterceptedService")
            .field("inner", &self.inner)
            .field("interceptor", &format_args!("{}", core::any::type_name::<I>()))
            .finish()
    }
}

impl<S: GrpcService, I: 'static> GrpcService for InterceptedService<S, I> {
    fn route(&self) -> CallRoute<'_> {
        let inner = self.inner.route();
        let stack =
            self.stack.get_or_init(|| Stack::and(None, self.interceptor.clone()).around(inner.interceptors));
        CallRoute { interceptors: Some(stack), ..inner }
    }
}

impl<S: Service, I: 'static> Service for InterceptedService<S, I> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(self, methods: &mut Methods<'_>) {
        methods.intercept(self.interceptor);
        self.inner.register(methods);
    }
}

impl<S: NamedService, I> NamedService for InterceptedService<S, I> {
    const NAME: &'static str = S::NAME;
}
