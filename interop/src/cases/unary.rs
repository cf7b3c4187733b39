//! One message each way.

use super::{Outcome, Suite, expect};
use crate::testing::{Empty, SimpleRequest};
use crate::zeros;

pub(super) const LARGE_REQUEST: usize = 271_828;
pub(super) const LARGE_RESPONSE: i32 = 314_159;

pub(super) async fn empty_unary(suite: &Suite) -> Outcome {
    suite.client().empty_call(suite.request(Empty {})).await?;
    Ok(())
}

/// A request for the large response, with the large payload.
pub(super) fn large_request() -> SimpleRequest {
    SimpleRequest {
        response_size: LARGE_RESPONSE,
        payload: Some(zeros(LARGE_REQUEST)),
        ..SimpleRequest::default()
    }
}

pub(super) async fn large_unary(suite: &Suite) -> Outcome {
    let response = suite.client().unary_call(suite.request(large_request())).await?;
    expect::payload(response.into_inner().payload, LARGE_RESPONSE as usize)
}
