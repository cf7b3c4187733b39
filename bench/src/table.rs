//! What was measured, as text for people and as JSON for programs: medians, spread, ratios taken round by round, and
//! whether the project's own targets are met.

use core::fmt;

use serde_json::{Value, json};

use crate::Effort;
use crate::peer::Cores;
use crate::programs::{Contender, Scheduler, Stack};

/// Runnable threads, besides the two of a measurement, from which on a reader is warned.
const BUSY: f64 = 2.5;

/// One measurement of one program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// In the section's unit.
    pub(crate) cost: f64,
    /// What of it was spent in user space, when that is known.
    pub(crate) user: Option<f64>,
    /// Calls (or whatever the section counts) in a second, when that is known.
    pub(crate) rate: Option<f64>,
}

impl Sample {
    /// A figure without a rate.
    pub(crate) const fn only(cost: f64) -> Self {
        Self { cost, user: None, rate: None }
    }
}

/// A program's samples, one for each round.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) stack: Stack,
    pub(crate) scheduler: Scheduler,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    /// A program that was not measured yet.
    pub(crate) fn new(contender: &Contender) -> Self {
        let Contender { stack, scheduler, .. } = *contender;
        Self { name: contender.name(), stack, scheduler, samples: Vec::new() }
    }

    fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(figure).collect())
    }

    /// The median of this program's figure as a multiple of `base`'s in the same round.
    fn against(&self, base: &Self, figure: impl Fn(&Sample) -> f64) -> f64 {
        let pairs = self.samples.iter().zip(&base.samples);
        Spread::of(pairs.map(|(this, base)| figure(this) / figure(base)).collect()).median
    }
}

/// What a target is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// At most this multiple of tonic's on the same scheduler.
    OfTonic(f64),
    /// At least this multiple of tonic's on the same scheduler.
    TimesTonic(f64),
    /// At most this multiple of tonic's CPU time in user space.
    UserOfTonic(f64),
    /// At most this multiple of the raw TCP server's.
    OfRaw(f64),
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
}

/// A target of the project for its own rows on this scheduler, or on both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) bar: Bar,
}

/// A target with what was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Verdict {
    bar: Bar,
    reached: f64,
}

impl Verdict {
    fn met(self) -> bool {
        match self.bar {
            Bar::OfTonic(most) | Bar::UserOfTonic(most) | Bar::OfRaw(most) | Bar::AtMost(most) => {
                self.reached <= most
            }
            Bar::AtLeast(least) | Bar::TimesTonic(least) => self.reached >= least,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = self.reached;
        match self.bar {
            Bar::OfTonic(most) => write!(f, "{reached:.2} of tonic (<= {most})")?,
            Bar::TimesTonic(least) => write!(f, "{reached:.2} of tonic (>= {least})")?,
            Bar::UserOfTonic(most) => write!(f, "user {reached:.2} of tonic (<= {most})")?,
            Bar::OfRaw(most) => write!(f, "{reached:.2} of raw (<= {most})")?,
            Bar::AtMost(most) => write!(f, "(<= {most})")?,
            Bar::AtLeast(least) => write!(f, "(>= {least})")?,
        }
        f.write_str(if self.met() { " met" } else { " MISSED" })
    }
}

/// One thing that was measured, of every program that can do it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Short, for programs: `a-20`.
    pub(crate) id: String,
    pub(crate) title: String,
    /// Of the costs, such as `us CPU/call`.
    pub(crate) unit: &'static str,
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
    /// The load average when it was measured.
    pub(crate) load: f64,
}

impl Section {
    fn row(&self, stack: Stack, scheduler: Scheduler) -> Option<&Row> {
        self.rows.iter().find(|row| row.stack == stack && row.scheduler == scheduler)
    }

    /// The row's cost as a multiple of tonic's on the same scheduler.
    fn of_tonic(&self, row: &Row) -> Option<f64> {
        let tonic = self.row(Stack::Tonic, row.scheduler)?;
        Some(row.against(tonic, |sample| sample.cost))
    }

