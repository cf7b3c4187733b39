//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) without I/O: bytes and time in, bytes and callbacks out.
//!
//! A driver owns a [`Connection`] and a socket. It feeds what it reads to [`Connection::recv`], which calls a [`Handler`]
//! with borrowed slices; the handler answers through [`Tx`] at once or later; the driver writes what
//! [`Connection::output`] shows. Nothing here reads a clock, opens a socket, starts a thread or draws a random number, so a
//! run with the same bytes and instants is the same run.
//!
//! ```
//! use clearway_http2::hpack::{HeaderField, Indexing};
//! use clearway_http2::{Chunk, Config, Connection, Handler, Instant, RequestHead, ResponseHead, StreamKey, Tx};
//!
//! fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
//!     HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
//! }
//!
//! struct Server;
//! impl Handler for Server {
//!     fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, _: bool) {
//!         tx.send_headers(stream, [field(":status", "200")], false).unwrap();
//!         tx.send_data(stream, "hello".into(), true).unwrap();
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Client(Vec<u8>);
//! impl Handler for Client {
//!     fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, _: bool) {
//!         self.0.extend_from_slice(data.as_slice());
//!         tx.release(stream, data.as_slice().len());
//!     }
//! }
//!
//! /// What a driver does with a socket, here with the other connection.
//! fn carry(now: Instant, from: &mut Connection, by: &mut impl Handler, to: &mut Connection, other: &mut impl Handler) {
//!     from.transmit(now, by);
//!     let mut slices = [std::io::IoSlice::new(&[]); 8];
//!     let filled = from.output(&mut slices);
//!     let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
//!     from.wrote(bytes.len());
//!     assert_eq!(to.recv(now, &bytes, other).unwrap(), bytes.len());
//! }
//!
//! let now = Instant::ZERO;
//! let (mut client, mut server) = (Connection::client(Config::default(), now), Connection::server(Config::default(), now));
//! let mut received = Client::default();
//! let request = [field(":method", "GET"), field(":scheme", "http"), field(":path", "/"), field(":authority", "a")];
//! client.tx(now).open(request, true).unwrap();
//! for _ in 0..2 {
//!     carry(now, &mut client, &mut received, &mut server, &mut Server);
//!     carry(now, &mut server, &mut Server, &mut client, &mut received);
//! }
//! assert_eq!(received.0, b"hello");
//! ```

pub mod config;
pub mod connection;
pub mod error;
pub mod flow_control;
pub mod frame;
mod handler;
pub mod hpack;
pub mod limits;
pub mod message;
pub mod observe;
pub mod settings;
pub mod stream;
pub mod time;
mod window_tuning;

pub use config::{Config, Keepalive, PingPolicy, WindowTuning};
pub use connection::{Connection, Farewell, LifeLimits, Role, Tx, Windows};
pub use error::{By, ConnectionError, ErrorCode, OpenError, Reset, Scope, SendError, Violation};
pub use handler::{Chunk, GoAway, Handler, SlotFate};
pub use hpack::Part;
pub use message::{RequestHead, ResponseHead, RouteId};
pub use observe::{BlockedOn, Direction, Observer, Trace};
pub use stream::StreamKey;
pub use time::Instant;
