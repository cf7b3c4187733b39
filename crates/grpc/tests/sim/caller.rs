//! The client's side of a call: does what the plan says, checks what it is sent, and compares how it ended with the model.

use std::time::Duration;

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::transport::Processed;
use clearway::{Code, Request, Response, Status, Streaming};
use tokio::sync::mpsc;

use crate::model;
use crate::plan::{From, Kind, Plan};
use crate::record::{Happened, World};
use crate::retried;
use crate::service::Messages;

/// No call takes longer, whatever befalls it: stalls, gaps, back-off and all.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much later than its deadline a call may end: timers have steps of a millisecond.
const SLACK: Duration = Duration::from_millis(2);

/// A stream of requests, from a task of its own.
fn feed(world: &World, plan: Plan) -> Messages<Bytes> {
    let (sender, messages) = mpsc::channel(2);
    let world = world.clone();
    tokio::spawn(async move {
        for index in 0..plan.requests {
            if !plan.request_gap.is_zero() {
                tokio::time::sleep(plan.request_gap).await;
            }
            if sender.send(plan.message(From::Client, index)).await.is_err() {
                return;
            }
            world.note(Happened::Sent { call: plan.number, by_client: true, index });
        }
    });
    Messages(messages)
}

fn request<T>(plan: Plan, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-call", plan.number.to_string().parse().expect("digits"));
    if let Some(deadline) = plan.deadline {
        request.set_timeout(deadline);
    }
    request
}

/// Makes the call. Its handle of the channel, which may be the last, is gone while messages are still read.
async fn make(grpc: Grpc, world: &World, plan: Plan) -> Result<(), Status> {
    let one = || request(plan, plan.message(From::Client, 0));
    let many = || request(plan, feed(world, plan));
    let path = |name| match plan.retried {
        false => MethodPath::new(&format!("/sim.Calls/{name}")).expect("a path"),
        true => MethodPath::new(&format!("/sim.Retried/{name}")).expect("a path"),
    };
    match plan.kind {
        Kind::Unary => {
            let response = grpc.unary(one(), path("Unary"), BytesCodec).await?;
            check(world, plan, 0, response.get_ref());
        }
        Kind::Upload => {
            let response = grpc.client_streaming(many(), path("Upload"), BytesCodec).await?;
            check(world, plan, 0, response.get_ref());
        }
        Kind::Download => {
            let response = grpc.server_streaming(one(), path("Download"), BytesCodec).await?;
            check_metadata(world, plan, &response);
            drop(grpc);
            read(world, plan, response.into_inner()).await?;
        }
        Kind::Chat => {
            let response = grpc.bidi_streaming(many(), path("Chat"), BytesCodec).await?;
            check_metadata(world, plan, &response);
            drop(grpc);
            read(world, plan, response.into_inner()).await?;
        }
    }
    Ok(())
}

async fn read(world: &World, plan: Plan, mut responses: Streaming<Bytes>) -> Result<(), Status> {
    let mut seen = 0;
    if plan.drops_after == Some(0) {
        return Err(gave_up());
    }
    while let Some(message) = responses.message().await? {
        check(world, plan, seen, &message);
        seen += 1;
        if plan.drops_after == Some(seen) {
            return Err(gave_up());
        }
        if !plan.reading_gap.is_zero() {
            tokio::time::sleep(plan.reading_gap).await;
        }
    }
    if seen != plan.responses {
        world.fault(format!("call {}: {seen} responses came of {}", plan.number, plan.responses));
    }
    Ok(())
}

/// Stands for a caller that drops the rest; no server and no library of ours says that.
fn gave_up() -> Status {
    Status::new(Code::Unauthenticated, "dropped")
}

fn check_metadata<T>(world: &World, plan: Plan, response: &Response<T>) {
    let of = response.metadata().get("x-for").and_then(|value| value.to_str().ok()?.parse().ok());
    if of != Some(plan.number) {
        world.fault(format!("call {} got the metadata of {of:?}", plan.number));
    }
}

