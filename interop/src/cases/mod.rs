//! The cases of the suite, each a function that makes its calls and says what differed from what the suite's description
//! asks for.
//!
//! A case that cancels cannot ask the dropped call for its status: nobody is left to be told. It looks at the wire
//! instead (`Wire`), where RST_STREAM(CANCEL) must go out.

mod cancel;
mod expect;
mod metadata;
mod status;
mod streaming;
mod unary;
mod wire;

use core::time::Duration;

use clearway::metadata::MetadataMap;
use clearway::transport::{Channel, Endpoint};
use clearway::{Error, Request};

use crate::testing::test_service_client::TestServiceClient;
pub use expect::Problem;
use wire::Wire;

/// How a case went.
pub type Outcome = Result<(), Problem>;

/// The names of all cases, in the order in which the suite describes them.
pub const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

/// No case takes this long against a server that answers.
const CASE_LIMIT: Duration = Duration::from_secs(30);

/// What every case needs.
#[derive(Clone, Debug)]
pub struct Suite {
    channel: Channel,
    additional: MetadataMap,
    wire: Wire,
}

impl Suite {
    /// Connects. `additional` goes with every call.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn connect(endpoint: Endpoint, additional: MetadataMap) -> Result<Self, Error> {
        let wire = Wire::default();
        let observed = wire.clone();
        let channel = endpoint.observe(move |_| Box::new(observed.observer())).connect().await?;
        Ok(Self { channel, additional, wire })
    }

    /// Runs a case.
    ///
    /// # Errors
    /// What differed.
    pub async fn run(&self, case: &str) -> Outcome {
        match tokio::time::timeout(CASE_LIMIT, self.dispatch(case)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Problem::new(format!("no end within {CASE_LIMIT:?}"))),
        }
    }

    async fn dispatch(&self, case: &str) -> Outcome {
        match case {
            "empty_unary" => unary::empty_unary(self).await,
            "large_unary" => unary::large_unary(self).await,
            "client_streaming" => streaming::client_streaming(self).await,
            "server_streaming" => streaming::server_streaming(self).await,
            "ping_pong" => streaming::ping_pong(self).await,
            "empty_stream" => streaming::empty_stream(self).await,
            "timeout_on_sleeping_server" => cancel::timeout_on_sleeping_server(self).await,
            "cancel_after_begin" => cancel::cancel_after_begin(self).await,
            "cancel_after_first_response" => cancel::cancel_after_first_response(self).await,
            "status_code_and_message" => status::status_code_and_message(self).await,
            "special_status_message" => status::special_status_message(self).await,
            "custom_metadata" => metadata::custom_metadata(self).await,
            "unimplemented_method" => status::unimplemented_method(self).await,
            "unimplemented_service" => status::unimplemented_service(self).await,
            _ => Err(Problem::new("no such case")),
        }
    }

    fn client(&self) -> TestServiceClient {
        TestServiceClient::new(self.channel.clone())
    }

    /// A request with the additional metadata.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.additional.clone();
        request
    }
}
