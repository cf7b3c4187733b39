//! The client: channels, and calls over them.
//!
//! How a call goes: [`Grpc`] encodes the request on the caller's thread, the [`Channel`] asks its picker for a connection, and
//! one operation hands the call to the task that owns it. That task puts it on a stream, or lets it wait for one, and
//! collects the answer; a unary caller is woken once, at the end, and decodes on its own thread. No lock is held around a
//! connection.
//!
//! A call that never left (its connection went away first) is given to another connection, as often as it takes; one that
//! the peer refused unseen is sent once more (gRFC A6). What else is sent again a [`ServiceConfig`] says, by method. Dropping a call's future, or its [`Streaming`](crate::Streaming),
//! cancels it.
//!
//! ```no_run
//! use bytes::Bytes;
//! use clearway::Request;
//! use clearway::client::{Grpc, MethodPath};
//! use clearway::codec::BytesCodec;
//! use clearway::transport::Endpoint;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! const ECHO: MethodPath = MethodPath::from_static("/demo.Echo/Echo");
//! let grpc = Grpc::new(Endpoint::from_static("http://127.0.0.1:50051").connect().await?);
//! let answer = grpc.unary(Request::new(Bytes::from_static(b"hello")), ECHO, BytesCodec).await?;
//! println!("{:?}", answer.into_inner());
//! # Ok(())
//! # }
//! ```

mod addresses;
mod attempts;
mod background;
mod backoff;
mod channel;
mod connecting;
mod connection;
mod dial;
mod endpoint;
mod grpc;
mod head;
#[cfg(feature = "tower")]
mod http;
mod intercepted;
mod keepalive;
mod knobs;
#[cfg(all(test, clearway_loom))]
mod loom_models;
mod one_call;
mod outgoing;
mod path;
mod pool;
mod replay;
mod response;
mod route;
mod service_config;
mod sharing;
mod start;
mod stats;
mod upload;
mod waiting;

pub use channel::Channel;
pub use endpoint::{DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_QUEUED_CALLS, Endpoint};
pub use grpc::{DEFAULT_MAX_DECODING_MESSAGE_SIZE, Grpc};
pub use knobs::{
    DEFAULT_IDLE_TIMEOUT, DEFAULT_KEEP_ALIVE_INTERVAL, DEFAULT_KEEP_ALIVE_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS_PER_ADDRESS, DEFAULT_PROBE_AFTER_SILENCE, DEFAULT_RETRY_BUFFER_SIZE,
    DEFAULT_RETRY_CALL_BUFFER_SIZE, LoadBalancing, MIN_KEEP_ALIVE_INTERVAL, MIN_KEEP_ALIVE_TIMEOUT,
};
pub use path::{InvalidPath, MethodPath};
pub use route::{CallRoute, GrpcService};
pub use service_config::{HedgingPolicy, MethodConfig, RetryPolicy, RetryThrottling, ServiceConfig};
pub use stats::ChannelStats;

pub(crate) use attempts::Throttle;
pub(crate) use connection::Ops;
#[cfg(feature = "tower")]
pub use http::ResponseFuture;
#[cfg(feature = "tower")]
pub(crate) use http::without_status;
pub(crate) use knobs::user_timeout;
pub(crate) use start::{StartCall, unsent};
pub(crate) use waiting::{Place, Places, QueueFull};
