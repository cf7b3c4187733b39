//! Generates code for the services that the programs of this package serve and call.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    clearway_build::configure()
        .compile_protos(&["../proto/bench/echo.proto", "../proto/grpc/testing/test.proto"], &["../proto"])?;
    Ok(())
}
