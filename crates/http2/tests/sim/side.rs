//! One side of a connection: an engine, its program, the model of what the program must have heard, and the bytes on their way
//! out of the engine.

use std::collections::{BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, FrameHeader, Kind, SettingId, encode_settings};
use clearway_http2::stream::State;
use clearway_http2::{By, Connection, ConnectionError, ErrorCode, Instant, Role, StreamKey, Tx};
use clearway_testkit::{FrameTap, Tapped, Way};

use crate::ledger::Ledger;
use crate::model::{Model, Verdict};
use crate::program::{Call, Ended, Program};
use crate::sabotage::{Between, Sabotage};
use crate::section_check::SectionCheck;
use crate::watch::{Counts, Shown};

/// With less unsent output than this nothing that may be sent is held back.
const OUTPUT_MARK: usize = 32 * 1024;

/// A frame in the engine's output.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    left: usize,
    /// Some of it is on the link already.
    begun: bool,
    /// It is put on the link.
    kept: bool,
    /// CONTINUATION follows: nothing may come between.
    unfinished: bool,
    /// It is no frame.
    preface: bool,
}

/// One side.
pub(crate) struct Side {
    pub(crate) role: Role,
    pub(crate) engine: Connection,
    pub(crate) program: Program,
    pub(crate) model: Model,
    out: FrameTap,
    into: FrameTap,
    /// Octets of the pending output that were looked at.
    seen: usize,
    leaving: VecDeque<Leaving>,
    /// A field block has begun on the link and is not complete.
    in_block: bool,
    frames_out: u32,
    /// Streams whose first HEADERS this side sent.
    headed: BTreeSet<u32>,
    acks_sent: u32,
    /// Settings that a peer of this kind could change; put on the link at the next frame boundary.
    pub(crate) inject: Option<Vec<(SettingId, u32)>>,
    /// The connection is over here.
    pub(crate) over: bool,
    /// What a strict peer makes of this side's header sections.
    sections: SectionCheck,
    fault: Option<String>,
    /// What an observer was shown, and what it should have been.
    shown: Option<Arc<Shown>>,
    counts: Counts,
}

impl Side {
    pub(crate) fn new(role: Role, mut engine: Connection, program: Program, watched: bool) -> Self {
        let client = role == Role::Client;
        let mut leaving = VecDeque::new();
        if client {
            leaving.push_back(Leaving {
                left: PREFACE.len(),
                begun: false,
                kept: true,
                unfinished: false,
                preface: true,
            });
        }
        Self {
            role,
            program,
            model: Model::new(role),
            out: FrameTap::new(client),
            into: FrameTap::new(!client),
            seen: 0,
            leaving,
            in_block: false,
            frames_out: 0,
            headed: BTreeSet::new(),
            acks_sent: 0,
            inject: None,
            over: false,
            shown: watched.then(|| Shown::on(&mut engine)),
            counts: Counts::default(),
            sections: SectionCheck::new(),
            fault: None,
            engine,
        }
    }

