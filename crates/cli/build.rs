//! Generates the services of `clearway demo` from the repository's wire contracts.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTO: &str = "../../proto";
    let files = ["helloworld.proto", "routeguide/route_guide.proto", "demo/echo.proto"];
    let paths = files.map(|file| format!("{PROTO}/{file}"));
    clearway_build::configure().compile_protos(&paths, &[PROTO])?;
    Ok(())
}
