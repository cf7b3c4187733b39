//! SETTINGS: what we announced, what the peer announced, and what waits for an acknowledgement. RFC 9113 §6.5.

use core::time::Duration;

use crate::config::Config;
use crate::error::Violation;
use crate::frame::{MAX_MAX_FRAME_SIZE, MIN_MAX_FRAME_SIZE, SettingId};
use crate::time::Instant;

/// Streams assumed to be allowed until the peer's SETTINGS arrive (RFC 9113 §5.1.2 recommends no less).
const STREAMS_BEFORE_SETTINGS: u32 = 100;

/// What the peer announced; RFC 9113 §6.5.2's initial values until it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Streams we may have open at once.
    pub max_concurrent_streams: u32,
    /// Window of a new stream of ours, in octets.
    pub initial_window: u32,
    /// Largest frame payload we may send.
    pub max_frame_size: u32,
    /// Largest field section the peer wants, in octets; `u32::MAX` if it did not say.
    pub max_header_list: u32,
    /// Extended CONNECT is offered (RFC 8441). We do not use it; an offer cannot be taken back.
    pub connect_protocol: bool,
    /// True once the first SETTINGS arrived.
    pub received: bool,
}

impl PeerSettings {
    pub(crate) const fn initial() -> Self {
        Self {
            max_concurrent_streams: STREAMS_BEFORE_SETTINGS,
            initial_window: 65_535,
            max_frame_size: MIN_MAX_FRAME_SIZE,
            max_header_list: u32::MAX,
            connect_protocol: false,
            received: false,
        }
    }
}

/// What we announced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LocalSettings {
    /// Sent; the peer has until `deadline` to acknowledge.
    WaitingForAck { deadline: Instant },
    /// Acknowledged: the peer acts on them.
    Synced,
}

impl LocalSettings {
    pub(crate) fn sent(now: Instant, timeout: Duration) -> Self {
        Self::WaitingForAck { deadline: now + timeout }
    }

    /// An acknowledgement came.
    pub(crate) fn acknowledged(&mut self) -> Result<(), Violation> {
        match self {
            Self::WaitingForAck { .. } => {
                *self = Self::Synced;
                Ok(())
            }
            Self::Synced => Err(Violation::UnexpectedSettingsAck),
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::WaitingForAck { deadline } => Some(*deadline),
            Self::Synced => None,
        }
    }
}

/// The values to announce for a configuration, in the order of their ids.
pub(crate) fn announced(config: &Config, we_are_client: bool) -> Vec<(SettingId, u32)> {
    let mut values = vec![(SettingId::HEADER_TABLE_SIZE, config.header_table_octets)];
    if we_are_client {
        values.push((SettingId::ENABLE_PUSH, 0));
    } else {
        values.push((SettingId::MAX_CONCURRENT_STREAMS, config.max_concurrent_streams));
    }
    values.push((
        SettingId::INITIAL_WINDOW_SIZE,
        config.stream_window_octets.min(crate::flow_control::MAX_WINDOW),
    ));
    values.push((SettingId::MAX_FRAME_SIZE, max_frame_size(config)));
    values.push((SettingId::MAX_HEADER_LIST_SIZE, config.limits.header_list_octets));
    values
}

/// The largest frame payload we accept.
pub(crate) fn max_frame_size(config: &Config) -> u32 {
    config.max_frame_size.clamp(MIN_MAX_FRAME_SIZE, MAX_MAX_FRAME_SIZE)
}
