//! Compression: requests and responses, whole calls and single messages of streams.

use clearway::{Code, Request};

use super::expect::check;
use super::streaming::wanted;
use super::unary::{LARGE_RESPONSE, large_request};
use super::{Outcome, Suite, expect};
use crate::testing::{
    BoolValue, ResponseParameters, SimpleRequest, StreamingInputCallRequest, StreamingOutputCallRequest,
};
use crate::zeros;

fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

fn large(expect_compressed: bool) -> SimpleRequest {
    SimpleRequest { expect_compressed: flag(expect_compressed), ..large_request() }
}

/// A server that does not look would pass the rest whatever we send: it must notice a message that is not compressed.
pub(super) async fn client_compressed_unary(suite: &Suite) -> Outcome {
    let client = suite.compressing_client();
    let mut probe = suite.request(large(true));
    probe.disable_compression();
    expect::failed(client.unary_call(probe).await, Code::InvalidArgument)?;
    for compressed in [true, false] {
        let mut request = suite.request(large(compressed));
        if !compressed {
            request.disable_compression();
        }
        let response = client.unary_call(request).await?;
        expect::payload(response.into_inner().payload, LARGE_RESPONSE as usize)?;
    }
    Ok(())
}

pub(super) async fn server_compressed_unary(suite: &Suite) -> Outcome {
    for compressed in [true, false] {
        let request = SimpleRequest { response_compressed: flag(compressed), ..large_request() };
        let response = suite.compressing_client().unary_call(suite.request(request)).await?;
        came(response.was_compressed(), compressed)?;
        expect::payload(response.into_inner().payload, LARGE_RESPONSE as usize)?;
    }
    Ok(())
}

/// Messages that are compressed or not, and say so.
fn upload(
    messages: &[(usize, bool)],
    says: Option<bool>,
) -> Request<impl tokio_stream::Stream<Item = StreamingInputCallRequest> + Send + use<>> {
    let inputs: Vec<_> = messages
        .iter()
        .map(|(octets, compressed)| StreamingInputCallRequest {
            payload: Some(zeros(*octets)),
            expect_compressed: flag(says.unwrap_or(*compressed)),
        })
        .collect();
    let mut compressed = messages.iter().map(|(_, compressed)| *compressed).collect::<Vec<_>>().into_iter();
    let mut request = Request::new(tokio_stream::iter(inputs));
    request.compress_if(move |_: &StreamingInputCallRequest| compressed.next().unwrap_or_default());
    request
}

pub(super) async fn client_compressed_streaming(suite: &Suite) -> Outcome {
    let client = suite.compressing_client();
    let probe = suite.on(upload(&[(27_182, false)], Some(true)));
    expect::failed(client.streaming_input_call(probe).await, Code::InvalidArgument)?;
    let request = suite.on(upload(&[(27_182, true), (45_904, false)], None));
    let sum = client.streaming_input_call(request).await?.into_inner().aggregated_payload_size;
    check(sum == 73_086, || format!("aggregated_payload_size is {sum}, want 73086"))
}

pub(super) async fn server_compressed_streaming(suite: &Suite) -> Outcome {
    let parameters = [(31_415, true), (92_653, false)];
    let request = StreamingOutputCallRequest {
        response_parameters: parameters
            .map(|(size, compressed)| ResponseParameters { compressed: flag(compressed), ..wanted(size) })
            .into(),
        ..StreamingOutputCallRequest::default()
    };
    let client = suite.compressing_client();
    let mut outputs = client.streaming_output_call(suite.request(request)).await?.into_inner();
    for (size, compressed) in parameters {
        expect::next(&mut outputs, size as usize).await?;
        came(outputs.was_compressed(), compressed)?;
    }
    expect::end(&mut outputs).await
}

fn came(compressed: bool, want: bool) -> Outcome {
    let how = |compressed| if compressed { "compressed" } else { "as it is" };
    check(compressed == want, || format!("the message came {}, want {}", how(compressed), how(want)))
}
