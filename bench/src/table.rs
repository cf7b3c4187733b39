//! What was measured, as text for people and as JSON for programs: medians, spread, and ratios taken round by round.

use core::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Exchange;
use crate::peer::Cores;
use crate::{Effort, Shape};

/// One measurement of one server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Microseconds of CPU time of all the server's threads, for each call.
    cpu_micros: f64,
    calls_per_second: f64,
}

impl Sample {
    /// From `calls` calls that `took` so long and cost the server `cpu`.
    pub(crate) fn new(calls: u64, cpu: Duration, took: Duration) -> Self {
        let calls = calls as f64;
        Self { cpu_micros: cpu.as_secs_f64() * 1e6 / calls, calls_per_second: calls / took.as_secs_f64() }
    }
}

/// A server's samples, one for each round.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    /// A server that was not measured yet. Its scheduler follows the comma in its name.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, samples: Vec::new() }
    }

    fn spread(&self, figure: fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(figure).collect())
    }

    fn scheduler(&self) -> &str {
        self.name.split_once(", ").map_or("", |(_, scheduler)| scheduler)
    }

    /// The median of what this server cost as a multiple of what `base` cost in the same round.
    fn cpu_against(&self, base: &Self) -> f64 {
        let pairs = self.samples.iter().zip(&base.samples);
        Spread::of(pairs.map(|(this, base)| this.cpu_micros / base.cpu_micros).collect()).median
    }
}

/// One shape and payload, with every server.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) shape: Shape,
    pub(crate) payload: usize,
    pub(crate) exchange: Exchange,
    pub(crate) rows: Vec<Row>,
}

impl Cell {
    /// Ours on the same scheduler.
    fn ours_beside(&self, row: &Row) -> Option<&Row> {
        let ours = |other: &&Row| other.name.starts_with("clearway") && other.scheduler() == row.scheduler();
        self.rows.iter().find(ours)
    }
}

/// Under which conditions the figures came about.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) effort: Effort,
    pub(crate) cores: Cores,
    pub(crate) h2load: String,
    pub(crate) processor: String,
}

impl Conditions {
    fn pinning(&self) -> String {
        match (self.cores.server, self.cores.load) {
            (Some(server), Some(load)) => format!("server on core {server}, load on core {load}"),
            _ => "nothing pinned".to_owned(),
        }
    }
}

/// Everything that one run of the command found.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) conditions: Conditions,
    pub(crate) cells: Vec<Cell>,
}

impl Table {
    /// The same as the text, unrounded and with every sample.
    pub(crate) fn to_json(&self) -> Value {
        let conditions = &self.conditions;
        json!({
            "processor": conditions.processor,
            "pinning": conditions.pinning(),
            "load_generator": conditions.h2load,
            "rounds": conditions.effort.rounds,
            "seconds_each": conditions.effort.each.as_secs_f64(),
            "cells": self.cells.iter().map(cell_to_json).collect::<Vec<_>>(),
        })
    }
}

