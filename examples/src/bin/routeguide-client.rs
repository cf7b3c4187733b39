//! A call of each kind over one connection: `cargo run -p clearway-examples --bin routeguide-client`, while
//! `routeguide-server` runs.

use clearway_examples::routeguide::route_guide_client::RouteGuideClient;
use clearway_examples::routeguide::{Point, Rectangle, RouteNote};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = RouteGuideClient::connect(target).await?;
    let valley = Point { latitude: 409_146_138, longitude: -746_188_906 };
    let north = Point { latitude: 900_000_000, longitude: -700_000_000 };

    // One request, one response.
    let feature = client.get_feature(valley).await?.into_inner();
    println!("GetFeature: {}", feature.name);

    // One request, many responses.
    let area = Rectangle { lo: Some(valley), hi: Some(north) };
    let mut features = client.list_features(area).await?.into_inner();
    while let Some(feature) = features.message().await? {
        println!("ListFeatures: {}", feature.name);
    }

    // Many requests, one response.
    let route = tokio_stream::iter([valley, north, valley]);
    let summary = client.record_route(route).await?.into_inner();
    println!("RecordRoute: {} points, {} features", summary.point_count, summary.feature_count);

    // Many requests, many responses.
    let note = |message: &str| RouteNote { location: Some(valley), message: message.to_owned() };
    let notes = tokio_stream::iter([note("first"), note("second")]);
    let mut answers = client.route_chat(notes).await?.into_inner();
    while let Some(note) = answers.message().await? {
        println!("RouteChat: {}", note.message);
    }
    Ok(())
}
