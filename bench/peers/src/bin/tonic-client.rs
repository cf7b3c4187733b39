//! The load generator for `bench.Echo` on tonic's client: the client that ours is measured against, and a check that a
//! server sends back what it got.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "a program; the module is shared with the project's workspace"
)]
#[path = "../../../generator/mod.rs"]
mod generator;

/// Whose client this is.
mod stack {
    pub use clearway_peers::bench;
    pub use tonic::transport::{Channel, Endpoint};
    pub use tonic::{Request, Streaming};
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    generator::main()
}
