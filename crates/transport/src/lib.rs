//! The tokio side of clearway: sockets, and the one task that drives one HTTP/2 connection.
//!
//! A [`Driver`] is a future that owns a socket, a [`Connection`](clearway_http2::Connection) and an [`Application`]; nobody
//! else touches them, so there is no lock around a connection. Other tasks reach it through its [`OpQueue`]. The driver
//! is generic over the application and its operations and knows nothing of what they mean: this crate names no gRPC
//! type.
//!
//! Feature `tls` brings the module `tls`, with rustls; without it, connections are cleartext. `tls-webpki-roots` and `tls-native-roots`
//! bring sets of root certificates to choose.
//!
//! Feature `handover`: listening sockets that are inherited and passed on to a successor.
//!
//! Left out: PROXY protocol, io_uring.

mod accept;
mod address;
mod application;
mod buffers;
mod cause;
mod clock;
mod connect;
mod driver;
mod fault;
mod first_octets;
#[cfg(feature = "handover")]
mod handover;
#[cfg(all(test, clearway_loom))]
mod loom_models;
mod loopback;
mod op_queue;
mod peer;
mod stream;
mod sync;
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;

pub use accept::{Listener, UnixPath, accept_loop};
pub use address::{Address, AddressError, PeerAddr};
pub use application::Application;
pub use cause::{CloseReason, Closed};
pub use clock::Clock;
pub use connect::{ConnectError, ConnectPhase, connect};
pub use driver::{Driver, DriverConfig};
pub use fault::{ConnectFault, Spoken, TlsAlert, TlsError, TlsFailure, WrongProtocol};
pub use first_octets::FirstOctets;
#[cfg(feature = "handover")]
pub use handover::{Handover, notify_ready};
pub use op_queue::OpQueue;
pub use peer::Peer;
pub use stream::{Stream, pair};
pub use tcp::TcpOptions;
