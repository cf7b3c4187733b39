//! What `interop-server` and `interop-client` share: the suite's service and cases on generated code, and their flags.
//!
//! Names of cases and flags, sizes and texts are those of the grpc project's interop test descriptions, so that either
//! program can stand in for an official one. Left out: compression, ORCA, soak and credentials, which come with what they
//! test.

pub mod cases;
pub mod certificates;
pub mod ends;
pub mod flags;
pub mod service;

/// Code generated from proto/grpc/testing/.
#[allow(missing_docs, reason = "the .proto files say what is what; generated code need not repeat all of it")]
pub mod testing {
    clearway::include_proto!("grpc.testing");
}

use testing::{Payload, PayloadType};

/// What both sides call the initial metadata they echo.
pub const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";

/// What both sides call the trailing metadata they echo.
pub const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// A payload of so many octets, all zero.
#[must_use]
pub fn zeros(octets: usize) -> Payload {
    Payload { r#type: PayloadType::Compressable.into(), body: vec![0; octets] }
}
