//! Measuring programs in turn: once a round each, in an order that turns around from round to round, so that a machine
//! that slows down slows all. Everything runs until it has been measured as often as asked for.

use std::time::Duration;

use crate::load::{H2load, Printed};
use crate::peer::{Cores, Peer, load_average};
use crate::programs::{Contender, Invocation};
use crate::table::{Row, Sample, Section, Target};
use crate::{Effort, Outcome};

/// What is done to a server.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Calls by h2load.
    H2load(H2load),
    /// A program that is told by `--requests=N` how much there is to do.
    Requests(Invocation),
    /// A program that makes one call with so many `--messages=N`.
    Messages(Invocation),
}

impl Work {
    fn run(&self, core: Option<usize>, port: u16, calls: u64) -> Outcome<Duration> {
        let (client, flag) = match self {
            Self::H2load(h2load) => return h2load.run(core, port, calls),
            Self::Requests(client) => (client, "requests"),
            Self::Messages(client) => (client, "messages"),
        };
        Printed::of(client, core, port, &[format!("--{flag}={calls}")])?.took()
    }

    /// Enough to see how fast a server is.
    fn probe(&self) -> u64 {
        match self {
            Self::H2load(_) | Self::Requests(_) => 2_000,
            Self::Messages(_) => 200,
        }
    }
}

/// A program, and how it is measured.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// The server's CPU time, while something works on it.
    Server { contender: Contender, work: Work },
    /// The client's own CPU time, while it calls a server.
    Client { contender: Contender, server: Invocation },
}

impl Subject {
    const fn contender(&self) -> &Contender {
        match self {
            Self::Server { contender, .. } | Self::Client { contender, .. } => contender,
        }
    }

    /// How many calls keep this one busy for about `wanted`.
    fn calls_that_take(&self, wanted: Duration, cores: Cores) -> Outcome<u64> {
        let (server, work) = match self {
            Self::Server { contender, work } => (&contender.command, work),
            Self::Client { contender, server } => (server, &Work::Requests(contender.command.clone())),
        };
        let server = Peer::start(server, cores.server)?;
        let took = work.run(cores.load, server.port(), work.probe())?;
        let calls = u128::from(work.probe()) * wanted.as_nanos() / took.as_nanos().max(1);
        Ok(u64::try_from(calls)?.max(work.probe()))
    }

    /// One measurement, with a fresh server that has been warmed up.
    fn sample(&self, calls: u64, cores: Cores) -> Outcome<Sample> {
        match self {
            Self::Server { contender, work } => {
                let server = Peer::start(&contender.command, cores.server)?;
                work.run(cores.load, server.port(), (calls / 10).max(work.probe() / 2))?;
                let (ticks, before) = (server.user_ticks()?, server.cpu_time()?);
                let took = work.run(cores.load, server.port(), calls)?;
                let cpu = server.cpu_time()?.saturating_sub(before);
                let share = server.user_ticks()?.user_share_since(ticks);
                Ok(sample(calls, cpu.as_secs_f64(), share, took))
            }
            Self::Client { contender, server } => {
                let server = Peer::start(server, cores.server)?;
                let client = &contender.command;
                Printed::of(client, cores.load, server.port(), &["--requests=1000".to_owned()])?;
                let requests = [format!("--requests={calls}")];
                let printed = Printed::of(client, cores.load, server.port(), &requests)?;
                Ok(sample(calls, printed.number("client_cpu_seconds")?, None, printed.took()?))
            }
        }
    }
}

fn sample(calls: u64, cpu_seconds: f64, user_share: Option<f64>, took: Duration) -> Sample {
    let calls = calls as f64;
    let cost = cpu_seconds * 1e6 / calls;
    Sample { cost, user: user_share.map(|share| share * cost), rate: Some(calls / took.as_secs_f64()) }
}

/// A section that is measured in rounds.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) targets: Vec<Target>,
    /// A single call in flight, which the scheduler's whims move most: measured more often.
    pub(crate) lonely: bool,
}

impl Plan {
    /// Measures all subjects. One that fails, fails the section.
    pub(crate) fn measure(self, effort: Effort, cores: Cores) -> Outcome<Section> {
        let load = load_average();
        // One call at a time leaves a server idle for most of the time; its clock ticks need longer to tell anything.
        let each = if self.lonely { effort.each * 2 } else { effort.each };
        let mut rows = Vec::new();
        let mut calls = Vec::new();
        for subject in &self.subjects {
            rows.push(Row::new(subject.contender()));
            calls.push(subject.calls_that_take(each, cores)?);
        }
        let rounds = if self.lonely { effort.lonely_rounds } else { effort.rounds };
        for round in 0..rounds {
            let mut turn: Vec<_> = self.subjects.iter().zip(&calls).zip(&mut rows).collect();
            if round % 2 == 1 {
                turn.reverse();
            }
            for ((subject, calls), row) in turn {
                row.samples.push(subject.sample(*calls, cores)?);
            }
        }
        let Self { id, title, unit, targets, .. } = self;
        Ok(Section { id, title, unit, rows, targets, load: load.max(load_average()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_per_call_and_per_second() {
        let sample = sample(1_000, 0.002, Some(0.25), Duration::from_millis(500));
        assert_eq!(sample, Sample { cost: 2.0, user: Some(0.5), rate: Some(2_000.0) });
    }
}
