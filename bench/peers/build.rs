//! Generates tonic code for the services that both stacks serve. protox parses the files, so no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    let files = ["bench/echo.proto", "grpc/testing/test.proto"];
    for file in files.iter().chain(&["grpc/testing/messages.proto", "grpc/testing/empty.proto"]) {
        println!("cargo::rerun-if-changed={root}/{file}");
    }
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
