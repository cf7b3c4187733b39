//! Two sides and the faulty link between them: what happens to one connection, and what must hold after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clearway_http2::frame::SettingId;
use clearway_http2::limits::Limits;
use clearway_http2::{
    By, Config, Connection, ConnectionError, ErrorCode, Instant, Role, StreamKey, Violation, WindowTuning,
};
use clearway_testkit::{Random, Way, Weather};

use crate::ledger::Ledger;
use crate::program::{Ended, Program, Shared};
use crate::sabotage::Sabotage;
use crate::side::Side;

/// The index of a side, and of the way that leads away from it.
pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

/// A connection.
pub(crate) struct Joint {
    pub(crate) sides: [Side; 2],
    /// From the client, and from the server.
    pub(crate) ways: [Way; 2],
    /// Of the DATA each side sends.
    ledgers: [Ledger; 2],
    configs: [Config; 2],
    /// Bytes were lost with the connection.
    pub(crate) broken: bool,
    /// The link stood still, or the engines have hardly any patience: they may have lost it.
    pub(crate) stalled: bool,
    /// Calls that ended so since somebody looked.
    pub(crate) refused: u64,
    /// Requests the server's program was shown, and how the client's calls ended.
    shown: BTreeSet<u32>,
    ended: BTreeMap<u32, Ended>,
}

fn config(random: &mut Random) -> Config {
    let tuning = [WindowTuning::Auto, WindowTuning::Fixed];
    Config {
        stream_window_octets: [100, 1_000, 10_000, 65_535, 65_536, 200_000][random.below(6)],
        connection_window_octets: [65_535, 100_000, 1 << 20][random.below(3)],
        stream_tuning: tuning[random.below(2)],
        connection_tuning: tuning[random.below(2)],
        max_frame_size: [16_384, 16_384, 50_000][random.below(3)],
        header_table_octets: [0, 100, 4_096][random.below(3)],
        encoder_table_octets: [0, 100, 4_096][random.below(3)],
        max_concurrent_streams: [1, 3, 20, 1_000][random.below(4)],
        receive_budget_octets: [30_000, 1 << 24, 1 << 24][random.below(3)],
        limits: Limits {
            header_list_octets: [16_384, 60_000][random.below(2)],
            send_stall: Duration::from_secs([5, 300][random.below(2)]),
            ..Limits::default()
        },
        ..Config::default()
    }
}

impl Joint {
    pub(crate) fn new(random: &mut Random, now: Instant) -> Self {
        let truth = Shared::default();
        let mut configs = [config(random), config(random)];
        let impatient = random.one_in(6);
        if impatient {
            configs.iter_mut().for_each(|config| config.peer_timeout = Duration::from_millis(150));
        }
        let longest_delay = Duration::from_micros([10, 1_000, 50_000][random.below(3)]);
        let weather = Weather {
            longest_delay,
            longest_piece: [100, 5_000, 60_000][random.below(3)],
            crumbs: [2, 5, 30][random.below(3)],
            capacity: [100, 20_000, 200_000][random.below(3)],
        };
        let mut way = || Way::new(Random::new(random.bits()), weather);
        let ways = [way(), way()];
        let terse = random.one_in(2);
        let mut program = |role, own: &Config, peer: &Config| {
            let tight = own.receive_budget_octets < 1 << 24;
            // A hundred windows are enough of any call, and mostly it is short calls that are many.
            let most = if terse { 1_500 } else { u64::from(peer.stream_window_octets) * 100 };
            Program::new(role, Random::new(random.bits()), Shared::clone(&truth), tight, most)
        };
        let [client, server] = &configs;
        let programs = (program(Role::Client, client, server), program(Role::Server, server, client));
        let watched = [random.one_in(3), random.one_in(3)];
        let client = Connection::client(configs[CLIENT].clone(), now);
        let server = Connection::server(configs[SERVER].clone(), now);
        let sides = [
            Side::new(Role::Client, client, programs.0, watched[CLIENT]),
            Side::new(Role::Server, server, programs.1, watched[SERVER]),
        ];
        // DATA of one side is bounded by the other's windows.
        let ledgers = [SERVER, CLIENT].map(|receiver| Ledger::new(configs[receiver].stream_window_octets));
        let mut joint = Self {
            sides,
            ways,
            ledgers,
            configs,
            broken: false,
            stalled: impatient,
            refused: 0,
            shown: BTreeSet::new(),
            ended: BTreeMap::new(),
        };
        joint.look(CLIENT, now, &mut None);
        joint
    }

