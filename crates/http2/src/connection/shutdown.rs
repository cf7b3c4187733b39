//! How a connection ends: gracefully in two steps, by the peer's GOAWAY, or at once. RFC 9113 §6.8.
//!
//! Invariant: once a last stream id was announced it is never raised.

use super::life::Farewell;
use crate::error::{ConnectionError, ErrorCode};
use crate::stream::registry::MAX_STREAM_ID;
use crate::time::Instant;

/// The payload of the PING between the two GOAWAYs.
pub(crate) const SHUTDOWN_PING: [u8; 8] = *b"clearway";

/// Our side of ending a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ours {
    /// Streams are welcome.
    Open,
    /// GOAWAY with the highest id was sent and a PING after it; streams in flight still get in until `deadline`.
    Announced { deadline: Instant },
    /// GOAWAY with the real last id was sent: later streams are ignored.
    Final { last_stream_id: u32 },
    /// A violation ended the connection.
    Failed(ConnectionError),
    /// Time was up: the last GOAWAY was sent, and streams were left.
    CutOff,
}

/// What the peer's GOAWAY said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerGoAway {
    /// Why it goes away.
    pub code: ErrorCode,
    /// Untrusted text of the peer's choosing, at most 256 octets of it.
    pub debug: Vec<u8>,
}

/// Both sides of ending a connection.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    pub(crate) ours: Ours,
    /// Why we go away; of no meaning while `ours` is open or failed.
    pub(crate) farewell: Farewell,
    /// The last id the peer will process, once it said so.
    pub(crate) peers_last_id: Option<u32>,
    pub(crate) peers_goaway: Option<Box<PeerGoAway>>,
}

impl Shutdown {
    pub(crate) const fn new() -> Self {
        Self { ours: Ours::Open, farewell: Farewell::Shutdown, peers_last_id: None, peers_goaway: None }
    }

    /// True if a stream with this id, opened by the peer, is still let in.
    pub(crate) const fn admits(&self, id: u32) -> bool {
        match self.ours {
            Ours::Open | Ours::Announced { .. } => true,
            Ours::Final { last_stream_id } => id <= last_stream_id,
            Ours::Failed(_) | Ours::CutOff => false,
        }
    }

    /// The last stream id a GOAWAY may name: one that was announced is never raised.
    pub(crate) const fn bound(&self, last_stream_id: u32) -> u32 {
        match self.ours {
            Ours::Final { last_stream_id: announced } if announced < last_stream_id => announced,
            _ => last_stream_id,
        }
    }

    /// True if we may open streams.
    pub(crate) const fn may_open(&self) -> bool {
        matches!(self.ours, Ours::Open) && self.peers_last_id.is_none()
    }

    /// True once either side has said that the connection goes away.
    pub(crate) const fn is_going_away(&self) -> bool {
        !self.may_open()
    }

    /// True once nothing may be received or sent any more.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.ours, Ours::Failed(_) | Ours::CutOff)
    }

    pub(crate) const fn failure(&self) -> Option<ConnectionError> {
        match self.ours {
            Ours::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The peer's GOAWAY. False if it raises the last id it gave before.
    pub(crate) fn peer_goes_away(&mut self, last_stream_id: u32) -> bool {
        let lowered = last_stream_id <= self.peers_last_id.unwrap_or(MAX_STREAM_ID);
        if lowered {
            self.peers_last_id = Some(last_stream_id);
        }
        lowered
    }
}
