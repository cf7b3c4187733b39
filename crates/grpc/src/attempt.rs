//! [`Attempt`]: what became of each time a call was sent, for a call that a policy sent more than once (gRFC A6);
//! and what a server has to say about it.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use clearway_transport::PeerAddr;

use crate::cause::Processed;
use crate::metadata::{AsciiMetadataKey, MetadataKey};
use crate::{Code, Request, Status};

/// How often a call was sent before, among a request's metadata.
const PREVIOUS: &str = "grpc-previous-rpc-attempts";
/// When it may be sent again, among the trailers.
pub(crate) const PUSHBACK: AsciiMetadataKey = MetadataKey::from_static("grpc-retry-pushback-ms");

/// One time a call was sent, that failed.
///
/// A call sent again because the peer did not look at it (a transparent retry) is the same attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// When it began, counted from the beginning of the call.
    pub began: Duration,
    /// How long it took to fail.
    pub took: Duration,
    /// Who got it; none if it never left.
    pub peer: Option<PeerAddr>,
    /// What it ended with.
    pub code: Code,
    /// The message of that status.
    pub message: String,
    /// Whether the peer can have acted on it. What the status at the end says of the call counts all its attempts.
    pub processed: Processed,
    /// How long the next attempt was put off; none if this one was not the reason for another.
    pub backoff: Option<Duration>,
    /// The server said so (`grpc-retry-pushback-ms`).
    pub pushback: bool,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match &self.peer {
            Some(peer) => write!(f, " from {peer}")?,
            None => f.write_str(" before it left")?,
        }
        write!(f, " after {:.1?}", self.took)?;
        match self.backoff {
            Some(wait) if self.pushback => write!(f, ", {wait:.1?} later as the server asked"),
            Some(wait) if !wait.is_zero() => write!(f, ", {wait:.1?} later"),
            _ => Ok(()),
        }
    }
}

/// All of a call, on one pointer; none for most calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Option<Arc<Vec<Attempt>>>);

impl Attempts {
    pub(crate) fn of(made: Vec<Attempt>) -> Self {
        Self((!made.is_empty()).then(|| Arc::new(made)))
    }

    pub(crate) fn as_slice(&self) -> &[Attempt] {
        self.0.as_ref().map_or(&[], |made| made)
    }
}

/// In one line, behind a status: only where there was more than one.
impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.as_slice();
        if made.len() < 2 {
            return Ok(());
        }
        write!(f, " ({} attempts: ", made.len())?;
        for (at, attempt) in made.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            attempt.fmt(f)?;
        }
        f.write_str(")")
    }
}

impl Status {
    /// Server: when a client that sends calls again by policy may send this one: after so long, or with `None` never (gRFC A6,
    /// "Pushback"). It counts if the call fails before its response began; what the policy does not send again stays so.
    ///
    /// Sent as `grpc-retry-pushback-ms` among the trailers, in whole milliseconds, rounded up.
    pub fn set_retry_pushback(&mut self, after: Option<Duration>) -> &mut Self {
        let millis = after.map_or_else(
            || "-1".to_owned(),
            |after| {
                let millis = after.as_nanos().div_ceil(1_000_000);
                // Peers read 32 bits with a sign.
                i32::try_from(millis).unwrap_or(i32::MAX).to_string()
            },
        );
        if let Ok(value) = millis.parse() {
            self.metadata_mut().insert(PUSHBACK, value);
        }
        self
    }
}

impl<T> Request<T> {
    /// Server: how often the client sent this call before and saw it fail (`grpc-previous-rpc-attempts`, gRFC A6); with hedging those
    /// attempts may still be under way. Zero for nearly all calls.
    #[must_use]
    pub fn previous_attempts(&self) -> u32 {
        let text = self.metadata().get(PREVIOUS).and_then(|value| value.to_str().ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}
