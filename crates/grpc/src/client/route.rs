//! [`GrpcService`]: what calls can be made through, and what [`Grpc`](super::Grpc) asks of it.

use super::channel::Channel;
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

/// Which way calls go: a channel, and the interceptors on the way there.
#[derive(Clone, Copy, Debug)]
pub struct CallRoute<'a> {
    pub(crate) channel: &'a Channel,
    pub(crate) interceptors: Option<&'a Stack>,
}

impl GrpcService for Channel {
    fn route(&self) -> CallRoute<'_> {
        CallRoute { channel: self, interceptors: self.shared().interceptors.as_ref() }
    }
}
