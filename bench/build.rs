//! Generates code for the service that `bench-client` calls.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    clearway_build::configure().compile_protos(&["../proto/bench/echo.proto"], &["../proto"])?;
    Ok(())
}