    fn look(&mut self, at: usize, now: Instant, sabotage: &mut Option<Sabotage>) {
        let [up, down] = &mut self.ledgers;
        let ledgers = if at == CLIENT { (up, down) } else { (down, up) };
        self.sides[at].look(now, ledgers, sabotage);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.sides.iter().all(|side| side.over)
    }

    /// When something happens by itself on a side, and whether it is only a timer.
    pub(crate) fn next(&self, at: usize, now: Instant) -> Option<(Instant, bool)> {
        let side = &self.sides[at];
        let writes = side.may_write(&self.ways[at]).then_some(now);
        let arrives = self.ways[1 - at].next();
        // Nobody listens any more; what arrives is dropped once.
        let arrives = if side.over && self.ways[1 - at].has_ended() { None } else { arrives };
        let event = [writes, arrives].into_iter().flatten().min().map(|at| (at, false));
        let timer = side.engine.next_timer().filter(|_| !side.over).map(|at| (at, true));
        [event, timer].into_iter().flatten().min()
    }

    /// What is due on a side happens: some of it.
    pub(crate) fn happen(
        &mut self,
        at: usize,
        now: Instant,
        random: &mut Random,
        sabotage: &mut Option<Sabotage>,
    ) -> Result<(&'static str, usize), String> {
        let arrives = self.ways[1 - at].next().is_some_and(|next| next <= now);
        self.sides[at].thrift(random.below(8));
        if self.sides[at].may_write(&self.ways[at]) && (!arrives || random.one_in(2)) {
            let most = 1 + random.below(self.ways[at].room());
            self.sides[at].write(now, &mut self.ways[at], most);
            self.settle(at, now, sabotage)?;
            return Ok(("writes at most", most));
        }
        if let Some(piece) = self.ways[1 - at].take(now) {
            self.arrive(at, now, &piece, sabotage)?;
            return Ok(("reads", piece.len()));
        }
        if arrives && !self.sides[at].over {
            self.end(at, now, sabotage)?;
            return Ok(("sees the end", 0));
        }
        let side = &mut self.sides[at];
        if !side.over && side.engine.next_timer().is_some_and(|timer| timer <= now) {
            let ticked = side.engine.on_tick(now, &mut side.program);
            self.outcome(at, now, ticked, sabotage)?;
            self.settle(at, now, sabotage)?;
            return Ok(("has a timer", 0));
        }
        Ok(("waits", 0))
    }

    fn arrive(
        &mut self,
        at: usize,
        now: Instant,
        piece: &[u8],
        sabotage: &mut Option<Sabotage>,
    ) -> Result<(), String> {
        if self.sides[at].over {
            return Ok(());
        }
        let received = {
            let [up, down] = &mut self.ledgers;
            let ledgers = if at == CLIENT { (up, down) } else { (down, up) };
            self.sides[at].receive(now, piece, ledgers, sabotage)
        };
        match received {
            Ok((taken, fresh)) => {
                self.ways[1 - at].put_back(now, &piece[taken..]);
                self.settle(at, now, sabotage)?;
                self.check_shown(at, &fresh)
            }
            Err(error) => {
                self.outcome(at, now, Err(error), sabotage)?;
                self.settle(at, now, sabotage)
            }
        }
    }

