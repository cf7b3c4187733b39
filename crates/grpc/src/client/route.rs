//! [`GrpcService`]: what calls can be made through, and what [`Grpc`](super::Grpc) asks of it.

use core::fmt;
use std::sync::Arc;

use super::channel::{Channel, Shared};
#[cfg(feature = "tower")]
use super::http::HttpService;
use crate::intercept::Stack;

/// What calls can be made through: a [`Channel`], or something around one.
///
/// Something of your own around one of these passes its route on:
///
/// ```
/// use clearway::client::{CallRoute, GrpcService};
/// use clearway::transport::Channel;
///
/// #[derive(Clone)]
/// struct Named(&'static str, Channel);
///
/// impl GrpcService for Named {
///     fn route(&self) -> CallRoute<'_> {
///         self.1.route()
///     }
/// }
/// ```
pub trait GrpcService: Clone + Send + Sync + 'static {
    /// Which way calls go.
    fn route(&self) -> CallRoute<'_>;
}

/// Which way calls go: a channel, or a service around one, and the interceptors on the way there.
#[derive(Clone, Copy)]
pub struct CallRoute<'a> {
    pub(crate) via: Via<'a>,
    pub(crate) interceptors: Option<&'a Stack>,
}

/// What is at the end of a route.
#[derive(Clone, Copy)]
pub(crate) enum Via<'a> {
    Channel(&'a Channel),
    #[cfg(feature = "tower")]
    Http(&'a dyn HttpService),
}

impl<'a> CallRoute<'a> {
    pub(crate) fn of_channel(channel: &'a Channel) -> Self {
        Self { via: Via::Channel(channel), interceptors: channel.shared().interceptors.as_ref() }
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn of_service(service: &'a dyn HttpService) -> Self {
        Self { via: Via::Http(service), interceptors: None }
    }

    /// What is known of the channel, if it is one.
    pub(crate) fn shared(self) -> Option<&'a Arc<Shared>> {
        match self.via {
            Via::Channel(channel) => Some(channel.shared()),
            #[cfg(feature = "tower")]
            Via::Http(_) => None,
        }
    }
}

impl fmt::Debug for CallRoute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallRoute").field("interceptors", &self.interceptors).finish_non_exhaustive()
    }
}

#[cfg(not(feature = "tower"))]
impl GrpcService for Channel {
    fn route(&self) -> CallRoute<'_> {
        CallRoute::of_channel(self)
    }
}
