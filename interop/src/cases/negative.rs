//! A server that misbehaves on purpose (the grpc project's negative HTTP/2 cases): what the caller sees of it.

use core::time::Duration;

use clearway::Code;
use tokio::task::JoinSet;

use super::expect::check;
use super::unary::{LARGE_RESPONSE, large_request, large_unary};
use super::{Outcome, Problem, Suite, expect};

/// Calls at once, where the server allows one stream.
const CALLS: usize = 15;

/// The first connection is going away when the second call comes, which nobody must notice.
pub(super) async fn goaway(suite: &Suite) -> Outcome {
    let connections = suite.wire.connections();
    large_unary(suite).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    large_unary(suite).await?;
    let made = suite.wire.connections() - connections;
    check(made == 1, || format!("{made} new connections, want one"))
}

/// The stream was reset without an error code before the call was complete: no message, INTERNAL.
pub(super) async fn reset(suite: &Suite) -> Outcome {
    let outcome = suite.client().unary_call(suite.request(large_request())).await;
    expect::failed(outcome, Code::Internal).map(drop)
}

/// The server ends the call only when every one of its PINGs was answered.
pub(super) async fn ping(suite: &Suite) -> Outcome {
    large_unary(suite).await
}

/// The server checks that there are never two streams at a time, and fails the calls otherwise.
pub(super) async fn max_streams(suite: &Suite) -> Outcome {
    large_unary(suite).await?;
    // What the server says after the first call is here.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (client, request) = (suite.client(), suite.request(large_request()));
        calls.spawn(async move { client.unary_call(request).await });
    }
    while let Some(call) = calls.join_next().await {
        let response = call.map_err(|error| Problem::new(format!("a call panicked: {error}")))??;
        expect::payload(response.into_inner().payload, LARGE_RESPONSE as usize)?;
    }
    Ok(())
}
