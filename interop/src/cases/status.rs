//! Statuses other than OK, and methods that do not exist.

use clearway::{Code, Status};

use super::expect::check;
use super::{Outcome, Suite, expect};
use crate::testing::unimplemented_service_client::UnimplementedServiceClient;
use crate::testing::{EchoStatus, Empty, SimpleRequest, StreamingOutputCallRequest};

const PLAIN: &str = "test status message";
const SPECIAL: &str = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";

fn unknown(message: &str) -> Option<EchoStatus> {
    Some(EchoStatus { code: Code::Unknown as i32, message: message.to_owned() })
}

fn has_message(status: &Status, message: &str) -> Outcome {
    check(status.message() == message, || {
        format!("the status message is {:?}, want {message:?}", status.message())
    })
}

async fn unary_fails_with(suite: &Suite, message: &str) -> Outcome {
    let request = SimpleRequest { response_status: unknown(message), ..SimpleRequest::default() };
    let outcome = suite.client().unary_call(suite.request(request)).await;
    has_message(&expect::failed(outcome, Code::Unknown)?, message)
}

pub(super) async fn status_code_and_message(suite: &Suite) -> Outcome {
    unary_fails_with(suite, PLAIN).await?;
    let input = StreamingOutputCallRequest {
        response_status: unknown(PLAIN),
        ..StreamingOutputCallRequest::default()
    };
    let outcome = suite.client().full_duplex_call(suite.request(tokio_stream::once(input))).await;
    has_message(&expect::stream_failed(outcome, Code::Unknown).await?, PLAIN)
}

pub(super) async fn special_status_message(suite: &Suite) -> Outcome {
    unary_fails_with(suite, SPECIAL).await
}

pub(super) async fn unimplemented_method(suite: &Suite) -> Outcome {
    let outcome = suite.client().unimplemented_call(suite.request(Empty {})).await;
    expect::failed(outcome, Code::Unimplemented).map(drop)
}

pub(super) async fn unimplemented_service(suite: &Suite) -> Outcome {
    let client = UnimplementedServiceClient::new(suite.channel.clone());
    let outcome = client.unimplemented_call(suite.request(Empty {})).await;
    expect::failed(outcome, Code::Unimplemented).map(drop)
}
