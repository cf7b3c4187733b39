//! What RouteGuide knows: a few places in Vienna, and how far they are from each other.

use super::proto::routeguide::Point;

const fn at(latitude: i32, longitude: i32) -> Point {
    Point { latitude, longitude }
}

/// The cathedral in the middle.
pub(crate) const STEPHANSDOM: Point = at(482_085_000, 163_731_000);
/// A palace and its garden.
pub(crate) const BELVEDERE: Point = at(481_915_000, 163_809_000);
/// The summer residence.
pub(crate) const SCHOENBRUNN: Point = at(481_845_000, 163_122_000);
/// The giant wheel.
pub(crate) const RIESENRAD: Point = at(482_167_000, 163_960_000);

/// Everything that has a name.
pub(crate) const FEATURES: &[(&str, Point)] = &[
    ("Stephansdom", STEPHANSDOM),
    ("Belvedere", BELVEDERE),
    ("Schoenbrunn", SCHOENBRUNN),
    ("Riesenrad", RIESENRAD),
    ("Kahlenberg", at(482_760_000, 163_370_000)),
];

/// The name of what is at a point.
pub(crate) fn feature_at(point: &Point) -> Option<&'static str> {
    FEATURES.iter().find(|(_, place)| place == point).map(|(name, _)| *name)
}

/// Along the great circle, by the haversine formula.
pub(crate) fn distance_metres(a: &Point, b: &Point) -> f64 {
    const EARTH_RADIUS_METRES: f64 = 6_371_000.0;
    let radians = |e7: i32| (f64::from(e7) / 1e7).to_radians();
    let half = |from: i32, to: i32| ((radians(to) - radians(from)) / 2.0).sin().powi(2);
    let (north, east) = (half(a.latitude, b.latitude), half(a.longitude, b.longitude));
    let chord = radians(a.latitude).cos() * radians(b.latitude).cos() * east + north;
    2.0 * EARTH_RADIUS_METRES * chord.sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_map() {
        assert!((distance_metres(&STEPHANSDOM, &BELVEDERE) - 1_976.0).abs() < 10.0);
        // A degree of latitude is 111 km anywhere.
        let degree = distance_metres(&at(0, 0), &at(10_000_000, 0));
        assert!((degree - 111_195.0).abs() < 1.0, "{degree}");
        assert!(distance_metres(&RIESENRAD, &RIESENRAD) < 1e-6);
    }
}
