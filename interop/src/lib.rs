//! What `interop-server` and `interop-client` share: the suite's service and cases on generated code, and their flags. What the
//! conformance programs share is in [`conformance`].
//!
//! Names of cases and flags, sizes and texts are those of the grpc project's interop test descriptions, so that either
//! program can stand in for an official one. Left out: the cases of credentials and of name resolution.

pub mod cases;
pub mod certificates;
pub mod conformance;
pub mod ends;
pub mod flags;
pub mod hpack;
pub mod orca;
pub mod service;
pub mod soak;

/// Code generated from proto/grpc/testing/.
#[allow(missing_docs, reason = "the .proto files say what is what; generated code need not repeat all of it")]
pub mod testing {
    clearway::include_proto!("grpc.testing");
}

/// Code generated from proto/xds/, as its packages lie.
#[allow(missing_docs, reason = "the .proto files say what is what; generated code need not repeat all of it")]
pub mod xds {
    pub mod data {
        pub mod orca {
            pub mod v3 {
                clearway::include_proto!("xds.data.orca.v3");
            }
        }
    }
    pub mod service {
        pub mod orca {
            pub mod v3 {
                clearway::include_proto!("xds.service.orca.v3");
            }
        }
    }
}

use clearway::codec::CompressionEncoding;
use testing::{Payload, PayloadType};

/// The algorithms there are, as they are preferred.
pub const COMPRESSIONS: [CompressionEncoding; 3] =
    [CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd];

/// Those that a flag names, with commas between them.
///
/// # Errors
/// The first name that is none of them.
pub fn compressions(text: &str) -> Result<Vec<CompressionEncoding>, flags::Problem> {
    let named = |name: &str| {
        let known = COMPRESSIONS.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| format!("{name:?} is none of gzip, deflate and zstd"))
    };
    text.split(',').filter(|name| !name.is_empty()).map(named).collect()
}

/// What both sides call the initial metadata they echo.
pub const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";

/// What both sides call the trailing metadata they echo.
pub const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// A payload of so many octets, all zero.
#[must_use]
pub fn zeros(octets: usize) -> Payload {
    Payload { r#type: PayloadType::Compressable.into(), body: vec![0; octets] }
}

/// Tells whoever started a server that it accepts connections. A server whose standard output cannot be written to (a full disk, a
/// closed pipe) serves all the same, and says so where it can.
pub fn announce(address: core::net::SocketAddr) {
    use std::io::Write;

    let mut stdout = std::io::stdout();
    if let Err(error) = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush()) {
        // With standard error full as well there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "listening on {address}; standard output: {error}");
    }
}
