//! The independent model of a call: how it may end, said from what the link delivered to its client, by the pages that define
//! gRPC's statuses, and from nothing the library says.
//!
//! Sources: gRPC over HTTP/2 ("Errors", "HTTP2 Transport Mapping"), gRFC A6 (transparent retries), RFC 9113 §6.8, §8.7.
//!
//! What reaches a client before its deadline decides; what reaches it later races with the deadline, and either is right.

use std::time::Duration;

use clearway::Code;
use clearway_http2::{ErrorCode, Instant};

use crate::plan::{Kind, Plan};
use crate::record::{Fact, Record};

/// How a call may have ended.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) codes: Vec<Code>,
    /// The server said that it did not look at it: that must be reported.
    pub(crate) must_be_unprocessed: bool,
    /// If a status was delivered, its handler said it.
    pub(crate) said_so: bool,
    /// Nothing shows that the server cannot have looked at it.
    pub(crate) may_be_processed: bool,
}

/// gRPC over HTTP/2, "Errors": the status of a stream that was reset.
pub(crate) const fn of_reset(code: ErrorCode) -> Code {
    match code {
        ErrorCode::REFUSED_STREAM => Code::Unavailable,
        ErrorCode::CANCEL => Code::Cancelled,
        ErrorCode::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        ErrorCode::INADEQUATE_SECURITY => Code::PermissionDenied,
        ErrorCode::NO_ERROR
        | ErrorCode::PROTOCOL_ERROR
        | ErrorCode::INTERNAL_ERROR
        | ErrorCode::FLOW_CONTROL_ERROR
        | ErrorCode::SETTINGS_TIMEOUT
        | ErrorCode::FRAME_SIZE_ERROR
        | ErrorCode::COMPRESSION_ERROR
        | ErrorCode::CONNECT_ERROR => Code::Internal,
        _ => Code::Unknown,
    }
}

/// How call `number` may have ended at `at`.
pub(crate) fn expect(record: &Record, number: u32, at: Instant) -> Expected {
    let (plan, call) = (&record.plans[number as usize], &record.calls[number as usize]);
    let deadline = plan.deadline.map_or(Instant::FAR_FUTURE, |timeout| call.began + timeout);
    let mut expected = Expected { said_so: true, ..Expected::default() };
    let facts: Vec<_> = call
        .attempts
        .iter()
        .map(|(connection, stream)| {
            let connection = &record.connections[*connection];
            let over = connection.over.map(|at| (at, Fact::Over));
            connection.facts.get(stream).copied().or(over)
        })
        .collect();
    // A call is sent again only when it was refused, and never after that. Attempts are written down as they arrive, and on a
    // slow connection the first may do so after the second on another.
    let stands = |fact: &&Option<(Instant, Fact)>| !matches!(fact, Some((_, fact)) if fact.is_refusal());
    let last = facts.iter().find(stands).or(facts.last()).copied();
    let mut waits = last.is_none();
    let decided = match last {
        Some(Some((when, fact))) => {
            let refused = fact.is_refusal();
            // Sent again, it may have been lost with a connection before it was seen.
            let lost = record.connections.iter().filter_map(|connection| connection.over);
            let again = refused && lost.into_iter().any(|over| over >= when && over <= at);
            expected.must_be_unprocessed = refused && !again;
            expected.may_be_processed = !refused || again;
            waits = refused;
            // What was kept can be sent once more (gRFC A6), unless there is nowhere to send it. One of the two times it may
            // have been left out by a GOAWAY before its head was written, and nobody saw it.
            let one = is_kept(plan) && call.attempts.len() == 1;
            let goaways = record.connections.iter().filter_map(|c| Some(c.goaway?.0));
            let left_out = goaways.into_iter().any(|goaway| goaway >= call.began && goaway <= at);
            let sent_again = refused && one && !again && !left_out && failing(record, when, at).is_none();
            if let Fact::Status(code) = fact {
                expected.said_so = may_say(record, number, code);
            }
            let code = match fact {
                Fact::Status(code) => code,
                Fact::BareEnd => Code::Unknown,
                Fact::Reset(code) => of_reset(code),
                Fact::LeftOut | Fact::Over => Code::Unavailable,
            };
            expected.codes.extend((!sent_again).then_some(code));
            when
        }
        Some(None) => {
            expected.may_be_processed = true;
            Instant::FAR_FUTURE
        }
        // It was never seen on a link: there was no connection, or one ended before the request was written.
        None => {
            let meanwhile = |when: &Instant| *when >= call.began && *when <= at;
            let lost = record.connections.iter().filter_map(|c| c.over).filter(meanwhile).min();
            let left_out =
                record.connections.iter().filter_map(|c| Some(c.goaway?.0)).filter(meanwhile).min();
            let failing = failing(record, call.began, at);
            expected.may_be_processed = lost.is_some();
            let why = [lost, left_out, failing].into_iter().flatten().min();
            expected.codes.extend(why.map(|_| Code::Unavailable));
            why.unwrap_or(Instant::FAR_FUTURE)
        }
    };
    if at >= deadline && (decided >= deadline || waits) {
        expected.codes.push(Code::DeadlineExceeded);
    }
    // A server that gave a call up for its deadline cannot say more than that it cancelled it.
    if at >= deadline && matches!(last, Some(Some((_, Fact::Reset(ErrorCode::CANCEL))))) {
        expected.codes.push(Code::DeadlineExceeded);
    }
    expected
}

/// True if the client surely keeps all that was sent until the response begins: one message, or a stream of so little.
fn is_kept(plan: &Plan) -> bool {
    let octets = (plan.requests as usize).saturating_mul(plan.longest + 14);
    matches!(plan.kind, Kind::Unary | Kind::Download) || octets <= 64 * 1024
}

/// The first time after `from` and up to `to` at which the channel was failing: from an attempt that failed until one succeeds
/// (gRFC A62).
fn failing(record: &Record, from: Instant, to: Instant) -> Option<Instant> {
    let ready = |since: Instant| {
        let times = record.connections.iter().filter_map(|connection| connection.ready);
        times.filter(|when| *when > since).min().unwrap_or(Instant::FAR_FUTURE)
    };
    let spells = record.refusals.iter().filter(|since| **since <= to && ready(**since) >= from);
    spells.map(|since| (*since).max(from)).min()
}

/// How long after its deadline a call goes on at `at`.
pub(crate) fn late_by(record: &Record, number: u32, at: Instant) -> Duration {
    let (plan, call) = (&record.plans[number as usize], &record.calls[number as usize]);
    plan.deadline.map_or(Duration::ZERO, |timeout| at - (call.began + timeout))
}

/// What a server may say about a call: what its handler said, unless the deadline was faster.
fn may_say(record: &Record, number: u32, code: Code) -> bool {
    let (plan, call) = (&record.plans[number as usize], &record.calls[number as usize]);
    call.said == Some(code) || (code == Code::DeadlineExceeded && plan.deadline.is_some())
}