fn check(world: &World, plan: Plan, index: u32, message: &Bytes) {
    if index >= plan.responses || *message != plan.message(From::Server, index) {
        world.fault(format!("call {}: response {index} is not what was sent", plan.number));
    }
}

/// One call from its beginning to its end.
pub(crate) async fn call(grpc: Grpc, world: World, number: u32) {
    let plan = world.plan(number);
    {
        let mut record = world.record();
        let now = record.now();
        record.calls[number as usize].began = now;
        record.note(Happened::Begins(plan));
    }
    let patience = plan.cancelled_after.unwrap_or(PATIENCE);
    let outcome = tokio::time::timeout(patience, make(grpc, &world, plan)).await;
    let code = match &outcome {
        Ok(Ok(())) => Some(Code::Ok),
        Ok(Err(status)) if status.code() == Code::Unauthenticated => None,
        Ok(Err(status)) => Some(status.code()),
        Err(_) => None,
    };
    world.note(Happened::Ended { call: number, code });
    *world
        .record()
        .ends
        .entry(code.map_or_else(|| "given up".to_owned(), |code| code.to_string()))
        .or_default() += 1;
    match outcome {
        Ok(_) if code.is_none() => {}
        Ok(outcome) => compare(&world, number, outcome.err()),
        Err(_) if plan.cancelled_after.is_none() => world.fault(format!("call {number} is stuck: {plan:?}")),
        Err(_) => {}
    }
}

/// How the call ended, beside what the model says.
fn compare(world: &World, number: u32, failed: Option<Status>) {
    let mut record = world.record();
    let now = record.now();
    let expected = model::expect(&record, number, now);
    let code = failed.as_ref().map_or(Code::Ok, Status::code);
    let call = &record.calls[number as usize];
    let late = model::late_by(&record, number, now);
    if record.plans[number as usize].retried {
        let mut faults = retried::faults(&record, number, failed.as_ref(), now);
        if late > SLACK && record.plans[number as usize].reading_gap.is_zero() {
            faults.push(format!("call {number} ended {late:?} after its deadline"));
        }
        let again = u64::from(record.calls[number as usize].handlers > 1);
        *record.ends.entry("handled again by policy".to_owned()).or_default() += again;
        record.faults.extend(faults);
        return;
    }
    let cause = failed.as_ref().and_then(Status::transport);
    let unprocessed = cause.is_some_and(|cause| cause.processed == Processed::No);
    let plan = record.plans[number as usize];
    let mut faults = Vec::new();
    if late > SLACK && plan.reading_gap.is_zero() {
        faults.push(format!("call {number} ended {late:?} after its deadline: {plan:?}"));
    }
    if !expected.codes.contains(&code) || !expected.said_so {
        faults.push(format!("call {number} ended with {failed:?}, want {expected:?}; {plan:?}; {call:?}"));
    }
    let (again, unseen) = (call.attempts.len() > 1, unprocessed);
    if unprocessed && call.handlers > 0 {
        faults.push(format!("call {number} was processed and is reported as safe to send again: {failed:?}"));
    }
    let told = code == Code::Unavailable && (expected.must_be_unprocessed || !expected.may_be_processed);
    if told && !unprocessed {
        faults.push(format!("call {number} was not processed, and that is not reported: {failed:?}; {expected:?}; {plan:?}; {call:?}"));
    }
    if call.attempts.len() > 2 {
        faults.push(format!("call {number} was sent too often: {plan:?}; {call:?}"));
    }
    if call.handlers > 1 {
        faults.push(format!("call {number} has had {} handlers", call.handlers));
    }
    record.faults.extend(faults);
    for (what, so) in [("sent again", again), ("reported unprocessed", unseen)] {
        *record.ends.entry(what.to_owned()).or_default() += u64::from(so);
    }
}