    fn verdicts(&self, row: &Row) -> Vec<Verdict> {
        let ours = row.stack == Stack::Clearway;
        let targets = self
            .targets
            .iter()
            .filter(|target| ours && target.scheduler.is_none_or(|scheduler| scheduler == row.scheduler));
        let reached = |bar| match bar {
            Bar::OfTonic(_) | Bar::TimesTonic(_) => self.of_tonic(row),
            Bar::UserOfTonic(_) => {
                let user = |sample: &Sample| sample.user.unwrap_or(f64::NAN);
                Some(row.against(self.row(Stack::Tonic, row.scheduler)?, user))
            }
            Bar::OfRaw(_) => {
                let raw = self.row(Stack::RawTcp, Scheduler::CurrentThread)?;
                Some(row.against(raw, |sample| sample.cost))
            }
            Bar::AtMost(_) | Bar::AtLeast(_) => Some(row.spread(|sample| sample.cost).median),
        };
        targets
            .filter_map(|target| Some(Verdict { bar: target.bar, reached: reached(target.bar)? }))
            .collect()
    }

    fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let samples = row
                .samples
                .iter()
                .map(|sample| json!({ "cost": sample.cost, "user": sample.user, "per_second": sample.rate }));
            let verdict = |verdict: Verdict| json!({ "target": verdict.to_string(), "reached": verdict.reached, "met": verdict.met() });
            json!({
                "name": row.name,
                "stack": row.stack.name(),
                "scheduler": row.scheduler.name(),
                "cost": row.spread(|sample| sample.cost).to_json(),
                "of_tonic": self.of_tonic(row),
                "targets": self.verdicts(row).into_iter().map(verdict).collect::<Vec<_>>(),
                "samples": samples.collect::<Vec<_>>(),
            })
        };
        json!({
            "id": self.id,
            "title": self.title,
            "unit": self.unit,
            "load_average": self.load,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// Under which conditions the figures came about.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) effort: Effort,
    pub(crate) cores: Cores,
    pub(crate) processor: String,
    pub(crate) versions: Vec<String>,
    /// What is missing, and why.
    pub(crate) notices: Vec<String>,
}

impl Conditions {
    fn pinning(&self) -> String {
        match (self.cores.server, self.cores.load) {
            (Some(server), Some(load)) => {
                format!("what is measured and its other side on cores {server} and {load}")
            }
            _ => "nothing pinned".to_owned(),
        }
    }
}

/// Everything that one run of the command found.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) conditions: Conditions,
    pub(crate) sections: Vec<Section>,
}