    /// The driver's part after every input: the engine fills its output, and we look at what is new in it. `mine` is the ledger
    /// of the DATA this side sends, `theirs` that of what it receives.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        ledgers: (&mut Ledger, &mut Ledger),
        sabotage: &mut Option<Sabotage>,
    ) {
        let mut between = Between { program: &mut self.program, sabotage: sabotage.as_mut() };
        self.engine.transmit(now, &mut between);
        let (mine, theirs) = ledgers;
        let mut slices = [IoSlice::new(&[]); 256];
        let filled = self.engine.output(&mut slices);
        let mut skip = self.seen;
        for slice in &slices[..filled] {
            let passed = skip.min(slice.len());
            skip -= passed;
            let (leaving, model, headed) = (&mut self.leaving, &mut self.model, &mut self.headed);
            let (acks_sent, role, counts) = (&mut self.acks_sent, self.role, &mut self.counts);
            let (sections, fault) = (&mut self.sections, &mut self.fault);
            self.out.feed(&slice[passed..], |tapped| {
                if let Tapped::Content(_, octets) = tapped {
                    counts.octets[0] += octets as u64;
                }
                let Tapped::Whole(header, payload) = tapped else { return };
                counts.frames[0] += u64::from(header.kind != Kind::DATA);
                if let Err(error) = sections.said(header, payload) {
                    fault.get_or_insert(error);
                }
                let first = header.kind == Kind::HEADERS && headed.insert(header.stream_id);
                let swallowed = sabotage.as_mut().is_some_and(|sabotage| sabotage.swallows(header));
                let lost = swallowed
                    || sabotage.as_mut().is_some_and(|s| s.loses(header, role == Role::Server, first));
                let ack = header.kind == Kind::SETTINGS && header.flags.contains(Flags::ACK);
                *acks_sent += u32::from(ack);
                leaving.push_back(Leaving {
                    left: FrameHeader::OCTETS + header.length as usize,
                    begun: false,
                    // Only the first answers what the other engine sent.
                    kept: !lost && (!ack || *acks_sent == 1),
                    unfinished: matches!(header.kind, Kind::HEADERS | Kind::CONTINUATION)
                        && !header.flags.contains(Flags::END_HEADERS),
                    preface: false,
                });
                if swallowed {
                    return;
                }
                model.sent(header, payload);
                if header.kind == Kind::DATA {
                    mine.data_sent(header);
                }
                theirs.answer_sent(header, payload);
            });
        }
        self.seen = self.engine.pending_output();
    }

    /// Now and then the driver takes the output's buffer away, or lets the engine give back what it can have again.
    pub(crate) fn thrift(&mut self, chance: usize) {
        match chance {
            0 => drop(self.engine.take_buffer()),
            1 if !self.engine.has_buffer() => self.engine.give_buffer(Vec::with_capacity(4_096)),
            2 => self.engine.rest(),
            _ => {}
        }
    }

    /// True if there is something to write and the link takes it.
    pub(crate) fn may_write(&self, way: &Way) -> bool {
        !self.over && way.room() > 0 && self.engine.pending_output() > 0
    }

    /// The socket takes up to `most` octets.
    pub(crate) fn write(&mut self, now: Instant, way: &mut Way, most: usize) {
        let mut slices = [IoSlice::new(&[]); 256];
        let filled = self.engine.output(&mut slices);
        let octets: Vec<u8> =
            slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        self.engine.wrote(octets.len());
        self.seen -= octets.len();
        let mut rest = octets.as_slice();
        self.settings_change(now, way);
        while let Some(frame) = self.leaving.front_mut().filter(|_| !rest.is_empty()) {
            let (head, tail) = rest.split_at(frame.left.min(rest.len()));
            if frame.kept {
                way.push(now, head);
            }
            frame.left -= head.len();
            frame.begun = frame.kept;
            rest = tail;
            if frame.left == 0 {
                self.in_block = frame.unfinished;
                self.frames_out += u32::from(!frame.preface);
                self.leaving.pop_front();
                self.settings_change(now, way);
            }
        }
    }

    /// Puts changed settings on the link if a frame may begin here.
    pub(crate) fn settings_change(&mut self, now: Instant, way: &mut Way) {
        let inside = self.leaving.front().is_some_and(|frame| frame.begun);
        // SETTINGS of the engine's own come first (RFC 9113 §3.4).
        if self.in_block || inside || self.frames_out == 0 {
            return;
        }
        if let Some(values) = self.inject.take() {
            let mut frame = Vec::new();
            encode_settings(&values, &mut frame);
            way.push(now, &frame);
        }
    }

    /// Bytes came. Says how many were taken, and which requests the program must have been shown.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        piece: &[u8],
        ledgers: (&mut Ledger, &mut Ledger),
        sabotage: &mut Option<Sabotage>,
    ) -> Result<(usize, Vec<u32>), ConnectionError> {
        let mut between = Between { program: &mut self.program, sabotage: sabotage.as_mut() };
        let taken = self.engine.recv(now, piece, &mut between)?;
        let (mine, theirs) = ledgers;
        let (model, mut fresh, counts) = (&mut self.model, Vec::new(), &mut self.counts);
        let sections = &mut self.sections;
        self.into.feed(&piece[..taken], |tapped| match tapped {
            Tapped::Begins(header) if header.kind == Kind::DATA => theirs.data_got(header),
            Tapped::Whole(header, payload) => {
                counts.frames[1] += u64::from(header.kind != Kind::DATA);
                mine.answer_got(header, payload);
                sections.asked(header, payload);
                if header.kind == Kind::SETTINGS && header.flags.contains(Flags::ACK) {
                    theirs.acknowledged();
                }
                if model.got(header, payload) {
                    fresh.push(header.stream_id);
                }
            }
            Tapped::Begins(_) | Tapped::Content(..) => {}
        });
        Ok((taken, fresh))
    }

    /// Compares what the program was told with the model, and takes out the calls that are over.
    pub(crate) fn check(&mut self, now: Instant) -> Result<Vec<(u32, Ended)>, String> {
        if let Some(fault) = self.program.fault.take() {
            return Err(format!("{:?}: {fault}", self.role));
        }
        if let Some(fault) = self.fault.take() {
            return Err(format!("{:?}: {fault}", self.role));
        }
        // DATA that comes for a stream that is gone is not shown.
        let watched = self.shown.as_ref().map(|shown| shown.counts());
        if let Some(shown) = watched
            && (shown.frames != self.counts.frames || shown.octets[0] != self.counts.octets[0])
            && !self.over
        {
            return Err(format!("{:?}: an observer saw {shown:?} of {:?}", self.role, self.counts));
        }
        let ids: Vec<u32> = self.program.calls.values().map(|call| call.id).collect();
        let output = self.engine.pending_output();
        let mut over = Vec::new();
        for (key, call) in &self.program.calls {
            let Some(stream) = self.model.stream(call.id) else {
                return Err(format!("{:?}: stream {} never was on the wire", self.role, call.id));
            };
            let state = self.engine.tx(now).stream_state(*key);
            if !self.over && state != stream.state() {
                let expected = stream.state();
                return Err(format!("{:?}: stream {} is {state:?}, want {expected:?}", self.role, call.id));
            }
            let closed = stream.state() == State::Closed;
            if !agrees(self.role, call, closed, |verdict| stream.allows(verdict)) {
                return Err(format!("{:?}: {call:?} disagrees with the wire: {stream:?}", self.role));
            }
            if !closed && !self.over {
                waits_for_nothing(self.engine.tx(now), *key, call, stream.state(), output)
                    .map_err(|why| format!("{:?}: {call:?} {why}", self.role))?;
            }
            if closed {
                over.push((*key, call.id, call.ended.unwrap_or(Ended::Complete)));
            }
        }
        self.model.end_step(ids.into_iter());
        self.program.calls.retain(|key, _| over.iter().all(|(gone, ..)| gone != key));
        Ok(over.into_iter().map(|(_, id, ended)| (id, ended)).collect())
    }
}

