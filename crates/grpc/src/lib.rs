//! gRPC you can see through: server and client on an HTTP/2 engine of our own.
//!
//! The shapes follow tonic, so that a typical service written for it compiles after its crate name is changed; what differs is
//! in the repository's `docs/from-tonic.md`. A server and a client with generated code are in its README, and calls without
//! generated code in [`client`] and at [`transport::Router::in_process`].
//!
//! Everything runs on tokio: servers and channels are made inside of a runtime, and timeouts need its time driver
//! (`enable_time`, which `#[tokio::main]` does).
//!
//! * [`transport::Server`] serves what generated code ([`include_proto!`], crate `clearway-build`) or
//!   [`server::GenericService`] describes.
//! * [`transport::Endpoint`] makes a [`transport::Channel`], which generated clients and [`client::Grpc`] call through.
//! * [`Status`] says how a call ended, and what happened on the transport if that was why.
//! * [`observe`] shows every frame of a connection as it goes by.
//! * [`intercept`] looks at calls from outside, on either side; [`faults`] lets them go wrong on purpose, for tests.
//!
//! Cargo feature `tls` (off by default) brings TLS: [`transport::Server`]'s and [`transport::Endpoint`]'s `tls_config`, and
//! targets with `https://`.
//!
//! Cargo features `gzip`, `deflate` and `zstd` (off by default) bring the algorithms of those names as constants of
//! [`codec::CompressionEncoding`]; others plug in with or without them.
//!
//! Cargo feature `tower` (off by default) brings middleware: `Server::layer`, and clients over any tower `Service` around a channel.
//!
//! Cargo feature `service-config` (off by default) reads [`client::ServiceConfig`] from JSON.
//!
//! Cargo feature `handover` (off by default) takes listening sockets over from a parent and passes them on: rolling restarts.
//!
//! Left out so far: the services health, reflection and channelz; balancing by what backends report; gRPC-Web.

mod attempt;
mod balance;
mod cause;
mod chance;
mod code;

mod deadline;
mod error;
pub mod error_details;
pub mod faults;
mod framing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod inbound;
#[cfg(all(test, clearway_loom))]
mod loom_models;
mod message_queue;
mod percent;
mod request;
mod resolve;
mod scratch;
mod seat;
mod send_buffer;
mod sparing;
mod status;
mod streaming;
mod sync;
#[cfg(feature = "tls")]
mod tls_reload;

#[cfg(feature = "tower")]
pub mod body;
pub mod client;
pub mod codec;
pub mod context;
pub mod intercept;
pub mod metadata;
pub mod server;

pub use clearway_macros::async_trait;
pub use code::Code;
pub use context::{CallContext, CancellationToken};
pub use error::Error;
pub use http::Extensions;
pub use intercept::GrpcMethod;
pub use request::{IntoRequest, IntoStreamingRequest, Request, Response};
pub use status::Status;
pub use streaming::Streaming;

/// Servers, channels and the addresses they use.
pub mod transport {
    pub use crate::Error;
    pub use crate::attempt::Attempt;
    pub use crate::cause::{
        Blocked, CallPhase, ConnectionInfo, Oversized, Processed, TransportCause, TransportEvent,
    };
    pub use crate::client::{Channel, ChannelStats, Endpoint, LoadBalancing};
    #[cfg(feature = "tls")]
    pub use crate::server::HandshakeFailure;
    pub use crate::server::{DrainReport, Router, Server, ServerCounters, ThreadPerCore, UnfinishedCall};
    #[cfg(feature = "tls")]
    pub use clearway_transport::tls::{
        Certificate, CertificateDer, ClientTlsConfig, Identity, IdentityError, PeerIdentity, Reload,
        ReloadEvent, ReloadOutcome, ServerTlsConfig, TlsPeer, TlsVersion, rustls,
    };
    pub use clearway_transport::{
        Address, AddressError, CloseReason, Closed, ConnectFault, ConnectPhase, Listener, PeerAddr, Spoken,
        Stream, TlsAlert, TlsError, TlsFailure, WrongProtocol, pair,
    };
    #[cfg(feature = "handover")]
    pub use clearway_transport::{Handover, notify_ready};
}

/// Interceptors under the paths that tonic has for them; all there is to know is in [`intercept`].
pub mod service {
    pub use crate::intercept::{InterceptedService, Interceptor};

    /// [`InterceptedService`].
    pub mod interceptor {
        pub use crate::intercept::{InterceptedService, Interceptor};
    }
}

/// Includes the code that `clearway-build` generated for a package: `include_proto!("hello")`.
#[macro_export]
macro_rules! include_proto {
    ($package:tt) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}

/// Includes a file descriptor set that `clearway-build` wrote into the build's output folder.
#[macro_export]
macro_rules! include_file_descriptor_set {
    ($name:tt) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bin"))
    };
}

/// What generated code names. Not for use by hand.
#[doc(hidden)]
pub mod codegen {
    pub use core::future::Future;
    pub use futures_core::Stream;
    pub use prost;
    pub use std::sync::Arc;
}

/// What happens on a connection, as it happens: every frame, field and stream.
pub mod observe {
    pub use clearway_http2::frame::{Flags, FrameHeader, Kind};
    pub use clearway_http2::hpack::{Field, Name};
    pub use clearway_http2::{BlockedOn, Direction, Instant, Observer, Trace};
}
