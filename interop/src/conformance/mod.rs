//! What `conformance-server` and `conformance-client` are made of: the service that connectconformance calls, and the calls
//! that it asks for.
//!
//! The suite tells either program what to do over its stdin and hears of the outcome on its stdout, in messages with their
//! length before them ([`delimited`]). gRPC over HTTP/2 with Protobuf is what they speak, with gzip, deflate, zstd and TLS where the suite says
//! so: what a request wants beyond that is an error to the suite.

pub mod call;
pub mod convert;
pub mod delimited;
mod requests;
pub mod service;

/// Code generated from proto/connectrpc/conformance/v1/.
#[allow(missing_docs, reason = "the .proto files say what is what; generated code need not repeat all of it")]
pub mod proto {
    clearway::include_proto!("connectrpc.conformance.v1");
}

/// Code generated from proto/google/rpc/.
mod rpc {
    clearway::include_proto!("google.rpc");
}

use proto::{Codec, HttpVersion, Protocol};

/// Says why a request is beyond these programs, if it is.
///
/// # Errors
/// Another protocol, version of HTTP or codec is asked for than these programs know.
pub fn check(protocol: Protocol, version: HttpVersion, codec: Codec) -> Result<(), String> {
    match (protocol, version, codec) {
        (Protocol::Grpc, HttpVersion::HttpVersion2, Codec::Proto) => Ok(()),
        _ => Err(format!("want gRPC over HTTP/2 with Protobuf, not {protocol:?}, {version:?}, {codec:?}")),
    }
}
