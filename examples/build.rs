//! Generates Rust from the `.proto` files of the examples.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    clearway_build::compile_protos("../proto/helloworld.proto")?;
    clearway_build::compile_protos("../proto/routeguide/route_guide.proto")?;
    Ok(())
}
