//! The cases of the suite, each a function that makes its calls and says what differed from what the suite's description
//! asks for.
//!
//! A case that cancels cannot ask the dropped call for its status: nobody is left to be told. It looks at the wire
//! instead (`Wire`), where RST_STREAM(CANCEL) must go out.

mod cancel;
mod compressed;
mod expect;
mod metadata;
mod negative;
mod orca;
mod status;
mod streaming;
mod unary;
mod wire;

use core::time::Duration;

use clearway::codec::CompressionEncoding;
use clearway::metadata::MetadataMap;
use clearway::transport::{Channel, Endpoint};
use clearway::{Error, Request};

use crate::testing::test_service_client::TestServiceClient;
pub use expect::Problem;
use wire::Wire;

/// How a case went.
pub type Outcome = Result<(), Problem>;

/// The names of all cases that any server of the suite can take, in the order in which the suite describes them.
pub const CASES: [&str; 20] = [
    "empty_unary",
    "large_unary",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_streaming",
    "client_compressed_streaming",
    "server_streaming",
    "server_compressed_streaming",
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
    "orca_per_rpc",
    "orca_oob",
];

/// Cases for servers that misbehave on purpose: the names of the grpc project's negative HTTP/2 cases.
pub const NEGATIVE_CASES: [&str; 6] =
    ["goaway", "rst_after_header", "rst_during_data", "rst_after_data", "ping", "max_streams"];

/// No case takes this long against a server that answers.
const CASE_LIMIT: Duration = Duration::from_secs(30);

/// What every case needs.
#[derive(Clone, Debug)]
pub struct Suite {
    channel: Channel,
    additional: MetadataMap,
    compression: Option<CompressionEncoding>,
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
        Ok(Self { channel, additional, compression: None, wire })
    }

    /// The same, whose calls are all compressed by `encoding` and may be answered so.
    #[must_use]
    pub fn compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.compression = Some(encoding);
        self
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
            "client_compressed_unary" => compressed::client_compressed_unary(self).await,
            "server_compressed_unary" => compressed::server_compressed_unary(self).await,
            "client_compressed_streaming" => compressed::client_compressed_streaming(self).await,
            "server_compressed_streaming" => compressed::server_compressed_streaming(self).await,
            "orca_per_rpc" => orca::orca_per_rpc(self).await,
            "orca_oob" => orca::orca_oob(self).await,
            "goaway" => negative::goaway(self).await,
            "rst_after_header" | "rst_during_data" | "rst_after_data" => negative::reset(self).await,
            "ping" => negative::ping(self).await,
            "max_streams" => negative::max_streams(self).await,
            _ => Err(Problem::new("no such case")),
        }
    }

    fn client(&self) -> TestServiceClient {
        let client = TestServiceClient::new(self.channel.clone());
        match self.compression {
            Some(encoding) => client.send_compressed(encoding).accept_compressed(encoding),
            None => client,
        }
    }

    /// One that compresses in any case: by gzip, unless all calls have something else.
    fn compressing_client(&self) -> TestServiceClient {
        let encoding = self.compression.unwrap_or(CompressionEncoding::Gzip);
        self.client().send_compressed(encoding).accept_compressed(encoding)
    }

    /// A request with the additional metadata.
    fn request<T>(&self, message: T) -> Request<T> {
        self.on(Request::new(message))
    }

    /// The same request, with the additional metadata.
    fn on<T>(&self, mut request: Request<T>) -> Request<T> {
        *request.metadata_mut() = self.additional.clone();
        request
    }
}
