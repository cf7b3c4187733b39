//! [`ServiceConfig`]: what a service's owner wants of every client of it, by method: deadlines, sizes, waiting for readiness,
//! retries and hedging.
//!
//! Sources: gRPC's service config page and its `ServiceConfig` message, gRFC A2 (names), A6 (retries), A21 (what is an error).
//! It comes as JSON (cargo feature `service-config`) or from the builders here; both are checked by the same rules, when the
//! endpoint is made.
//!
//! Invariant: what [`Methods`] holds was checked.
//!
//! Left out: configuration that a resolver brings (TXT records, xDS), health checking, other policies than `pick_first`.

mod check;
#[cfg(feature = "service-config")]
mod json;
mod lookup;

use core::time::Duration;

use crate::Code;
#[cfg(feature = "service-config")]
use crate::Error;

pub(crate) use check::MAX_ATTEMPTS;
pub(crate) use lookup::{Method, Methods, Repeat};

/// What a channel does with calls of certain methods.
///
/// ```
/// use std::time::Duration;
/// use clearway::Code;
/// use clearway::client::{MethodConfig, RetryPolicy, ServiceConfig};
///
/// let config = ServiceConfig::new().method(
///     MethodConfig::for_service("hello.Greeter")
///         .timeout(Duration::from_secs(2))
///         .retry(RetryPolicy::new(3, [Code::Unavailable])),
/// );
/// # let _ = clearway::transport::Endpoint::from_static("http://[::1]:1").service_config(config).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceConfig {
    methods: Vec<MethodConfig>,
    throttling: Option<RetryThrottling>,
    balancing: Option<String>,
    /// `pick_first` is to try the addresses in an order of chance.
    shuffle: bool,
}

/// What is done with calls of the methods it names. Of several that fit a call the one that names its method counts, then the
/// one that names its service, then the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodConfig {
    names: Vec<Name>,
    wait_for_ready: Option<bool>,
    timeout: Option<Duration>,
    max_request: Option<usize>,
    max_response: Option<usize>,
    repeat: Option<Policy>,
}

/// Which calls are meant; empty is "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Name {
    service: String,
    method: String,
}

/// How a call is sent more than once.
#[derive(Clone, Debug, PartialEq)]
enum Policy {
    Retry(RetryPolicy),
    Hedge(HedgingPolicy),
}

/// A call that failed with one of these codes, before its response began, is sent again after a wait (gRFC A6).
///
/// The wait before the n-th retry is `initial_backoff` x `backoff_multiplier`^(n-1), at most `max_backoff`, plus or minus a
/// fifth; a server that says `grpc-retry-pushback-ms` decides itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
    backoff_multiplier: f64,
    codes: Vec<Code>,
}

/// A call is sent again while it is still under way, without waiting for it to fail; the first good answer counts and the
/// others are cancelled (gRFC A6). Only for methods that may be executed more than once.
#[derive(Clone, Debug, PartialEq)]
pub struct HedgingPolicy {
    max_attempts: u32,
    delay: Duration,
    non_fatal: Vec<Code>,
}

/// How many retries and hedges a channel's failures may cause (gRFC A6): a failed attempt costs one token, a success earns
/// `token_ratio`, and while no more than half of `max_tokens` are left nothing is sent again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryThrottling {
    max_tokens: f64,
    token_ratio: f64,
}

impl ServiceConfig {
    /// One that says nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the JSON form of gRPC's `ServiceConfig`. Fields it does not know are ignored.
    ///
    /// # Errors
    /// It is no JSON, or what it says is not allowed; the error names the place, as `methodConfig[0].retryPolicy.maxAttempts`.
    ///
    /// ```
    /// use clearway::client::ServiceConfig;
    ///
    /// let error = ServiceConfig::from_json(r#"{"methodConfig": [{"timeout": "1 s"}]}"#).unwrap_err();
    /// assert!(error.to_string().contains("methodConfig[0].timeout"));
    /// ```
    #[cfg(feature = "service-config")]
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let config =
            json::read(json).map_err(|problem| Error::config(format!("service config: {problem}")))?;
        config.check()?;
        Ok(config)
    }

    /// Adds what is done with certain methods.
    #[must_use]
    pub fn method(mut self, method: MethodConfig) -> Self {
        self.methods.push(method);
        self
    }

    /// Bounds what retries and hedges add to a server's load. Default: no bound but each call's own number of attempts.
    #[must_use]
    pub fn retry_throttling(mut self, throttling: RetryThrottling) -> Self {
        self.throttling = Some(throttling);
        self
    }

    /// The balancing policy that was chosen: the first of the list that this library knows.
    #[must_use]
    pub fn load_balancing_policy(&self) -> Option<&str> {
        self.balancing.as_deref()
    }

    /// True if a channel is to try its addresses in an order of chance, so that clients of `pick_first` do not all meet at the first
    /// one (gRFC A62): `shuffleAddressList`.
    #[must_use]
    pub fn shuffles_addresses(&self) -> bool {
        self.shuffle
    }
}

impl MethodConfig {
    /// For one method, as `("hello.Greeter", "SayHello")`.
    #[must_use]
    pub fn for_method(service: impl Into<String>, method: impl Into<String>) -> Self {
        Self::default().and_method(service, method)
    }

