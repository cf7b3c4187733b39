//! The cases against our own service, where all must pass, and against services that are wrong, where they must not.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

use std::net::SocketAddr;
use std::time::Duration;

use clearway::codec::CompressionEncoding;
use clearway::metadata::{MetadataMap, MetadataValue};
use clearway::server::{GenericService, Service};
use clearway::transport::{Address, Endpoint, Listener, Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use clearway_interop::cases::{CASES, Suite};
use clearway_interop::service::Interop;
use clearway_interop::soak::{self, Over, Soak};
use clearway_interop::testing::test_service_server::{TestService, TestServiceServer};
use clearway_interop::testing::unimplemented_service_server::{
    UnimplementedService, UnimplementedServiceServer,
};
use clearway_interop::testing::{
    EchoStatus, Empty, SimpleRequest, SimpleResponse, StreamingInputCallRequest, StreamingInputCallResponse,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use clearway_interop::xds::service::orca::v3::open_rca_service_server::OpenRcaServiceServer;
use clearway_interop::{COMPRESSIONS, zeros};
use tokio_stream::{Iter, Stream};

async fn suite<S: Service>(service: S) -> Suite {
    suite_of(Server::builder().add_service(service)).await
}

async fn suite_of(router: Router) -> Suite {
    Suite::connect(serving(router).await, MetadataMap::new()).await.expect("the server answers")
}

/// Where it is served.
async fn serving(router: Router) -> Endpoint {
    let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&any).await.expect("loopback can be listened on");
    let address = listener.local_addr().expect("TCP has an address");
    let router = router.add_service(Served);
    tokio::spawn(router.serve_with_listener(listener, std::future::pending()));
    Endpoint::new(format!("http://{address}")).expect("an address is a target")
}

/// The services of `interop-server`, as it serves them.
fn all_services() -> Router {
    let service = Interop::default();
    let reports = OpenRcaServiceServer::new(service.reported.clone());
    let server = COMPRESSIONS
        .into_iter()
        .fold(Server::builder(), |server, known| server.accept_compressed(known).send_compressed(known));
    server.add_service(TestServiceServer::new(service)).add_service(reports)
}

/// Nothing, under the name of a service that must not exist.
struct Served;

impl Service for Served {
    fn name(&self) -> &str {
        "grpc.testing.Nothing"
    }

    fn register(self, _: &mut clearway::server::Methods<'_>) {}
}

#[tokio::test]
async fn all_cases_pass_against_our_service() {
    let suite = suite_of(all_services()).await;
    for case in CASES {
        assert_eq!(suite.run(case).await, Ok(()), "{case}");
    }
}

#[tokio::test]
async fn all_cases_pass_with_every_compression() {
    let plain = suite_of(all_services()).await;
    for encoding in COMPRESSIONS {
        let suite = plain.clone().compressed(encoding);
        for case in CASES.into_iter().filter(|case| *case != "orca_oob") {
            assert_eq!(suite.run(case).await, Ok(()), "{case} by {encoding}");
        }
    }
}

#[tokio::test]
async fn soak_counts_its_iterations_and_its_failures() {
    let endpoint = serving(all_services()).await;
    let soak =
        Soak { iterations: 12, threads: 3, overall_timeout: Duration::from_secs(60), ..Soak::default() };
    let patient = Soak { acceptable_latency: Duration::from_secs(60), ..soak };
    let run = |soak, over| soak::run(soak, over, endpoint.clone(), MetadataMap::new());
    for over in [Over::One, Over::New] {
        assert_eq!(run(patient, over).await, Ok(()));
        let hurried = Soak { acceptable_latency: Duration::ZERO, max_failures: 11, ..soak };
        assert_eq!(run(hurried, over).await, Err("12 failures, 11 are allowed".into()));
        assert_eq!(run(Soak { max_failures: 12, ..hurried }, over).await, Ok(()), "as many as are allowed");
        let late = Soak { overall_timeout: Duration::ZERO, ..patient };
        assert_eq!(run(late, over).await, Err("only 0 of 12 iterations in 0ns".into()));
    }
    let uneven = run(Soak { threads: 5, ..soak }, Over::One).await.expect_err("12 is no multiple of 5");
    assert!(uneven.contains("--soak_num_threads 5"), "{uneven}");
}

#[tokio::test]
async fn without_the_service_only_its_absence_passes() {
    let suite = suite(GenericService::new("some.Other")).await;
    for case in CASES {
        let outcome = suite.run(case).await;
        assert_eq!(outcome.is_ok(), case.starts_with("unimplemented_"), "{case}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_service_that_should_not_be_there_is_noticed() {
    let suite = suite(UnimplementedServiceServer::new(Wrong)).await;
    let problem = suite.run("unimplemented_service").await.expect_err("it is served");
    assert_eq!(problem.to_string(), "the call went well, want Unimplemented");
}

#[tokio::test]
async fn each_difference_is_named() {
    let gzip = CompressionEncoding::Gzip;
    let suite = suite(TestServiceServer::new(Wrong).accept_compressed(gzip)).await;
    for (case, text) in [
        ("large_unary", "payload of 314158 octets, want 314159"),
        ("client_streaming", "aggregated_payload_size is 74921, want 74922"),
        ("server_streaming", "another message came, want the end of the stream"),
        ("ping_pong", "the stream ended, want a message of 31415 octets"),
        ("empty_stream", "another message came, want the end of the stream"),
        ("timeout_on_sleeping_server", "the call went well, want DeadlineExceeded"),
        ("cancel_after_first_response", "the stream ended, want a message of 31415 octets"),
        (
            "status_code_and_message",
            "the status message is \"Test status message\", want \"test status message\"",
        ),
        ("special_status_message", "the status message is \"test with whitespace\\r\\nand Unicode BMP"),
        (
            "custom_metadata",
            "x-grpc-test-echo-initial is Some(\"yes\"), want \"test_initial_metadata_value\"",
        ),
        ("unimplemented_method", "the call went well, want Unimplemented"),
        ("client_compressed_unary", "the call went well, want InvalidArgument"),
        ("client_compressed_streaming", "the call went well, want InvalidArgument"),
        ("server_compressed_unary", "the message came as it is, want compressed"),
        ("server_compressed_streaming", "the message came as it is, want compressed"),
        ("orca_per_rpc", "there is no endpoint-load-metrics-bin"),
        ("orca_oob", "the stream ended, want a message of 1 octets"),
    ] {
        let mut outcome = suite.run(case).await;
        // On a busy machine even a quick answer can come after the millisecond that one case gives it.
        for _ in 0..100 {
            if outcome.is_err() {
                break;
            }
            outcome = suite.run(case).await;
        }
        let problem = outcome.expect_err(case).to_string();
        assert!(problem.starts_with(text), "{case}: {problem}");
    }
}

/// Nearly right.
struct Wrong;

/// Messages, and then OK.
type Messages = Iter<std::vec::IntoIter<Result<StreamingOutputCallResponse, Status>>>;

fn messages(sizes: impl IntoIterator<Item = usize>) -> Response<Messages> {
    let messages: Vec<_> = sizes
        .into_iter()
        .map(|octets| Ok(StreamingOutputCallResponse { payload: Some(zeros(octets)), ..Default::default() }))
        .collect();
    Response::new(tokio_stream::iter(messages))
}

impl TestService for Wrong {
    type StreamingOutputCallStream = Messages;
    type FullDuplexCallStream = Messages;
    type HalfDuplexCallStream = Messages;

    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
        let echo = request.metadata().contains_key(clearway_interop::ECHO_INITIAL);
        let request = request.into_inner();
        if let Some(EchoStatus { code, message }) = request.response_status {
            let mut letters = message.trim().chars();
            let first = letters.next().unwrap_or_default();
            let changed = if message == message.trim() { first.to_ascii_uppercase() } else { first };
            return Err(Status::new(Code::from_i32(code), format!("{changed}{}", letters.as_str())));
        }
        let payload = Some(zeros((request.response_size as usize).saturating_sub(1)));
        let mut response = Response::new(SimpleResponse { payload, ..Default::default() });
        if echo {
            let value = MetadataValue::from_static("yes");
            response.metadata_mut().insert(clearway_interop::ECHO_INITIAL, value);
        }
        Ok(response)
    }

    async fn cacheable_unary_call(
        &self,
        _: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Messages>, Status> {
        let asked = request.into_inner().response_parameters.into_iter().map(|asked| asked.size as usize);
        Ok(messages(asked.chain([1])))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let mut uploaded = request.into_inner();
        let mut octets = 0;
        while let Some(message) = uploaded.message().await? {
            octets += message.payload.unwrap_or_default().body.len();
        }
        let aggregated_payload_size = i32::try_from(octets).unwrap() - 1;
        Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
    }

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Messages>, Status> {
        // An empty stream gets a message, any other none.
        let mut uploaded = request.into_inner();
        let first = core::future::poll_fn(|cx| core::pin::Pin::new(&mut uploaded).poll_next(cx)).await;
        Ok(messages(first.is_none().then_some(1)))
    }

    async fn half_duplex_call(
        &self,
        _: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Messages>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }
}

impl UnimplementedService for Wrong {
    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }
}
