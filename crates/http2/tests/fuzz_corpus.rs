//! The committed inputs of the engine's fuzz targets, replayed. `cargo xtask fuzz` looks for new ones.

use clearway_testkit::fuzz::{self, replay};

#[test]
fn hpack_decode() {
    replay("hpack_decode", fuzz::hpack_decode);
}

#[test]
fn hpack_identity() {
    replay("hpack_identity", fuzz::hpack_identity);
}

#[test]
fn field_blocks() {
    replay("field_blocks", fuzz::field_blocks);
}

#[test]
fn frame() {
    replay("frame", fuzz::frame);
}

#[test]
fn splits() {
    replay("splits", fuzz::splits);
}

#[test]
fn connection_server() {
    replay("connection_server", fuzz::connection_server);
}

#[test]
fn connection_client() {
    replay("connection_client", fuzz::connection_client);
}

#[test]
fn engines() {
    replay("engines", fuzz::engines);
}