    /// For every method of a service.
    #[must_use]
    pub fn for_service(service: impl Into<String>) -> Self {
        Self::default().and_method(service, "")
    }

    /// For every call that no other entry fits.
    #[must_use]
    pub fn for_all() -> Self {
        Self::default().and_method("", "")
    }

    /// The same for another method, too; every one of the service if `method` is empty.
    #[must_use]
    pub fn and_method(mut self, service: impl Into<String>, method: impl Into<String>) -> Self {
        self.names.push(Name { service: service.into(), method: method.into() });
        self
    }

    /// Whether calls wait for a connection where none can be made, instead of failing. Default: as the endpoint says; a
    /// request's own word counts more.
    #[must_use]
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = Some(wait);
        self
    }

    /// A deadline for calls, from their beginning. The smallest of this, the request's and the endpoint's counts.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The largest message sent, in octets before compression. The smaller of this and the client's own limit counts.
    #[must_use]
    pub fn max_request_message_size(mut self, octets: usize) -> Self {
        self.max_request = Some(octets);
        self
    }

    /// The largest message accepted, in octets. The smaller of this and the client's own limit counts.
    #[must_use]
    pub fn max_response_message_size(mut self, octets: usize) -> Self {
        self.max_response = Some(octets);
        self
    }

    /// Sends calls again that failed. It takes the place of a hedging policy.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.repeat = Some(Policy::Retry(policy));
        self
    }

    /// Sends calls again before they failed. It takes the place of a retry policy.
    #[must_use]
    pub fn hedge(mut self, policy: HedgingPolicy) -> Self {
        self.repeat = Some(Policy::Hedge(policy));
        self
    }
}

impl RetryPolicy {
    /// The wait before the first retry unless another is chosen: 100 ms.
    pub const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
    /// The longest wait unless another is chosen: 1 s.
    pub const MAX_BACKOFF: Duration = Duration::from_secs(1);
    /// How much longer each wait is than the one before unless chosen otherwise: twice.
    pub const BACKOFF_MULTIPLIER: f64 = 2.0;

    /// At most so many attempts, the first one included, while they fail with one of these codes. At least 2 attempts; more
    /// than [`Endpoint::max_attempts`](super::Endpoint::max_attempts) count as that many.
    #[must_use]
    pub fn new(max_attempts: u32, codes: impl IntoIterator<Item = Code>) -> Self {
        Self {
            max_attempts,
            initial_backoff: Self::INITIAL_BACKOFF,
            max_backoff: Self::MAX_BACKOFF,
            backoff_multiplier: Self::BACKOFF_MULTIPLIER,
            codes: codes.into_iter().collect(),
        }
    }

    /// The wait before the first retry. Default: [`RetryPolicy::INITIAL_BACKOFF`]; it must be more than zero.
    #[must_use]
    pub fn initial_backoff(mut self, wait: Duration) -> Self {
        self.initial_backoff = wait;
        self
    }

    /// The longest wait. Default: [`RetryPolicy::MAX_BACKOFF`]; it must be more than zero.
    #[must_use]
    pub fn max_backoff(mut self, wait: Duration) -> Self {
        self.max_backoff = wait;
        self
    }

    /// How much longer each wait is than the one before. Default: [`RetryPolicy::BACKOFF_MULTIPLIER`]; it must be more than zero.
    #[must_use]
    pub fn backoff_multiplier(mut self, factor: f64) -> Self {
        self.backoff_multiplier = factor;
        self
    }
}

impl HedgingPolicy {
    /// At most so many attempts, the first one included, each `delay` after the one before; zero sends all at once. At least
    /// 2 attempts; more than [`Endpoint::max_attempts`](super::Endpoint::max_attempts) count as that many.
    #[must_use]
    pub const fn new(max_attempts: u32, delay: Duration) -> Self {
        Self { max_attempts, delay, non_fatal: Vec::new() }
    }

    /// Codes after which the others are waited for, and the next attempt is sent at once. Any other failure ends the call.
    /// Default: none.
    #[must_use]
    pub fn non_fatal(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.non_fatal = codes.into_iter().collect();
        self
    }
}

impl RetryThrottling {
    /// `max_tokens` is more than 0 and at most 1000; `token_ratio` is more than 0, and counts with three decimals.
    #[must_use]
    pub const fn new(max_tokens: f64, token_ratio: f64) -> Self {
        Self { max_tokens, token_ratio }
    }
}

#[cfg(feature = "service-config")]
impl TryFrom<&str> for ServiceConfig {
    type Error = Error;

    fn try_from(json: &str) -> Result<Self, Error> {
        Self::from_json(json)
    }
}

#[cfg(feature = "service-config")]
impl TryFrom<String> for ServiceConfig {
    type Error = Error;

    fn try_from(json: String) -> Result<Self, Error> {
        Self::from_json(&json)
    }
}

#[cfg(feature = "service-config")]
impl core::str::FromStr for ServiceConfig {
    type Err = Error;

    fn from_str(json: &str) -> Result<Self, Error> {
        Self::from_json(json)
    }
}
