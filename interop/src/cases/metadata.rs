//! Metadata that the server is asked to send back: ASCII in the head, binary in the trailers.

use clearway::Request;
use clearway::metadata::{MetadataMap, MetadataValue};

use super::expect::check;
use super::streaming::ping;
use super::unary::{LARGE_REQUEST, LARGE_RESPONSE, large_request};
use super::{Outcome, Problem, Suite, expect};
use crate::{ECHO_INITIAL, ECHO_TRAILING};

const INITIAL: &str = "test_initial_metadata_value";
const TRAILING: [u8; 3] = [0xab, 0xab, 0xab];

pub(super) async fn custom_metadata(suite: &Suite) -> Outcome {
    let response = suite.client().unary_call(asking(suite.request(large_request()))).await?;
    // A unary response has both in one map.
    has_initial(response.metadata())?;
    has_trailing(response.metadata())?;
    expect::payload(response.into_inner().payload, LARGE_RESPONSE as usize)?;

    let inputs = tokio_stream::once(ping(LARGE_REQUEST, LARGE_RESPONSE));
    let response = suite.client().full_duplex_call(asking(suite.request(inputs))).await?;
    has_initial(response.metadata())?;
    let mut outputs = response.into_inner();
    expect::next(&mut outputs, LARGE_RESPONSE as usize).await?;
    expect::end(&mut outputs).await?;
    let trailers = outputs.trailers().await?;
    has_trailing(&trailers.ok_or_else(|| Problem::new("the stream ended without trailers"))?)
}

fn asking<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert(ECHO_INITIAL, MetadataValue::from_static(INITIAL));
    request.metadata_mut().insert_bin(ECHO_TRAILING, MetadataValue::from_bytes(&TRAILING));
    request
}

fn has_initial(metadata: &MetadataMap) -> Outcome {
    let got = metadata.get(ECHO_INITIAL).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    check(got.as_deref() == Some(INITIAL), || format!("{ECHO_INITIAL} is {got:?}, want {INITIAL:?}"))
}

fn has_trailing(metadata: &MetadataMap) -> Outcome {
    let got = metadata.get_bin(ECHO_TRAILING).and_then(|value| value.to_bytes().ok());
    check(got.as_deref() == Some(&TRAILING[..]), || format!("{ECHO_TRAILING} is {got:?}, want {TRAILING:?}"))
}