/// Work is conserved: with credit and room in the output nothing waits, and a writer is told as soon as it may go on.
fn waits_for_nothing(
    tx: &mut Tx,
    stream: StreamKey,
    call: &Call,
    state: State,
    output: usize,
) -> Result<(), String> {
    let waiting = tx.backlog_octets(stream);
    let credit = tx.windows(stream).map_or(0, |windows| windows.send).min(tx.connection_windows().send);
    if output >= OUTPUT_MARK {
        return Ok(());
    }
    if waiting > 0 && credit > 0 {
        return Err(format!("has {waiting} octets that wait with {credit} octets of credit"));
    }
    if waiting == 0 && call.waits_to_write {
        return Err("waits to write, and nothing waits before it".to_owned());
    }
    if waiting == 0 && call.finished && matches!(state, State::Open | State::HalfClosedRemote) {
        return Err("has an end that waits for nothing".to_owned());
    }
    Ok(())
}

/// True if the call is told exactly what the wire says.
fn agrees(role: Role, call: &Call, closed: bool, allows: impl Fn(Verdict) -> bool) -> bool {
    match call.ended {
        Some(Ended::Complete) => allows(Verdict::Complete),
        Some(Ended::Reset(reset)) => {
            let refused = reset.code == ErrorCode::REFUSED_STREAM && allows(Verdict::LeftOut);
            let verdict = match reset.by {
                By::Peer => Verdict::PeerReset(reset.code),
                By::Us | By::Application => Verdict::WeReset(reset.code),
            };
            closed && (refused || allows(verdict))
        }
        Some(Ended::GaveUp(code)) => closed && allows(Verdict::WeReset(code)),
        Some(Ended::Lost) => closed && allows(Verdict::Lost),
        // A client hears of every end; a server is done when it has said everything.
        None if role == Role::Client => !closed && !allows(Verdict::Complete),
        None => !closed || (allows(Verdict::Complete) && call.finished),
    }
}