    /// Requests are shown exactly if they are not refused.
    fn check_shown(&mut self, at: usize, fresh: &[u32]) -> Result<(), String> {
        let shown = std::mem::take(&mut self.sides[at].program.shown);
        for id in fresh {
            let must = self.sides[at].model.admits(*id);
            if must != shown.contains(id) {
                return Err(format!("request {id} was {}shown", if must { "not " } else { "" }));
            }
        }
        self.shown.extend(shown);
        Ok(())
    }

    /// An engine gave the connection up: it may do so only for what the link did.
    fn outcome(
        &mut self,
        at: usize,
        now: Instant,
        outcome: Result<(), ConnectionError>,
        sabotage: &mut Option<Sabotage>,
    ) -> Result<(), String> {
        let Err(error) = outcome else { return Ok(()) };
        let late = matches!(
            error.violation,
            Violation::FieldBlockTimeout | Violation::SettingsTimeout | Violation::PrefaceTimeout
        );
        if !(late && self.stalled) {
            return Err(format!(
                "{:?} found fault with a legal peer: {}",
                self.sides[at].role,
                error.violation.text()
            ));
        }
        self.broken = true;
        self.end(at, now, sabotage)
    }

    /// The connection ends on one side: its program is told, its last words are written, its way is closed.
    pub(crate) fn end(
        &mut self,
        at: usize,
        now: Instant,
        sabotage: &mut Option<Sabotage>,
    ) -> Result<(), String> {
        if self.sides[at].over {
            return Ok(());
        }
        self.look(at, now, sabotage);
        let side = &mut self.sides[at];
        side.program.lost();
        side.model.lost();
        side.over = true;
        side.write(now, &mut self.ways[at], usize::MAX);
        self.ways[at].close();
        self.settle(at, now, sabotage)
    }

    /// A program does something.
    pub(crate) fn act(
        &mut self,
        at: usize,
        now: Instant,
        sabotage: &mut Option<Sabotage>,
        act: impl FnOnce(&mut Program, &mut clearway_http2::Tx),
    ) -> Result<(), String> {
        let side = &mut self.sides[at];
        if side.over {
            return Ok(());
        }
        act(&mut side.program, side.engine.tx(now));
        self.settle(at, now, sabotage)
    }

    /// After every input: the engine's output is looked at, and everything that must hold is compared.
    pub(crate) fn settle(
        &mut self,
        at: usize,
        now: Instant,
        sabotage: &mut Option<Sabotage>,
    ) -> Result<(), String> {
        if !self.sides[at].over {
            self.look(at, now, sabotage);
            self.sides[at].settings_change(now, &mut self.ways[at]);
        }
        let side = &mut self.sides[at];
        let ended = side.check(now)?;
        if let Some(accused) = side.program.accused.take()
            && !self.stalled
        {
            return Err(accused);
        }
        if at == CLIENT {
            for (id, ended) in ended {
                self.check_retry(id, ended)?;
            }
        }
        self.check_credit(now)?;
        let side = &self.sides[at];
        if !side.over && side.engine.is_finished() && side.engine.pending_output() == 0 {
            self.end(at, now, sabotage)?;
        }
        Ok(())
    }

    /// Unprocessed calls are exactly those reported as safe to send again.
    fn check_retry(&mut self, id: u32, ended: Ended) -> Result<(), String> {
        let refused = matches!(ended, Ended::Reset(reset) if reset.code == ErrorCode::REFUSED_STREAM);
        let shown = self.shown.contains(&id);
        self.refused += u64::from(refused);
        if refused && shown {
            return Err(format!("stream {id} was processed and is reported as refused"));
        }
        let answered = match ended {
            Ended::Complete => true,
            Ended::Reset(reset) => !refused && reset.by == By::Peer,
            Ended::GaveUp(_) | Ended::Lost => false,
        };
        if answered && !shown {
            return Err(format!("stream {id} ended with {ended:?} and was never processed"));
        }
        if ended == Ended::Lost && !self.broken {
            return Err(format!("stream {id} was lost by a connection that ended in good order"));
        }
        self.ended.insert(id, ended);
        Ok(())
    }

