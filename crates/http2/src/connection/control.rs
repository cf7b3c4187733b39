//! Frames that carry no content: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE. RFC 9113 §6.3 to §6.9.

use super::keepalive::ALIVE_PING;
use super::receive::Rx;
use super::shutdown::{Ours, PeerGoAway, SHUTDOWN_PING};
use super::tx::Tx;
use super::{Connection, Role};
use crate::error::{By, Reset, Scope, Violation};
use crate::flow_control::MAX_WINDOW;
use crate::frame::{
    FrameHeader, GoAway, Ping, Priority, RstStream, SettingId, Settings, SettingsValues, WindowUpdate,
};
use crate::handler::{self, Handler};
use crate::stream::registry::{ClosedBy, Lookup};
use crate::stream::{StreamKey, Tenure};
use crate::window_tuning::ROUND_TRIP_PING;

/// Debug text of a GOAWAY that is kept.
const GOAWAY_DEBUG_KEPT: usize = 256;

impl Rx {
    /// RFC 9113 §5.3.2: priorities are read and ignored.
    pub(super) fn on_priority<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        tx.counters.priority(&tx.config.limits)?;
        match Priority::decode(header, payload) {
            Ok(_) => Ok(()),
            Err(violation) => stream_violation(tx, header.stream_id, violation, handler),
        }
    }

    pub(super) fn on_rst_stream<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let frame = RstStream::decode(header, payload)?;
        match tx.streams.lookup(frame.stream_id) {
            Lookup::Idle => Err(Violation::FrameOnIdleStream),
            Lookup::Closed(_) => tx.counters.late_reset(&tx.config.limits, tx.now),
            Lookup::Live(key) => {
                // Cancelling a call that is being worked on is ordinary; one that did no work is counted
                // (CVE-2023-44487).
                let did_no_work = self.role == Role::Server
                    && tx.streams.get(key).is_some_and(|stream| stream.opened_in == self.calls);
                if did_no_work {
                    tx.counters.reset(&tx.config.limits, tx.now)?;
                }
                let reset = Reset { code: frame.code, by: By::Peer, violation: None };
                tx.end_by_reset(key, ClosedBy::PeerReset, reset, handler);
                Ok(())
            }
        }
    }

    pub(super) fn on_settings<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        match Settings::decode(header, payload)? {
            Settings::Ack if !tx.peer.received => Err(Violation::FirstFrameNotSettings),
            Settings::Ack => {
                self.local.acknowledged()?;
                tx.window_size_acknowledged();
                // RFC 7541 §4.2: our limit binds the peer's encoder from here on.
                self.decoder.set_max_table_octets(tx.config.header_table_octets);
                Ok(())
            }
            Settings::Values(values) => self.apply_settings(tx, values, handler),
        }
    }

    fn apply_settings<H: Handler>(
        &mut self,
        tx: &mut Tx,
        values: SettingsValues<'_>,
        handler: &mut H,
    ) -> Result<(), Violation> {
        if values.len() > tx.config.limits.settings_entries {
            return Err(Violation::TooManySettings);
        }
        let first = !tx.peer.received;
        if first {
            // RFC 9113 §6.5.2: without a word from the peer there is no limit; until SETTINGS came we assumed one.
            tx.peer.max_concurrent_streams = u32::MAX;
        }
        tx.peer.received = true;
        if !first {
            // Peers that tune themselves send a few; each may touch every stream.
            tx.counters.glitch(&tx.config.limits, tx.now)?;
        }
        let from_server = self.role == Role::Client;
        let mut initial_window = None;
        for (id, value) in values {
            crate::frame::check_setting(id, value, from_server)?;
            if id == SettingId::INITIAL_WINDOW_SIZE {
                initial_window = Some(value);
            } else {
                tx.apply_setting(id, value)?;
            }
        }
        // The last one counts, and moves every window once.
        initial_window.map_or(Ok(()), |value| tx.shift_windows(value))?;
        tx.write_settings_ack();
        if first {
            handler.on_ready(tx);
        }
        if tx.opener_waits && tx.streams.local_count() < tx.peer.max_concurrent_streams {
            tx.notices.stream_slot = true;
        }
        Ok(())
    }

    pub(super) fn on_ping<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let frame = Ping::decode(header, payload)?;
        if !frame.ack {
            tx.write_pong(frame.payload);
            return tx.police_ping();
        }
        match tx.pings_in_flight.checked_sub(1) {
            Some(left) => tx.pings_in_flight = left,
            // Nobody asked.
            None => return tx.counters.glitch(&tx.config.limits, tx.now),
        }
        if frame.payload == SHUTDOWN_PING && tx.shutdown.ours != Ours::Open {
            // It may come when its time is over and the second step was taken without it.
            if matches!(tx.shutdown.ours, Ours::Announced { .. }) {
                tx.finish_shutdown();
            }
        } else if frame.payload == ALIVE_PING
            || (frame.payload == ROUND_TRIP_PING && tx.round_trip.answered(tx.now))
        {
            // Ours, and nobody else's.
        } else {
            handler.on_pong(tx, frame.payload);
        }
        Ok(())
    }

    pub(super) fn on_goaway<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let frame = GoAway::decode(header, payload)?;
        tx.counters.glitch(&tx.config.limits, tx.now)?;
        if !tx.shutdown.peer_goes_away(frame.last_stream_id) {
            return Err(Violation::GoAwayIdRaised);
        }
        let seen =
            handler::GoAway { last_stream_id: frame.last_stream_id, code: frame.code, debug: frame.debug };
        handler.on_goaway(tx, &seen);
        let debug = frame.debug.get(..frame.debug.len().min(GOAWAY_DEBUG_KEPT)).unwrap_or_default();
        tx.shutdown.peers_goaway = Some(Box::new(PeerGoAway { code: frame.code, debug: debug.to_vec() }));
        let unprocessed: Vec<StreamKey> = tx
            .streams
            .iter()
            .filter(|(_, stream)| stream.tenure == Tenure::Live)
            .filter(|(_, stream)| tx.streams.is_local(stream.id) && stream.id > frame.last_stream_id)
            .map(|(key, _)| key)
            .collect();
        for key in unprocessed {
            tx.end_by_reset(key, ClosedBy::PeerReset, Tx::UNPROCESSED, handler);
        }
        Ok(())
    }

    pub(super) fn on_window_update<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        tx.counters.window_update(&tx.config.limits, tx.now)?;
        let frame = match WindowUpdate::decode(header, payload) {
            Ok(frame) => frame,
            Err(violation) => return stream_violation(tx, header.stream_id, violation, handler),
        };
        if frame.stream_id == 0 {
            return tx.send_window.grow(frame.increment).map_err(|_| Violation::ConnectionWindowOverflow);
        }
        match tx.streams.lookup(frame.stream_id) {
            Lookup::Idle => Err(Violation::FrameOnIdleStream),
            // RFC 9113 §5.1: WINDOW_UPDATE may come for a while after the end.
            Lookup::Closed(_) => Ok(()),
            Lookup::Live(key) => {
                let Some(stream) = tx.streams.live_mut(key) else { return Ok(()) };
                stream.credited = true;
                if stream.send_window.grow(frame.increment).is_err() {
                    return tx.stream_error(key, Violation::StreamWindowOverflow, handler);
                }
                tx.schedule(key);
                Ok(())
            }
        }
    }
}

