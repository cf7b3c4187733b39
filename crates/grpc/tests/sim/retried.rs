//! Calls of methods with a retry policy (gRFC A6): how they may end, and what permits each time they are sent.
//!
//! Which attempt came when is not looked at: what the client has written late on one connection crosses with what went to
//! another. It is enough that all but one of a call's attempts ended in a way that permits another.

use std::time::Duration;

use clearway::client::{MethodConfig, RetryPolicy, ServiceConfig};
use clearway::transport::Processed;
use clearway::{Code, Status};
use clearway_http2::{ErrorCode, Instant};

use crate::model;
use crate::record::{Fact, Record};

/// Attempts of one call.
const MOST: u32 = 4;
/// The first of them may be sent twice, if it was refused.
const MOST_SENT: usize = 5;

/// What the client is told of the methods of `sim.Retried`.
pub(crate) fn config() -> ServiceConfig {
    let policy = RetryPolicy::new(MOST, [Code::Unavailable]).initial_backoff(Duration::from_millis(50));
    ServiceConfig::new().method(MethodConfig::for_service("sim.Retried").retry(policy))
}

/// How each attempt ended, as far as the client was told.
fn ends(record: &Record, number: u32) -> Vec<Option<(Fact, bool)>> {
    let attempts = &record.calls[number as usize].attempts;
    let end = |(connection, stream): &(usize, u32)| {
        let connection = &record.connections[*connection];
        let fact = connection.facts.get(stream).map(|(_, fact)| *fact);
        let fact = fact.or(connection.over.map(|_| Fact::Over))?;
        Some((fact, connection.begun.contains(stream)))
    };
    attempts.iter().map(end).collect()
}

/// True if another attempt may follow one that ended so; `begun` says that its response had begun.
const fn permits(fact: Fact, begun: bool) -> bool {
    !begun
        && matches!(
            fact,
            Fact::LeftOut
                | Fact::Over
                | Fact::Status(Code::Unavailable)
                | Fact::Reset(ErrorCode::REFUSED_STREAM)
        )
}

/// What is wrong with how a call ended, at `at`.
pub(crate) fn faults(record: &Record, number: u32, failed: Option<&Status>, at: Instant) -> Vec<String> {
    let (plan, call) = (&record.plans[number as usize], &record.calls[number as usize]);
    let ends = ends(record, number);
    let code = failed.map_or(Code::Ok, Status::code);
    let mut wrong = Vec::new();
    let forbidden = ends.iter().filter(|end| end.is_none_or(|(fact, begun)| !permits(fact, begun))).count();
    if forbidden > 1 {
        wrong.push("was sent again without permission");
    }
    if call.attempts.len() > MOST_SENT || call.handlers > MOST {
        wrong.push("was sent too often");
    }
    if call.handlers as usize > call.attempts.len() {
        wrong.push("has had more handlers than it was sent");
    }
    let unprocessed =
        failed.and_then(Status::transport).is_some_and(|cause| cause.processed == Processed::No);
    if unprocessed && call.handlers > 0 {
        wrong.push("was processed and is reported as safe to send again");
    }
    let late = plan.deadline.is_some_and(|timeout| at >= call.began + timeout);
    let told = ends.iter().flatten().any(|(fact, _)| match fact {
        Fact::Status(said) => *said == code,
        Fact::BareEnd => code == Code::Unknown,
        Fact::Reset(reset) => model::of_reset(*reset) == code,
        Fact::LeftOut | Fact::Over => code == Code::Unavailable,
    });
    // Before it was ever sent there may have been no connection.
    let possible = told || code == Code::Unavailable || (code == Code::DeadlineExceeded && late);
    if !possible {
        wrong.push("ended with a status that nobody said");
    }
    wrong
        .into_iter()
        .map(|what| format!("call {number} {what}: {failed:?}; {ends:?}; {plan:?}; {call:?}"))
        .collect()
}
