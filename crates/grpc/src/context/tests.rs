//! The cell, and those who wait for an end.

use core::task::Waker;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::Code;
use crate::cause::{Processed, TransportEvent};
use crate::inbound::WakeAt;

fn with_deadline(seconds: u64) -> CallContext {
    CallContext::new(Some(Instant::now() + Duration::from_secs(seconds)), None)
}

#[test]
fn the_cell_holds_the_innermost_context_also_after_a_panic() {
    let (mut outer, mut inner) = (with_deadline(1), with_deadline(2));
    let (first, second) = (outer.deadline(), inner.deadline());
    assert_eq!(CallContext::current().deadline(), None);
    outer.enter(|| {
        assert_eq!(CallContext::current().deadline(), first);
        inner.enter(|| assert_eq!(CallContext::current().deadline(), second));
        assert_eq!(CallContext::current().deadline(), first);
        let panicked = catch_unwind(AssertUnwindSafe(|| inner.enter(|| panic!("inside"))));
        assert!(panicked.is_err());
        assert_eq!(CallContext::current().deadline(), first);
    });
    assert_eq!(CallContext::current().deadline(), None);
    assert_eq!((outer.deadline(), inner.deadline()), (first, second), "they came out again");
}

#[test]
fn a_context_that_nobody_asks_for_allocates_nothing() {
    let mut context = with_deadline(1);
    context.enter(|| assert!(!runs_on()));
    assert!(context.life().is_none());
    context.enter(|| drop(CallContext::current()));
    assert!(context.life().is_some());
}

#[test]
fn all_who_ask_share_one_life() {
    let mut context = with_deadline(1);
    let (first, second) = context.enter(|| (CallContext::current(), CallContext::current()));
    context.life().unwrap().end_now(Over::Cancelled);
    assert!(first.is_cancelled() && second.is_cancelled() && context.is_cancelled());
    assert!(first.cancellation_token().is_cancelled());
    assert!(!CallContext::current().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_call_and_is_taken_out_when_it_is_given_up() {
    let life = Arc::new(Life::new(OnCancel::Drop));
    let token = CancellationToken::new(Some(Arc::clone(&life)));
    for _ in 0..3 {
        let waited = tokio::time::timeout(Duration::from_secs(1), token.cancelled()).await;
        assert!(waited.is_err());
    }
    assert_eq!(life.waiting(), (0, 0));
    let waits = token.clone();
    let first = tokio::spawn(async move { waits.cancelled().await });
    let waits = token.clone();
    let second = tokio::spawn(async move { waits.run_until_cancelled(core::future::pending::<()>()).await });
    tokio::task::yield_now().await;
    assert_eq!(life.waiting(), (2, 0));
    life.end_now(Over::DeadlinePassed);
    first.await.unwrap();
    assert_eq!(second.await.unwrap(), None);
    token.cancelled().await;
    assert_eq!(token.run_until_cancelled(async { 1 }).await, None, "it is not even begun");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_belongs_to_no_call_is_never_cancelled() {
    let token = CallContext::current().cancellation_token();
    assert!(!token.is_cancelled());
    assert!(tokio::time::timeout(Duration::from_secs(3600), token.cancelled()).await.is_err());
    assert_eq!(token.run_until_cancelled(async { 1 }).await, Some(1));
}

#[test]
fn calls_that_are_gone_do_not_pile_up() {
    let life = Life::new(OnCancel::Drop);
    let kept: Vec<_> = (0..5).map(|_| Arc::new(Inbound::unopened(WakeAt::End))).collect();
    for call in &kept {
        life.adopt(call).unwrap();
    }
    for _ in 0..10_000 {
        life.adopt(&Arc::new(Inbound::unopened(WakeAt::End))).unwrap();
        assert!(life.waiting().1 <= 32);
    }
}

#[test]
fn a_call_made_in_a_context_ends_with_it_once() {
    for (why, code) in [
        (Over::Answered, Code::Cancelled),
        (Over::Cancelled, Code::Cancelled),
        (Over::DeadlinePassed, Code::DeadlineExceeded),
    ] {
        let life = Life::new(OnCancel::Drop);
        let call = Arc::new(Inbound::unopened(WakeAt::End));
        life.adopt(&call).unwrap();
        life.end_now(why);
        life.end_now(Over::Answered);
        let cx = core::task::Context::from_waker(Waker::noop());
        let Poll::Ready(whole) = call.poll_whole(&cx) else { panic!("it goes on") };
        let status = whole.end.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        let cause = status.transport().unwrap();
        assert!(matches!(cause.event, TransportEvent::ContextOver { .. }), "{cause}");
        assert_eq!(cause.processed, Processed::No);
        let late = life.adopt(&Arc::new(Inbound::unopened(WakeAt::End))).unwrap_err();
        assert_eq!(late.code(), code);
    }
}

#[test]
fn who_follows_ends_too_also_if_it_comes_late() {
    let leader = Life::new(OnCancel::Drop);
    let [early, late] = [(); 2].map(|()| Arc::new(Life::new(OnCancel::Drop)));
    leader.lead(&early, &mut Vec::new());
    leader.end_now(Over::Cancelled);
    leader.lead(&late, &mut Vec::new());
    assert_eq!([early.over(), late.over()], [Some(Over::Cancelled); 2]);
}