/// A violation found while a frame was decoded. One of stream scope ends the connection after all when there is no
/// stream to end.
fn stream_violation<H: Handler>(
    tx: &mut Tx,
    stream_id: u32,
    violation: Violation,
    handler: &mut H,
) -> Result<(), Violation> {
    if violation.verdict().0 == Scope::Connection {
        return Err(violation);
    }
    match tx.streams.lookup(stream_id) {
        Lookup::Live(key) => tx.stream_error(key, violation, handler),
        Lookup::Idle => Err(violation),
        Lookup::Closed(_) => {
            tx.counters.glitch(&tx.config.limits, tx.now)?;
            tx.provoked_reset(stream_id, violation)
        }
    }
}

impl Tx {
    /// One setting of the peer (RFC 9113 §6.5.2), legal in itself.
    fn apply_setting(&mut self, id: SettingId, value: u32) -> Result<(), Violation> {
        match id {
            SettingId::HEADER_TABLE_SIZE => self.encoder.set_peer_limit(value),
            SettingId::MAX_CONCURRENT_STREAMS => self.peer.max_concurrent_streams = value,
            SettingId::MAX_FRAME_SIZE => self.peer.max_frame_size = value,
            SettingId::MAX_HEADER_LIST_SIZE => self.peer.max_header_list = value,
            SettingId::ENABLE_CONNECT_PROTOCOL => {
                if self.peer.connect_protocol && value == 0 {
                    return Err(Violation::SettingConnectProtocol);
                }
                self.peer.connect_protocol = value == 1;
            }
            // RFC 9113 §6.5.2: unknown settings are ignored.
            _ => {}
        }
        Ok(())
    }

    /// RFC 9113 §6.9.2: a new initial size moves the window of every open stream; it may become negative.
    fn shift_windows(&mut self, initial: u32) -> Result<(), Violation> {
        let by = i64::from(initial.min(MAX_WINDOW)).saturating_sub(i64::from(self.peer.initial_window));
        self.peer.initial_window = initial;
        if initial == 0 && self.waiting > 0 {
            // Patience may be shorter from here on.
            self.look_for_stalls_after(self.config.limits.zero_window_stall);
        }
        let mut waiting = Vec::new();
        for (key, stream) in self.streams.iter_mut() {
            stream.send_window.shift(by).map_err(|_| Violation::SettingsWindowOverflow)?;
            if by > 0 && stream.has_backlog() {
                waiting.push(key);
            }
        }
        for key in waiting {
            self.schedule(key);
        }
        Ok(())
    }
}

impl Connection {
    /// Our role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.tx.role
    }

    /// The peer's last GOAWAY.
    #[must_use]
    pub fn peer_goaway(&self) -> Option<&PeerGoAway> {
        self.tx.shutdown.peers_goaway.as_deref()
    }

    /// True once either side has sent GOAWAY.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.tx.is_going_away()
    }

    /// Streams open in both directions.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.tx.stream_count()
    }
}
