//! The generated code of the three services, and text for each of their messages.

use clearway::codegen::prost::{DecodeError, Message};
use clearway_http2::Direction;

/// `helloworld.proto`.
pub(crate) mod hello {
    clearway::include_proto!("hello");
}

/// `routeguide/route_guide.proto`.
pub(crate) mod routeguide {
    clearway::include_proto!("routeguide");
}

/// `demo/echo.proto`.
pub(crate) mod demo {
    clearway::include_proto!("demo");
}

/// A message of ours as text; `direction` as the client sees it.
pub(crate) fn describe(path: &str, direction: Direction, octets: &[u8]) -> Option<String> {
    use Direction::{Received, Sent};
    let text = match (path, direction) {
        ("/hello.Greeter/SayHello", Sent) => debug::<hello::HelloRequest>(octets),
        ("/hello.Greeter/SayHello", Received) => debug::<hello::HelloReply>(octets),
        ("/routeguide.RouteGuide/GetFeature" | "/routeguide.RouteGuide/RecordRoute", Sent) => {
            debug::<routeguide::Point>(octets)
        }
        ("/routeguide.RouteGuide/GetFeature" | "/routeguide.RouteGuide/ListFeatures", Received) => {
            debug::<routeguide::Feature>(octets)
        }
        ("/routeguide.RouteGuide/ListFeatures", Sent) => debug::<routeguide::Rectangle>(octets),
        ("/routeguide.RouteGuide/RecordRoute", Received) => debug::<routeguide::RouteSummary>(octets),
        ("/routeguide.RouteGuide/RouteChat", _) => debug::<routeguide::RouteNote>(octets),
        (path, _) if path.starts_with("/demo.Echo/") => debug::<demo::EchoMessage>(octets),
        _ => return None,
    };
    text.ok()
}

fn debug<M: Message + Default + core::fmt::Debug>(octets: &[u8]) -> Result<String, DecodeError> {
    Ok(without_some(&format!("{:?}", M::decode(octets)?)))
}

/// Rust's debug text without `Some(..)`: presence is no news to somebody who reads a field's value. What is inside of
/// quotes stays.
fn without_some(debug: &str) -> String {
    let mut out = String::with_capacity(debug.len());
    // For each open parenthesis, whether it is shown.
    let mut open = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    for letter in debug.chars() {
        let ends_quote = quoted && letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
        match letter {
            '"' if ends_quote || !quoted => {
                quoted = !quoted;
                out.push(letter);
            }
            '(' if !quoted => {
                let hidden = out.ends_with("Some");
                if hidden {
                    out.truncate(out.len() - "Some".len());
                } else {
                    out.push(letter);
                }
                open.push(!hidden);
            }
            ')' if !quoted => {
                if open.pop() != Some(false) {
                    out.push(letter);
                }
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_text() {
        let feature = routeguide::Feature {
            name: "Some(\"day\")".to_owned(),
            location: Some(routeguide::Point { latitude: 1, longitude: -2 }),
        };
        let path = "/routeguide.RouteGuide/GetFeature";
        assert_eq!(
            describe(path, Direction::Received, &feature.encode_to_vec()).unwrap(),
            r#"Feature { name: "Some(\"day\")", location: Point { latitude: 1, longitude: -2 } }"#
        );
        assert_eq!(describe(path, Direction::Sent, &[0xff]), None);
        assert_eq!(describe("/other.Service/Method", Direction::Sent, b""), None);
    }

    #[test]
    fn only_some_is_left_out() {
        for (debug, text) in [
            ("A { b: Some(C { d: Some(1) }), e: None }", "A { b: C { d: 1 }, e: None }"),
            (r#"A { b: "\\", c: Some(")") }"#, r#"A { b: "\\", c: ")" }"#),
            ("A(B(1), Some((2, 3)))", "A(B(1), (2, 3))"),
        ] {
            assert_eq!(without_some(debug), text);
        }
    }
}