fn cell_to_json(cell: &Cell) -> Value {
    let row = |row: &Row| {
        let samples = row.samples.iter().map(|sample| {
            json!({ "cpu_micros_per_call": sample.cpu_micros, "calls_per_second": sample.calls_per_second })
        });
        json!({
            "server": row.name,
            "cpu_micros_per_call": row.spread(|sample| sample.cpu_micros).to_json(),
            "calls_per_second": row.spread(|sample| sample.calls_per_second).to_json(),
            "cpu_against_clearway": cell.ours_beside(row).map(|ours| row.cpu_against(ours)),
            "samples": samples.collect::<Vec<_>>(),
        })
    };
    json!({
        "shape": cell.shape.name,
        "method": "bench.Echo/Unary",
        "connections": 1,
        "concurrent_calls": cell.shape.streams,
        "payload_octets": cell.payload,
        "wire_octets": { "request": cell.exchange.request, "response": cell.exchange.response },
        "servers": cell.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions { effort, h2load, processor, .. } = &self.conditions;
        writeln!(f, "Unary echo, side by side. Median (lowest to highest) of {} rounds", effort.rounds)?;
        writeln!(
            f,
            "of about {:.1} s; {}; {h2load}; {processor}.",
            effort.each.as_secs_f64(),
            self.conditions.pinning()
        )?;
        writeln!(
            f,
            "CPU: run time of all server threads. Busy: of one core. Against clearway: on the same scheduler."
        )?;
        self.cells.iter().try_for_each(|cell| write!(f, "\n{cell}"))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, payload, exchange: Exchange { request, response }, rows } = self;
        let Shape { name, streams } = shape;
        write!(f, "({name}) 1 connection x {streams} at a time, payload {payload} B; ")?;
        writeln!(f, "on the wire {request} B there, {response} B back with clearway")?;
        writeln!(
            f,
            "  {:<27}{:>24}  {:>30}  {:>6}  {:>16}",
            "server", "CPU us/call", "calls/s", "busy", "CPU/clearway CPU"
        )?;
        for row in rows {
            let cpu = row.spread(|sample| sample.cpu_micros);
            let rate = row.spread(|sample| sample.calls_per_second);
            let busy = row.spread(|sample| sample.cpu_micros * sample.calls_per_second / 1e4).median;
            let against = self.ours_beside(row).map_or(f64::NAN, |ours| row.cpu_against(ours));
            let cpu = format!("{:.2} ({:.2} to {:.2})", cpu.median, cpu.lowest, cpu.highest);
            let rate = format!("{:.0} ({:.0} to {:.0})", rate.median, rate.lowest, rate.highest);
            writeln!(f, "  {:<27}{cpu:>24}  {rate:>30}  {busy:>4.0} %  {against:>16.2}", row.name)?;
        }
        Ok(())
    }
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    /// Of nothing: all NaN.
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        // The two in the middle, which are one and the same when their number is odd.
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median, lowest: at(0), highest: at(last) }
    }

    fn to_json(self) -> Value {
        json!({ "median": self.median, "lowest": self.lowest, "highest": self.highest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, cpu_micros: &[f64]) -> Row {
        let sample = |cpu: &f64| Sample { cpu_micros: *cpu, calls_per_second: 1e6 / cpu };
        Row { name, samples: cpu_micros.iter().map(sample).collect() }
    }

    fn table() -> Table {
        let rows = vec![
            row("raw TCP, current_thread", &[1.0, 1.0, 1.0]),
            row("tonic, current_thread", &[8.0, 30.0, 9.0]),
            row("clearway, current_thread", &[2.0, 10.0, 1.0]),
            row("tonic, multi_thread x1", &[9.0, 9.0, 9.0]),
        ];
        let cell = Cell {
            shape: Shape { name: "a", streams: 100 },
            payload: 20,
            exchange: Exchange { request: 70, response: 57 },
            rows,
        };
        let conditions = Conditions {
            effort: Effort { rounds: 3, each: Duration::from_secs(1) },
            cores: Cores { server: Some(0), load: Some(1) },
            h2load: "h2load nghttp2/1.52.0".into(),
            processor: "a processor".into(),
        };
        Table { conditions, cells: vec![cell] }
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(odd, Spread { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of(vec![7.0]), Spread { median: 7.0, lowest: 7.0, highest: 7.0 });
        assert!(Spread::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn a_sample_is_per_call_and_per_second() {
        let sample = Sample::new(1_000, Duration::from_millis(2), Duration::from_millis(500));
        assert_eq!(sample, Sample { cpu_micros: 2.0, calls_per_second: 2_000.0 });
    }

    #[test]
    fn ratios_pair_the_rounds() {
        // Round by round 4, 3 and 9: not the 9 / 2 of the medians.
        let cell = &table().cells[0];
        assert_eq!(cell.rows[1].cpu_against(&cell.rows[2]), 4.0);
    }

    #[test]
    fn a_row_is_compared_with_ours_on_the_same_scheduler_only() {
        let cell = &table().cells[0];
        assert_eq!(cell.ours_beside(&cell.rows[0]).unwrap().name, "clearway, current_thread");
        assert!(cell.ours_beside(&cell.rows[3]).is_none());
    }

    #[test]
    fn text_has_a_line_for_each_server() {
        let text = table().to_string();
        assert!(text.contains("server on core 0, load on core 1"), "{text}");
        assert!(text.contains("(a) 1 connection x 100 at a time, payload 20 B"), "{text}");
        let tonic = text.lines().find(|line| line.contains("tonic, current_thread")).unwrap();
        let words: Vec<_> = tonic.split_whitespace().collect();
        assert_eq!(words[2..7], ["9.00", "(8.00", "to", "30.00)", "111111"], "{tonic}");
        assert_eq!(words.last(), Some(&"4.00"), "{tonic}");
    }

    #[test]
    fn json_has_medians_ratios_and_samples() {
        let json = table().to_json();
        let tonic = &json["cells"][0]["servers"][1];
        assert_eq!(tonic["cpu_micros_per_call"]["median"], 9.0);
        assert_eq!(tonic["cpu_against_clearway"], 4.0);
        assert_eq!(tonic["samples"].as_array().unwrap().len(), 3);
        assert!(json["cells"][0]["servers"][3]["cpu_against_clearway"].is_null());
    }
}
