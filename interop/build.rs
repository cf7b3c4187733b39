//! Generates code for the services that the programs of this package serve and call.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = [
        "bench/echo.proto",
        "connectrpc/conformance/v1/client_compat.proto",
        "connectrpc/conformance/v1/server_compat.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
        "grpc/testing/test.proto",
        "xds/data/orca/v3/orca_load_report.proto",
        "xds/service/orca/v3/orca.proto",
    ];
    clearway_build::configure()
        .compile_protos(&protos.map(|proto| format!("../proto/{proto}")), &["../proto"])?;
    Ok(())
}
