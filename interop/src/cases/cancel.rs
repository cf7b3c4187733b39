//! Calls that the client ends.

use core::time::Duration;

use clearway::Code;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::streaming::{REQUESTS, RESPONSES, ping, send};
use super::unary::empty_unary;
use super::{Outcome, Problem, Suite, expect};
use crate::testing::{StreamingInputCallRequest, StreamingOutputCallRequest};
use crate::zeros;

const FIRST_REQUEST: usize = REQUESTS[0];
const FIRST_RESPONSE: i32 = RESPONSES[0];

pub(super) async fn timeout_on_sleeping_server(suite: &Suite) -> Outcome {
    let (inputs, stream) = mpsc::channel(1);
    let input = StreamingOutputCallRequest {
        payload: Some(zeros(FIRST_REQUEST)),
        ..StreamingOutputCallRequest::default()
    };
    send(&inputs, input).await?;
    let mut request = suite.request(ReceiverStream::new(stream));
    request.set_timeout(Duration::from_millis(1));
    let outcome = suite.client().full_duplex_call(request).await;
    expect::stream_failed(outcome, Code::DeadlineExceeded).await.map(drop)
}

pub(super) async fn cancel_after_begin(suite: &Suite) -> Outcome {
    let wire = suite.wire.now();
    let client = suite.client();
    let request = suite.request(tokio_stream::pending::<StreamingInputCallRequest>());
    let call = tokio::spawn(async move { client.streaming_input_call(request).await });
    suite.wire.request_after(&wire).await;
    call.abort();
    if let Ok(outcome) = call.await {
        let how = outcome.map_or_else(|status| status.to_string(), |_| "OK".to_owned());
        return Err(Problem::new(format!("the call ended with {how} before it was cancelled")));
    }
    suite.wire.cancel_after(&wire).await;
    // The connection does not mind.
    empty_unary(suite).await
}

pub(super) async fn cancel_after_first_response(suite: &Suite) -> Outcome {
    let wire = suite.wire.now();
    let (inputs, stream) = mpsc::channel(1);
    send(&inputs, ping(FIRST_REQUEST, FIRST_RESPONSE)).await?;
    let request = suite.request(ReceiverStream::new(stream));
    let mut outputs = suite.client().full_duplex_call(request).await?.into_inner();
    expect::next(&mut outputs, FIRST_RESPONSE as usize).await?;
    drop(outputs);
    suite.wire.cancel_after(&wire).await;
    // What fed the request is told, too.
    inputs.closed().await;
    empty_unary(suite).await
}
