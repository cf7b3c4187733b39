//! What a handler that panics can reach: its own call, and nothing else (gRPC's status page: UNKNOWN).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Status;

/// The status of a call whose handler panicked. What it panicked with is on stderr and not for the client.
fn panicked() -> Status {
    Status::unknown("the handler panicked")
}

/// Runs code of the user's. State that it shares with us is not looked at again after a panic.
pub(super) fn contain<T>(run: impl FnOnce() -> T) -> Result<T, Status> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| panicked())
}
