//! All connections of a run and the clock they share: a step is one event, chosen by the seed.

use std::fmt;
use std::time::Duration;

use clearway_http2::Instant;
use clearway_testkit::{Random, Trail, Weather};

use crate::joint::{CLIENT, Joint, SERVER};
use crate::sabotage::{Bug, Sabotage};

/// Steps between two times when everything must come to rest.
const ROUND: u64 = 1_500;
/// Steps in which it must.
const REST_WITHIN: u64 = 60_000;
/// Virtual time in which it must.
const PATIENCE: Duration = Duration::from_secs(200);

/// The weather in which everything must come to rest.
const FAIR: Weather = Weather {
    longest_delay: Duration::from_micros(100),
    longest_piece: 60_000,
    crumbs: 10,
    capacity: 200_000,
};

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Happened {
    connection: usize,
    side: &'static str,
    what: &'static str,
    octets: usize,
}

/// A run.
pub(crate) struct World {
    joints: Vec<Joint>,
    now: Instant,
    random: Random,
    pub(crate) trail: Trail<Happened>,
    pub(crate) steps: u64,
    pub(crate) connections: u64,
    /// Calls that were opened, and those that their servers did not look at.
    pub(crate) calls: u64,
    pub(crate) refused: u64,
    sabotage: Option<Sabotage>,
    /// Connections end often.
    rough: bool,
    /// Which connection and side the step under way is about.
    under_way: (usize, &'static str, &'static str),
    /// The step at which the seeded bug struck.
    pub(crate) struck_at: Option<u64>,
}