    fn check_credit(&mut self, now: Instant) -> Result<(), String> {
        if self.broken || self.sides.iter().any(|side| side.over) {
            return Ok(());
        }
        let [client, server] = &mut self.sides;
        let servers: BTreeMap<u32, StreamKey> =
            server.program.calls.iter().map(|(key, call)| (call.id, *key)).collect();
        let (client_tx, server_tx) = (client.engine.tx(now), server.engine.tx(now));
        let (c, s) = (client_tx.connection_windows(), server_tx.connection_windows());
        self.ledgers[CLIENT].check_connection(c, s)?;
        self.ledgers[SERVER].check_connection(s, c)?;
        for (key, call) in &client.program.calls {
            let there = servers.get(&call.id).and_then(|key| server_tx.windows(*key));
            if let (Some(c), Some(s)) = (client_tx.windows(*key), there) {
                self.ledgers[CLIENT].check_stream(call.id, c, s)?;
                self.ledgers[SERVER].check_stream(call.id, s, c)?;
            }
        }
        Ok(())
    }

    /// Changes settings as a peer might: `None` goes back to what the engine announced.
    pub(crate) fn change_settings(&mut self, from: usize, random: Option<&mut Random>) {
        let config = &self.configs[from];
        let (window, table) = (config.stream_window_octets, config.header_table_octets);
        let (frame, streams) = (config.max_frame_size, config.max_concurrent_streams);
        let mut values = vec![
            (SettingId::INITIAL_WINDOW_SIZE, window),
            (SettingId::HEADER_TABLE_SIZE, table),
            (SettingId::MAX_FRAME_SIZE, frame),
        ];
        if from == SERVER {
            values.push((SettingId::MAX_CONCURRENT_STREAMS, streams));
        }
        if let Some(random) = random {
            let lower = |random: &mut Random, value: u32| match random.below(3) {
                0 => value,
                1 => value / 2,
                _ => u32::try_from(random.below(value as usize + 1)).unwrap_or(value),
            };
            for (id, value) in &mut values {
                *value = lower(random, *value).max(if *id == SettingId::MAX_FRAME_SIZE { 16_384 } else { 0 });
            }
            values = vec![values[random.below(values.len())]];
            if let [(SettingId::MAX_CONCURRENT_STREAMS, value)] = values.as_mut_slice()
                && random.one_in(2)
            {
                // More than the server will take: it must refuse the rest.
                *value = streams.saturating_mul(3);
            }
        }
        self.sides[from].inject = Some(values);
    }

    /// The way to the server stands still until it has lost its patience.
    pub(crate) fn strand(&mut self, now: Instant) {
        self.stalled = true;
        self.ways[CLIENT].stall(now + self.configs[SERVER].peer_timeout + Duration::from_secs(1));
    }

    /// Nothing may be left of the calls that were made.
    pub(crate) fn check_rest(&mut self, now: Instant) -> Result<(), String> {
        if self.sides.iter().any(|side| side.over) {
            return Ok(());
        }
        for side in &mut self.sides {
            let (role, going) = (side.role, side.engine.is_going_away());
            let (streams, output) = (side.engine.stream_count(), side.engine.pending_output());
            if streams > 0 || output > 0 || !side.program.calls.is_empty() {
                let left = format!("{streams} streams, {output} octets, calls {:?}", side.program.calls);
                return Err(format!("{role:?}: at rest there is left: {left}"));
            }
            if side.program.pings != 0 || (side.program.waits_for_slot && !going) {
                return Err(format!("{role:?}: a PING or a waiting call was forgotten"));
            }
        }
        self.check_credit(now)?;
        let shown = |id: &u32| self.shown.contains(id);
        let unseen = self.ended.iter().find(|(id, ended)| **ended == Ended::Complete && !shown(id));
        unseen.map_or(Ok(()), |(id, _)| Err(format!("stream {id} was answered by nobody")))
    }
}
