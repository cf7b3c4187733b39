//! The table's JSON as a picture: CPU time per call beside other stacks, as bars of an SVG file.
//!
//! Written out by hand: rectangles and text need no library. Colours read well on light and on dark backgrounds.

use core::fmt::Write;

use serde_json::Value;

use crate::Outcome;

/// Which sections are drawn, and what a reader calls them.
const PANELS: [(&str, &str); 6] = [
    ("a-20", "Server, 100 calls at a time on one connection, 20 B"),
    ("a-1024", "Server, 100 calls at a time on one connection, 1 KiB"),
    ("fresh-20", "Server, the same with a new traceparent and timeout in each call, 20 B"),
    ("b-20", "Server, 10 connections with 10 calls each, 20 B"),
    ("d-20", "Server, 100 connections with one call each, 20 B"),
    ("client-20", "Client, 100 calls at a time on one connection, 20 B"),
];

/// Which rows are drawn, in this order, each in its colour.
const BARS: [(&str, &str, &str); 4] = [
    ("clearway, multi_thread x1", "clearway", "#0a9396"),
    ("tonic, multi_thread x1", "tonic", "#b56576"),
    ("grpc-go", "grpc-go", "#6d8fb3"),
    ("C++ gRPC", "C++ gRPC", "#a09a78"),
];

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 92.0;
const LONGEST: f64 = 560.0;
const BAR: f64 = 16.0;
const TEXT: &str = "#808080";

/// Draws what a run with `--json` wrote.
pub(crate) fn svg(table: &Value) -> Outcome<String> {
    let sections = table.get("sections").and_then(Value::as_array).ok_or("no sections in this JSON")?;
    let mut body = String::new();
    let mut y = 46.0;
    for (id, title) in PANELS {
        let found = sections.iter().find(|section| section.get("id").and_then(Value::as_str) == Some(id));
        if let Some(section) = found {
            y = panel(&mut body, y, title, &bars(section))?;
        }
    }
    if body.is_empty() {
        return Err("none of the sections that are drawn is in this JSON".into());
    }
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0}" viewBox="0 0 {WIDTH} {y:.0}" font-family="system-ui, sans-serif" font-size="12" fill="{TEXT}">"#
    )?;
    writeln!(svg, "<title>CPU time per call, in microseconds; shorter is better</title>")?;
    let heading = "CPU time per unary call, microseconds (shorter is better); one worker thread each";
    writeln!(svg, r#"<text x="12" y="22" font-size="15" font-weight="600">{heading}</text>"#)?;
    svg += &body;
    svg += "</svg>\n";
    Ok(svg)
}

/// A bar: what it is called, its colour, and its median in microseconds.
type Bar = (&'static str, &'static str, f64);

fn bars(section: &Value) -> Vec<Bar> {
    let rows = section.get("rows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let median = |name: &str| {
        let row = rows.iter().find(|row| row.get("name").and_then(Value::as_str) == Some(name))?;
        row.pointer("/cost/median").and_then(Value::as_f64)
    };
    BARS.iter().filter_map(|(name, label, colour)| Some((*label, *colour, median(name)?))).collect()
}

/// Draws one panel from `y` down and says where the next one begins.
fn panel(svg: &mut String, y: f64, title: &str, bars: &[Bar]) -> Outcome<f64> {
    let longest = bars.iter().map(|(_, _, micros)| *micros).fold(f64::MIN_POSITIVE, f64::max);
    writeln!(svg, r#"<text x="12" y="{y:.0}" font-weight="600">{title}</text>"#)?;
    let mut y = y + 8.0;
    for (label, colour, micros) in bars {
        let width = micros / longest * LONGEST;
        let middle = y + BAR * 0.78;
        writeln!(svg, r#"<text x="{:.0}" y="{middle:.1}" text-anchor="end">{label}</text>"#, LEFT - 8.0)?;
        writeln!(
            svg,
            r#"<rect x="{LEFT:.0}" y="{y:.1}" width="{width:.1}" height="{:.0}" rx="2" fill="{colour}"/>"#,
            BAR - 3.0
        )?;
        writeln!(svg, r#"<text x="{:.1}" y="{middle:.1}">{micros:.2}</text>"#, LEFT + width + 6.0)?;
        y += BAR;
    }
    Ok(y + 24.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Value {
        let row = |name: &str, micros: f64| json!({ "name": name, "cost": { "median": micros } });
        json!({ "sections": [
            { "id": "c-20", "rows": [row("tonic, multi_thread x1", 30.0)] },
            { "id": "a-20", "rows": [
                row("tonic, multi_thread x1", 10.0),
                row("clearway, multi_thread x1", 1.0),
                row("clearway, current_thread", 0.9),
            ] },
        ] })
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let svg = svg(&table()).unwrap();
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains(r#"width="56.0""#) && svg.contains(r#"width="560.0""#), "{svg}");
        assert!(svg.contains(">clearway<") && svg.contains(">10.00<"), "{svg}");
        assert!(!svg.contains("30.00"), "{svg}");
    }

    #[test]
    fn json_without_what_is_drawn_is_an_error() {
        assert!(svg(&json!({})).is_err());
        assert!(svg(&json!({ "sections": [] })).is_err());
    }
}
