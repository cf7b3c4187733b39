//! What cannot be brought about from outside yet: pickers that drop calls.

use std::sync::Arc;

use tokio::time::Instant;

use super::Attempts;
use crate::balance::{Connectivity, DropAll, FailAll, Picker, Published};
use crate::client::channel::Shared;
use crate::client::endpoint::Endpoint;
use crate::client::service_config::{HedgingPolicy, Repeat, RetryPolicy};
use crate::client::start::StartCall;
use crate::inbound::{Inbound, WakeAt};
use crate::{Code, Status};

/// How a call of this policy ends under this picker, and after how many attempts.
async fn ended(policy: Repeat, picker: Arc<dyn Picker>, wait_for_ready: bool) -> (Code, usize) {
    let shared = Arc::new(Shared::new(&Endpoint::from_static("http://test.example")));
    shared.publish(Published { state: Connectivity::TransientFailure(why()), picker });
    let mut call = StartCall::for_tests(Arc::new(Inbound::unopened(WakeAt::Each)));
    call.wait_for_ready = wait_for_ready;
    call.started = Instant::now();
    let status = Attempts::begin(shared, Box::new(call), None, policy, None).settle().await.err().unwrap();
    (status.code(), status.attempts().len())
}

fn why() -> Status {
    Status::unavailable("because")
}

/// PROTOCOL-FACTS 58, gRFC A6: a drop is never retried, wait-for-ready or not; a failure is.
#[tokio::test(start_paused = true)]
async fn a_call_the_picker_dropped_is_not_sent_again() {
    let retry = || Repeat::Retry(Arc::new(RetryPolicy::new(3, Code::ALL)));
    let hedge =
        || Repeat::Hedge(Arc::new(HedgingPolicy::new(3, core::time::Duration::ZERO).non_fatal(Code::ALL)));
    for policy in [retry, hedge] as [fn() -> Repeat; 2] {
        for patient in [false, true] {
            let dropped = ended(policy(), Arc::new(DropAll(why())), patient).await;
            assert_eq!(dropped, (Code::Unavailable, 1), "{patient}");
        }
        assert_eq!(ended(policy(), Arc::new(FailAll(why())), false).await, (Code::Unavailable, 3));
    }
}
