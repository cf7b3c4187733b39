//! The knobs of service config, retries and waiting for readiness (gRFC A6, gRPC's wait-for-ready page).

use crate::Error;
use crate::client::Endpoint;
use crate::client::replay::Room;
use crate::client::service_config::{MAX_ATTEMPTS, Methods, ServiceConfig};

/// What one call may keep of its request for another attempt, in octets, unless chosen otherwise: 256 KiB.
pub const DEFAULT_RETRY_CALL_BUFFER_SIZE: usize = 256 * 1024;
/// What all calls of a channel may keep, in octets, unless chosen otherwise: 16 MiB.
pub const DEFAULT_RETRY_BUFFER_SIZE: usize = 16 * 1024 * 1024;

/// What the knobs here set.
#[derive(Clone, Debug)]
pub(in crate::client) struct Repeats {
    pub(super) config: Option<ServiceConfig>,
    pub(in crate::client) wait_for_ready: bool,
    max_attempts: u32,
    per_call: usize,
    per_channel: usize,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            config: None,
            wait_for_ready: false,
            max_attempts: MAX_ATTEMPTS,
            per_call: DEFAULT_RETRY_CALL_BUFFER_SIZE,
            per_channel: DEFAULT_RETRY_BUFFER_SIZE,
        }
    }
}

impl Repeats {
    pub(in crate::client) fn methods(&self) -> Option<Methods> {
        self.config.clone().map(|config| Methods::new(config, self.max_attempts))
    }

    pub(in crate::client) fn room(&self) -> Room {
        Room::new(self.per_call, self.per_channel)
    }
}

impl Endpoint {
    /// What the service's owner wants of calls, by method: a [`ServiceConfig`], or with the cargo feature `service-config`
    /// its JSON. It takes the place of one that was given before. Default: none.
    ///
    /// # Errors
    /// It is not allowed, or not readable; the error names the place in the JSON.
    pub fn service_config<C>(mut self, config: C) -> Result<Self, Error>
    where
        C: TryInto<ServiceConfig>,
        Error: From<C::Error>,
    {
        let config = config.try_into()?;
        config.check()?;
        self.repeats.config = Some(config);
        Ok(self)
    }

    /// Whether calls wait for a connection, as long as their deadline allows, where none can be made; otherwise they fail with
    /// UNAVAILABLE and say why. While one is being made all calls wait.
    ///
    /// Default: false. The service config's word for a method counts more, and
    /// [`Request::set_wait_for_ready`](crate::Request::set_wait_for_ready) most.
    #[must_use]
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.repeats.wait_for_ready = wait;
        self
    }

    /// How many attempts, the first one included, a retry or hedging policy may ask for; more count as so many. One turns
    /// policies off. Transparent retries, of calls that no server has looked at, are not counted.
    ///
    /// Default: 5 (gRFC A6).
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.repeats.max_attempts = attempts;
        self
    }

    /// What one call, and what all calls of the channel, may keep of their requests for another attempt, in octets. A call
    /// that needs more goes on and is not sent again; a single message that is larger is sent once.
    ///
    /// Default: [`DEFAULT_RETRY_CALL_BUFFER_SIZE`] and [`DEFAULT_RETRY_BUFFER_SIZE`].
    #[must_use]
    pub fn retry_buffer_size(mut self, call_octets: usize, channel_octets: usize) -> Self {
        (self.repeats.per_call, self.repeats.per_channel) = (call_octets, channel_octets);
        self
    }
}
