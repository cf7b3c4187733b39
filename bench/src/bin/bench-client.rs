//! The load generator for `bench.Echo` on our client.

#[allow(missing_docs, unreachable_pub, reason = "a program; the module is shared with the peers' workspace")]
#[path = "../../generator/mod.rs"]
mod generator;

/// Whose client this is.
mod stack {
    pub(crate) use clearway::transport::{Channel, Endpoint};
    pub(crate) use clearway::{Request, Streaming};

    /// Code generated from proto/bench/echo.proto.
    pub(crate) mod bench {
        clearway::include_proto!("bench");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    generator::main()
}
