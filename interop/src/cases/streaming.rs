//! Streams in either direction and in both.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::expect::check;
use super::{Outcome, Problem, Suite, expect};
use crate::testing::{ResponseParameters, StreamingInputCallRequest, StreamingOutputCallRequest};
use crate::zeros;

pub(super) const REQUESTS: [usize; 4] = [27_182, 8, 1_828, 45_904];
pub(super) const RESPONSES: [i32; 4] = [31_415, 9, 2_653, 58_979];

pub(super) async fn client_streaming(suite: &Suite) -> Outcome {
    let inputs = REQUESTS.map(|octets| StreamingInputCallRequest {
        payload: Some(zeros(octets)),
        ..StreamingInputCallRequest::default()
    });
    let request = suite.request(tokio_stream::iter(inputs));
    let sum = suite.client().streaming_input_call(request).await?.into_inner().aggregated_payload_size;
    check(sum == 74_922, || format!("aggregated_payload_size is {sum}, want 74922"))
}

pub(super) async fn server_streaming(suite: &Suite) -> Outcome {
    let request = StreamingOutputCallRequest {
        response_parameters: RESPONSES.map(wanted).into(),
        ..StreamingOutputCallRequest::default()
    };
    let mut outputs = suite.client().streaming_output_call(suite.request(request)).await?.into_inner();
    for octets in RESPONSES {
        expect::next(&mut outputs, octets as usize).await?;
    }
    expect::end(&mut outputs).await
}

pub(super) async fn ping_pong(suite: &Suite) -> Outcome {
    let (inputs, stream) = mpsc::channel(1);
    let mut pairs = REQUESTS.into_iter().zip(RESPONSES);
    // The first before the call: a server may hold the head of its response back until it has something to say.
    let Some((octets, mut answer)) = pairs.next() else { return Ok(()) };
    send(&inputs, ping(octets, answer)).await?;
    let request = suite.request(ReceiverStream::new(stream));
    let mut outputs = suite.client().full_duplex_call(request).await?.into_inner();
    loop {
        expect::next(&mut outputs, answer as usize).await?;
        let Some((octets, next)) = pairs.next() else { break };
        answer = next;
        send(&inputs, ping(octets, answer)).await?;
    }
    drop(inputs);
    expect::end(&mut outputs).await
}

pub(super) async fn empty_stream(suite: &Suite) -> Outcome {
    let request = suite.request(tokio_stream::empty());
    let mut outputs = suite.client().full_duplex_call(request).await?.into_inner();
    expect::end(&mut outputs).await
}

pub(super) fn wanted(size: i32) -> ResponseParameters {
    ResponseParameters { size, ..ResponseParameters::default() }
}

/// A message of so many octets that asks for one of `answer`.
pub(super) fn ping(octets: usize, answer: i32) -> StreamingOutputCallRequest {
    StreamingOutputCallRequest {
        response_parameters: vec![wanted(answer)],
        payload: Some(zeros(octets)),
        ..StreamingOutputCallRequest::default()
    }
}

pub(super) async fn send<T>(inputs: &mpsc::Sender<T>, message: T) -> Outcome {
    let sent = inputs.send(message).await;
    sent.map_err(|_| Problem::new("the request stream was dropped in the middle of the call"))
}
