//! What a response must be, and the line that says what it was instead.

use core::fmt;

use clearway::{Code, Response, Status, Streaming};

use crate::testing::{Payload, PayloadType, StreamingOutputCallResponse};

/// What differed, in one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self(format!("the call failed with {status}"))
    }
}

/// Fails with `text` unless `condition` holds.
pub(super) fn check(condition: bool, text: impl FnOnce() -> String) -> Result<(), Problem> {
    if condition { Ok(()) } else { Err(Problem::new(text())) }
}

/// A payload must be so many zeros.
pub(super) fn payload(payload: Option<Payload>, octets: usize) -> Result<(), Problem> {
    let Some(Payload { r#type, body }) = payload else {
        return Err(Problem::new(format!("no payload, want one of {octets} octets")));
    };
    check(r#type == i32::from(PayloadType::Compressable), || {
        format!("payload of type {type}, want COMPRESSABLE")
    })?;
    check(body.len() == octets, || format!("payload of {} octets, want {octets}", body.len()))?;
    check(body.iter().all(|octet| *octet == 0), || "payload is not all zeros".to_owned())
}

/// The next message must have a payload of so many octets.
pub(super) async fn next(
    outputs: &mut Streaming<StreamingOutputCallResponse>,
    octets: usize,
) -> Result<(), Problem> {
    match outputs.message().await? {
        Some(message) => payload(message.payload, octets),
        None => Err(Problem::new(format!("the stream ended, want a message of {octets} octets"))),
    }
}

/// The stream must be over, with OK.
pub(super) async fn end(outputs: &mut Streaming<StreamingOutputCallResponse>) -> Result<(), Problem> {
    let message = outputs.message().await?;
    check(message.is_none(), || "another message came, want the end of the stream".to_owned())
}

/// The call must have failed with `code`.
pub(super) fn failed<T>(outcome: Result<Response<T>, Status>, code: Code) -> Result<Status, Problem> {
    match outcome {
        Err(status) if status.code() == code => Ok(status),
        Err(status) => Err(Problem::new(format!("the call failed with {status}, want {code:?}"))),
        Ok(_) => Err(Problem::new(format!("the call went well, want {code:?}"))),
    }
}

/// A streaming call must fail with `code`, before or after its response began, without a message.
pub(super) async fn stream_failed(
    outcome: Result<Response<Streaming<StreamingOutputCallResponse>>, Status>,
    code: Code,
) -> Result<Status, Problem> {
    let outcome = match outcome {
        Ok(response) => response.into_inner().message().await.map(Response::new),
        Err(status) => Err(status),
    };
    failed(outcome, code)
}