const SIDES: [&str; 2] = ["client", "server"];

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed);
        let sabotage = bug.map(|bug| Sabotage::new(bug, random.below(50)));
        let joints: Vec<Joint> =
            (0..1 + random.below(3)).map(|_| Joint::new(&mut random, Instant::ZERO)).collect();
        Self {
            connections: joints.len() as u64,
            rough: random.one_in(2),
            joints,
            now: Instant::ZERO,
            random,
            calls: 0,
            refused: 0,
            trail: Trail::new(),
            steps: 0,
            sabotage,
            under_way: (0, "", ""),
            struck_at: None,
        }
    }

    /// Runs so many steps, and comes to rest again and again.
    pub(crate) fn run(&mut self, steps: u64) -> Result<(), String> {
        while self.steps < steps {
            let until = (self.steps + ROUND).min(steps);
            while self.steps < until {
                self.step()?;
            }
            self.come_to_rest()?;
            if self.random.one_in(4) {
                // Windows shrink while nothing comes.
                self.now = self.now + Duration::from_millis(self.random.bits() % 90_000);
            }
            if self.random.one_in(3) {
                let j = self.random.below(self.joints.len());
                self.joints[j] = Joint::new(&mut self.random, self.now);
                self.connections += 1;
            }
        }
        Ok(())
    }

    fn note(&mut self, connection: usize, side: usize, what: &'static str, octets: usize) {
        self.steps += 1;
        self.trail.note(self.now, Happened { connection, side: SIDES[side], what, octets });
        if self.struck_at.is_none() && self.sabotage.is_some_and(|sabotage| sabotage.struck) {
            self.struck_at = Some(self.steps);
        }
    }

    fn step(&mut self) -> Result<(), String> {
        // Timers that are far away run out only now and then.
        let until = if self.random.one_in(100) { None } else { Some(self.now + Duration::from_secs(20)) };
        if self.random.one_in(3) || !self.event(until)? {
            self.action()?;
        }
        for joint in &mut self.joints {
            self.refused += std::mem::take(&mut joint.refused);
            if joint.is_over() {
                *joint = Joint::new(&mut self.random, self.now);
                self.connections += 1;
            }
        }
        Ok(())
    }

    /// The next thing that happens by itself, if one does before `until`, however late without it.
    fn event(&mut self, until: Option<Instant>) -> Result<bool, String> {
        let mut next: Option<(Instant, usize, usize)> = None;
        // Ties are broken by chance.
        let first = self.random.below(self.joints.len() * 2);
        for n in 0..self.joints.len() * 2 {
            let at = (first + n) % (self.joints.len() * 2);
            let (j, side) = (at / 2, at % 2);
            let found = self.joints[j].next(side, self.now);
            if let Some((when, _)) = found.filter(|(when, _)| until.is_none_or(|until| *when <= until))
                && next.is_none_or(|(best, ..)| when < best)
            {
                next = Some((when, j, side));
            }
        }
        let Some((when, j, side)) = next else { return Ok(false) };
        self.now = self.now.max(when);
        self.under_way = (j, SIDES[side], "event");
        let (what, octets) = self.joints[j].happen(side, self.now, &mut self.random, &mut self.sabotage)?;
        self.note(j, side, what, octets);
        Ok(true)
    }

    fn action(&mut self) -> Result<(), String> {
        let j = self.random.below(self.joints.len());
        let side = self.random.below(2);
        let (now, joint) = (self.now, &mut self.joints[j]);
        let mut what = "acts";
        self.under_way = (j, SIDES[side], "action");
        // The ends of connections, of which a calm run has few.
        let ends = if self.rough || self.random.one_in(20) { 0 } else { 10 };
        match ends + self.random.below(1_000 - ends) {
            10..300 => {
                let mut opened = false;
                what = "opens";
                joint.act(CLIENT, now, &mut self.sabotage, |program, tx| opened = program.open(tx))?;
                self.calls += u64::from(opened);
            }
            0..8 => {
                joint.act(side, now, &mut self.sabotage, |program, tx| {
                    program.waits_for_slot = false;
                    tx.shutdown();
                })?;
                if side == SERVER && self.random.one_in(2) {
                    // What the client opens before it hears of it comes too late.
                    joint.strand(now);
                    for _ in 0..1 + self.random.below(4) {
                        let mut opened = false;
                        joint
                            .act(CLIENT, now, &mut self.sabotage, |program, tx| opened = program.open(tx))?;
                        self.calls += u64::from(opened);
                    }
                }
                what = "goes away";
            }
            300..320 => {
                joint.change_settings(side, Some(&mut self.random));
                joint.act(side, now, &mut self.sabotage, |_, _| {})?;
                what = "changes settings";
            }
            320..330 => {
                joint.stalled = true;
                let stall = Duration::from_millis(1 + self.random.bits() % 14_000);
                joint.ways[side].stall(now + stall);
                what = "stalls";
            }
            8 => {
                joint.broken = true;
                let keep = self.random.below(joint.ways[side].in_flight() + 1);
                joint.ways[side].cut(keep);
                joint.ways[1 - side].cut(0);
                what = "is cut";
            }
            9 => {
                joint.broken = true;
                joint.ways[side].close();
                what = "is half-closed";
            }
            _ => joint.act(side, now, &mut self.sabotage, |program, tx| program.act(tx))?,
        }
        self.note(j, side, what, 0);
        Ok(())
    }

    /// The weather clears up and the programs only finish: every call must end, and nothing may be left.
    fn come_to_rest(&mut self) -> Result<(), String> {
        let (began, until) = (self.steps, self.now + PATIENCE);
        let weathers: Vec<Weather> = self.joints.iter().map(|joint| joint.ways[CLIENT].weather()).collect();
        for joint in &mut self.joints {
            joint.ways.iter_mut().for_each(|way| way.clear_up(FAIR));
            for side in [CLIENT, SERVER] {
                joint.sides[side].program.finishing = true;
                joint.change_settings(side, None);
                joint.act(side, self.now, &mut self.sabotage, |_, _| {})?;
            }
        }
        let mut idle = 0;
        while idle < 3 {
            if self.steps - began > REST_WITHIN {
                return Err(format!("no rest within {REST_WITHIN} steps: {}", self.what_is_left()));
            }
            if self.event(Some(until))? {
                idle = 0;
                continue;
            }
            idle += 1;
            for j in 0..self.joints.len() {
                for side in [CLIENT, SERVER] {
                    let joint = &mut self.joints[j];
                    joint.act(side, self.now, &mut self.sabotage, |program, tx| program.finish_calls(tx))?;
                    self.note(j, side, "finishes", 0);
                }
            }
        }
        for (joint, weather) in self.joints.iter_mut().zip(weathers) {
            joint.check_rest(self.now).map_err(|error| format!("stuck or leaked: {error}"))?;
            joint.sides.iter_mut().for_each(|side| side.program.finishing = false);
            joint.ways.iter_mut().for_each(|way| way.clear_up(weather));
        }
        Ok(())
    }

    fn what_is_left(&self) -> String {
        let sides = self.joints.iter().flat_map(|joint| &joint.sides);
        let calls: Vec<_> = sides.flat_map(|side| side.program.calls.values()).take(6).collect();
        format!("{calls:?}")
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, step {}, in {:?}, after:\n{}", self.now, self.steps, self.under_way, self.trail)
    }
}
