//! What the example programs share: generated code, and what the route guide knows.
//!
//! * `hello-server`, `hello-client`: the smallest server and client there are.
//! * `rolling-server`: one that replaces itself without losing a call.
//! * `routeguide-server`, `routeguide-client`: the four kinds of call.
//!
//! Servers take an address (`host:port` or `unix:/path`) and clients a target (`http://host:port` or `unix:/path`) as their
//! argument; without one they meet at 127.0.0.1:50051.

/// Package `hello`: `proto/helloworld.proto`.
pub mod hello {
    clearway::include_proto!("hello");
}

/// Package `routeguide`: `proto/routeguide/route_guide.proto`.
pub mod routeguide {
    clearway::include_proto!("routeguide");
}

use routeguide::{Feature, Point, Rectangle};

/// The features that the route guide knows.
#[must_use]
pub fn features() -> Vec<Feature> {
    let feature = |name: &str, latitude, longitude| {
        let location = Some(Point { latitude, longitude });
        Feature { name: name.to_owned(), location }
    };
    vec![
        feature("Berkshire Valley", 409_146_138, -746_188_906),
        feature("Kingston", 418_906_453, -739_921_875),
        feature("Lisbon", 387_222_524, -91_393_366),
    ]
}

/// Whether a feature lies in an area; one without corners has nothing in it.
#[must_use]
pub fn inside(area: &Rectangle, feature: &Feature) -> bool {
    let (Some(a), Some(b), Some(point)) = (area.lo, area.hi, feature.location) else { return false };
    let between = |a: i32, b: i32, value: i32| (a.min(b)..=a.max(b)).contains(&value);
    between(a.latitude, b.latitude, point.latitude) && between(a.longitude, b.longitude, point.longitude)
}