impl Table {
    /// The same as the text, unrounded and with every sample.
    pub(crate) fn to_json(&self) -> Value {
        let conditions = &self.conditions;
        json!({
            "processor": conditions.processor,
            "pinning": conditions.pinning(),
            "versions": conditions.versions,
            "notices": conditions.notices,
            "rounds": conditions.effort.rounds,
            "seconds_each": conditions.effort.each.as_secs_f64(),
            "sections": self.sections.iter().map(Section::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions { effort, processor, versions, notices, .. } = &self.conditions;
        writeln!(
            f,
            "Median (lowest to highest) of {} rounds of about {:.2} s",
            effort.rounds,
            effort.each.as_secs_f64()
        )?;
        writeln!(
            f,
            "(shape c: {}, twice as long); {}; {processor}.",
            effort.lonely_rounds,
            self.conditions.pinning()
        )?;
        writeln!(f, "{}.", versions.join("; "))?;
        notices.iter().try_for_each(|notice| writeln!(f, "Missing: {notice}"))?;
        let busiest = self.sections.iter().map(|section| section.load).fold(0.0, f64::max);
        if busiest > BUSY {
            writeln!(
                f,
                "The machine was busy with other things (load average up to {busiest:.1}): trust ratios, not microseconds."
            )?;
        }
        self.sections.iter().try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}   [load average {:.1}]", self.id, self.title, self.load)?;
        writeln!(f, "  {:<26}{:>30} {:>8} {:>10} {:>9}  target", "", self.unit, "user", "/s", "of tonic")?;
        for row in &self.rows {
            let cost = row.spread(|sample| sample.cost).to_string();
            let or_blank = |figure: f64, digits: usize| {
                if figure.is_nan() { String::new() } else { format!("{figure:.digits$}") }
            };
            let user = or_blank(row.spread(|sample| sample.user.unwrap_or(f64::NAN)).median, 2);
            let rate = or_blank(row.spread(|sample| sample.rate.unwrap_or(f64::NAN)).median, 0);
            let of_tonic = or_blank(self.of_tonic(row).unwrap_or(f64::NAN), 2);
            let verdicts: Vec<_> = self.verdicts(row).iter().map(Verdict::to_string).collect();
            let line = format!(
                "  {:<26}{cost:>30} {user:>8} {rate:>10} {of_tonic:>9}  {}",
                row.name,
                verdicts.join("; ")
            );
            writeln!(f, "{}", line.trim_end())?;
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

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, lowest, highest } = self;
        // Three digits that say something, also of what is counted in hundredths.
        let digits = if *median < 1.0 {
            3
        } else if *median < 1000.0 {
            2
        } else {
            0
        };
        if lowest == highest {
            return write!(f, "{median:.digits$}");
        }
        write!(f, "{median:.digits$} ({lowest:.digits$} to {highest:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(stack: Stack, scheduler: Scheduler, costs: &[f64]) -> Row {
        let sample = |cost: &f64| Sample { cost: *cost, user: Some(cost / 2.0), rate: Some(1e6 / cost) };
        let name = format!("{}, {}", stack.name(), scheduler.name());
        Row { name, stack, scheduler, samples: costs.iter().map(sample).collect() }
    }

    fn table() -> Table {
        let section = Section {
            id: "a-20".into(),
            title: "1 connection x 100 calls".into(),
            unit: "us CPU/call",
            rows: vec![
                row(Stack::RawTcp, Scheduler::CurrentThread, &[1.0, 1.0, 1.0]),
                row(Stack::Tonic, Scheduler::CurrentThread, &[8.0, 40.0, 9.0]),
                row(Stack::Clearway, Scheduler::CurrentThread, &[2.0, 10.0, 1.0]),
                row(Stack::Clearway, Scheduler::OneWorker, &[2.0, 2.0, 2.0]),
            ],
            targets: vec![
                Target { scheduler: Some(Scheduler::CurrentThread), bar: Bar::OfTonic(0.2) },
                Target { scheduler: None, bar: Bar::OfRaw(2.0) },
            ],
            load: 9.0,
        };
        let conditions = Conditions {
            effort: Effort { rounds: 3, lonely_rounds: 3, each: Duration::from_secs(1) },
            cores: Cores { server: Some(0), load: Some(1) },
            processor: "a processor".into(),
            versions: vec!["clearway 0".into(), "tonic 1".into()],
            notices: vec!["no grpc-go: cannot run go".into()],
        };
        Table { conditions, sections: vec![section] }
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
    fn ratios_pair_the_rounds() {
        // Round by round 1/4, 1/4 and 1/9: not the 2/9 of the medians.
        let section = &table().sections[0];
        assert_eq!(section.of_tonic(&section.rows[2]), Some(0.25));
        assert_eq!(section.of_tonic(&section.rows[3]), None);
    }

    #[test]
    fn targets_are_for_our_rows_on_their_scheduler() {
        let section = &table().sections[0];
        assert!(section.verdicts(&section.rows[1]).is_empty());
        let said = |row: &Row| section.verdicts(row).iter().map(Verdict::to_string).collect::<Vec<_>>();
        assert_eq!(said(&section.rows[2]), ["0.25 of tonic (<= 0.2) MISSED", "2.00 of raw (<= 2) met"]);
        assert_eq!(said(&section.rows[3]), ["2.00 of raw (<= 2) met"]);
        let least = Verdict { bar: Bar::AtLeast(0.85), reached: 0.9 };
        assert_eq!(least.to_string(), "(>= 0.85) met");
    }

    #[test]
    fn text_has_a_line_for_each_program_and_says_what_is_missing() {
        let text = table().to_string();
        assert!(text.contains("clearway 0; tonic 1."), "{text}");
        assert!(text.contains("Missing: no grpc-go"), "{text}");
        assert!(text.contains("The machine was busy"), "{text}");
        let tonic = text.lines().find(|line| line.contains("tonic, current_thread")).unwrap();
        let words: Vec<_> = tonic.split_whitespace().collect();
        assert_eq!(
            words,
            ["tonic,", "current_thread", "9.00", "(8.00", "to", "40.00)", "4.50", "111111", "1.00"]
        );
    }

    #[test]
    fn json_has_medians_ratios_verdicts_and_samples() {
        let json = table().to_json();
        let ours = &json["sections"][0]["rows"][2];
        assert_eq!(ours["cost"]["median"], 2.0);
        assert_eq!(ours["of_tonic"], 0.25);
        assert_eq!(ours["targets"][0]["met"], false);
        assert_eq!(ours["samples"].as_array().unwrap().len(), 3);
        assert!(json["sections"][0]["rows"][3]["of_tonic"].is_null());
    }
}
