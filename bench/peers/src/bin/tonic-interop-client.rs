//! The official interop cases on tonic's client, for the project's `interop-server` to answer.
//!
//! Cases are named and built as the grpc project describes them; those of compression are run for each algorithm that tonic has. Left out:
//! ORCA, soak and credentials.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clearway_peers::testing::test_service_client::TestServiceClient;
use clearway_peers::testing::unimplemented_service_client::UnimplementedServiceClient;
use clearway_peers::testing::{
    BoolValue, EchoStatus, Empty, Payload, ResponseParameters, SimpleRequest, StreamingInputCallRequest,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

const HELP: &str = "\
The official interop cases on tonic's client.

Usage: tonic-interop-client --server_port N [--server_host H] [--test_case C|all]
                            [--use_tls=true --ca_file FILE [--server_host_override NAME]]

Prints one line for each case. Exits 1 when one failed, 2 when the command line cannot be used.
";

const REQUESTS: [usize; 4] = [27_182, 8, 1_828, 45_904];
const RESPONSES: [i32; 4] = [31_415, 9, 2_653, 58_979];
const LARGE_REQUEST: usize = 271_828;
const LARGE_RESPONSE: i32 = 314_159;

/// No case takes this long against a server that answers.
const CASE_LIMIT: Duration = Duration::from_secs(10);

const CASES: [&str; 17] = [
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
    "compressed_gzip",
    "compressed_deflate",
    "compressed_zstd",
];

/// Why a case failed.
type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Fails the case with a line that says what was expected.
macro_rules! expect {
    ($condition:expr, $($wanted:tt)+) => {
        if !$condition {
            return Err(format!($($wanted)+).into());
        }
    };
}

async fn run(case: &str, channel: Channel) -> Outcome {
    let mut client = TestServiceClient::new(channel.clone());
    match case {
        "empty_unary" => empty_unary(&mut client).await,
        "large_unary" => large_unary(&mut client).await,
        "client_streaming" => client_streaming(&mut client).await,
        "server_streaming" => server_streaming(&mut client).await,
        "ping_pong" => ping_pong(&mut client).await,
        "empty_stream" => empty_stream(&mut client).await,
        "timeout_on_sleeping_server" => timeout_on_sleeping_server(&mut client).await,
        "cancel_after_begin" => cancel_after_begin(&mut client).await,
        "cancel_after_first_response" => cancel_after_first_response(&mut client).await,
        "status_code_and_message" => status_comes_back(&mut client, "test status message").await,
        "special_status_message" => {
            status_comes_back(
                &mut client,
                "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n",
            )
            .await
        }
        "custom_metadata" => custom_metadata(&mut client).await,
        "unimplemented_method" => is_unimplemented(client.unimplemented_call(Empty {}).await),
        "unimplemented_service" => {
            is_unimplemented(UnimplementedServiceClient::new(channel).unimplemented_call(Empty {}).await)
        }
        "compressed_gzip" => compressed(client, CompressionEncoding::Gzip).await,
        "compressed_deflate" => compressed(client, CompressionEncoding::Deflate).await,
        "compressed_zstd" => compressed(client, CompressionEncoding::Zstd).await,
        _ => Err("no such case".into()),
    }
}

type Client = TestServiceClient<Channel>;

/// Every kind of call with messages that are compressed both ways, and requests that say whether they are.
async fn compressed(plain: Client, encoding: CompressionEncoding) -> Outcome {
    let mut client = plain.clone().send_compressed(encoding).accept_compressed(encoding);
    large_unary(&mut client).await?;
    client_streaming(&mut client).await?;
    server_streaming(&mut client).await?;
    ping_pong(&mut client).await?;
    custom_metadata(&mut client).await?;
    let flag = |value| Some(BoolValue { value });
    for (mut client, is_compressed) in [(client, true), (plain, false)] {
        for said in [true, false] {
            let request = SimpleRequest {
                expect_compressed: flag(said),
                response_compressed: flag(true),
                ..large_request()
            };
            match client.unary_call(request).await {
                Ok(_) => expect!(said == is_compressed, "the server takes {said} for {is_compressed}"),
                Err(status) => {
                    expect!(said != is_compressed && status.code() == Code::InvalidArgument, "{status}");
                }
            }
        }
    }
    Ok(())
}

async fn empty_unary(client: &mut Client) -> Outcome {
    client.empty_call(Empty {}).await?;
    Ok(())
}

fn large_request() -> SimpleRequest {
    SimpleRequest {
        response_size: LARGE_RESPONSE,
        payload: Some(zeros(LARGE_REQUEST)),
        ..SimpleRequest::default()
    }
}

async fn large_unary(client: &mut Client) -> Outcome {
    let response = client.unary_call(large_request()).await?.into_inner();
    let body = response.payload.unwrap_or_default().body;
    expect!(Ok(body.len()) == LARGE_RESPONSE.try_into(), "{} octets came", body.len());
    expect!(body.iter().all(|octet| *octet == 0), "the payload is not zeros");
    Ok(())
}

async fn client_streaming(client: &mut Client) -> Outcome {
    let inputs = REQUESTS
        .map(|octets| StreamingInputCallRequest { payload: Some(zeros(octets)), ..Default::default() });
    let response = client.streaming_input_call(tokio_stream::iter(inputs)).await?.into_inner();
    expect!(response.aggregated_payload_size == 74_922, "sum {}", response.aggregated_payload_size);
    Ok(())
}

async fn server_streaming(client: &mut Client) -> Outcome {
    let response_parameters = RESPONSES.map(wanted).into();
    let request = StreamingOutputCallRequest { response_parameters, ..Default::default() };
    let mut outputs = client.streaming_output_call(request).await?.into_inner();
    for octets in RESPONSES {
        has_octets(outputs.message().await?, octets)?;
    }
    expect!(outputs.message().await?.is_none(), "a fifth message came");
    Ok(())
}

async fn ping_pong(client: &mut Client) -> Outcome {
    let (inputs, stream) = mpsc::channel(1);
    // Before the call: tonic hands out the response when its headers are there, and a server may wait with them.
    inputs.send(ping(REQUESTS[0], RESPONSES[0])).await?;
    let mut outputs = client.full_duplex_call(ReceiverStream::new(stream)).await?.into_inner();
    has_octets(outputs.message().await?, RESPONSES[0])?;
    for (octets, answer) in REQUESTS.into_iter().zip(RESPONSES).skip(1) {
        inputs.send(ping(octets, answer)).await?;
        has_octets(outputs.message().await?, answer)?;
    }
    drop(inputs);
    expect!(outputs.message().await?.is_none(), "a fifth message came");
    Ok(())
}

async fn empty_stream(client: &mut Client) -> Outcome {
    let mut outputs = client.full_duplex_call(tokio_stream::empty()).await?.into_inner();
    expect!(outputs.message().await?.is_none(), "a message came");
    Ok(())
}

/// tonic's deadline ends with the response headers, so this case passes only when the server enforces `grpc-timeout` or
/// holds its headers back. tonic reports its own timer and a reset CANCEL as CANCELLED.
async fn timeout_on_sleeping_server(client: &mut Client) -> Outcome {
    let (inputs, stream) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(stream));
    request.set_timeout(Duration::from_millis(1));
    inputs.send(StreamingOutputCallRequest { payload: Some(zeros(27_182)), ..Default::default() }).await?;
    let outcome = match client.full_duplex_call(request).await {
        Ok(response) => response.into_inner().message().await,
        Err(status) => Err(status),
    };
    match outcome {
        Err(status) if status.code() == Code::Cancelled => Ok(()),
        Err(status) => has_code(&status, Code::DeadlineExceeded),
        Ok(_) => Err("the call did not fail".into()),
    }
}

/// A dropped call reports to nobody: what shows is that the connection lives on.
async fn cancel_after_begin(client: &mut Client) -> Outcome {
    let mut other = client.clone();
    let call = client.streaming_input_call(tokio_stream::pending());
    let early = tokio::time::timeout(Duration::from_millis(100), call).await;
    expect!(early.is_err(), "the call ended before it was cancelled");
    empty_unary(&mut other).await
}

async fn cancel_after_first_response(client: &mut Client) -> Outcome {
    let (inputs, stream) = mpsc::channel(1);
    inputs.send(ping(REQUESTS[0], RESPONSES[0])).await?;
    let mut outputs = client.full_duplex_call(ReceiverStream::new(stream)).await?.into_inner();
    has_octets(outputs.message().await?, RESPONSES[0])?;
    // In this order: tonic resets a stream when both directions of it were dropped.
    drop(outputs);
    drop(inputs);
    empty_unary(client).await
}

async fn status_comes_back(client: &mut Client, message: &str) -> Outcome {
    let wanted = Some(EchoStatus { code: 2, message: message.into() });
    let request = SimpleRequest { response_status: wanted.clone(), ..Default::default() };
    let Err(status) = client.unary_call(request).await else { return Err("unary: no error".into()) };
    has_status(&status, message)?;
    let inputs =
        tokio_stream::once(StreamingOutputCallRequest { response_status: wanted, ..Default::default() });
    let status = match client.full_duplex_call(inputs).await {
        Err(status) => status,
        Ok(response) => match response.into_inner().message().await {
            Err(status) => status,
            Ok(_) => return Err("full duplex: no error".into()),
        },
    };
    has_status(&status, message)
}

async fn custom_metadata(client: &mut Client) -> Outcome {
    let mut request = Request::new(large_request());
    add_metadata(request.metadata_mut());
    // tonic adds the trailers of a unary call to its metadata.
    let response = client.unary_call(request).await?;
    has_initial(response.metadata())?;
    has_trailing(response.metadata())?;

    let mut request = Request::new(tokio_stream::once(ping(LARGE_REQUEST, LARGE_RESPONSE)));
    add_metadata(request.metadata_mut());
    let response = client.full_duplex_call(request).await?;
    has_initial(response.metadata())?;
    let mut outputs = response.into_inner();
    has_octets(outputs.message().await?, LARGE_RESPONSE)?;
    expect!(outputs.message().await?.is_none(), "a second message came");
    has_trailing(&outputs.trailers().await?.unwrap_or_default())
}

const INITIAL: &str = "test_initial_metadata_value";
const TRAILING: [u8; 3] = [0xab, 0xab, 0xab];

fn add_metadata(metadata: &mut MetadataMap) {
    metadata.insert("x-grpc-test-echo-initial", MetadataValue::from_static(INITIAL));
    metadata.insert_bin("x-grpc-test-echo-trailing-bin", MetadataValue::from_bytes(&TRAILING));
}

fn has_initial(metadata: &MetadataMap) -> Outcome {
    let got = metadata.get("x-grpc-test-echo-initial");
    expect!(got.is_some_and(|value| value == INITIAL), "initial metadata {got:?}");
    Ok(())
}

fn has_trailing(metadata: &MetadataMap) -> Outcome {
    let got = metadata.get_bin("x-grpc-test-echo-trailing-bin").and_then(|value| value.to_bytes().ok());
    expect!(got.as_deref() == Some(&TRAILING[..]), "trailing metadata {got:?}");
    Ok(())
}

fn is_unimplemented<T>(outcome: Result<T, Status>) -> Outcome {
    match outcome {
        Err(status) => has_code(&status, Code::Unimplemented),
        Ok(_) => Err("the call did not fail".into()),
    }
}

fn has_code(status: &Status, code: Code) -> Outcome {
    expect!(status.code() == code, "{code:?} expected, got {:?}: {}", status.code(), status.message());
    Ok(())
}

fn has_status(status: &Status, message: &str) -> Outcome {
    has_code(status, Code::Unknown)?;
    expect!(status.message() == message, "message {:?}", status.message());
    Ok(())
}

fn has_octets(message: Option<StreamingOutputCallResponse>, octets: i32) -> Outcome {
    let body = message.and_then(|message| message.payload).map(|payload| payload.body.len());
    expect!(body == usize::try_from(octets).ok(), "{octets} octets expected, got {body:?}");
    Ok(())
}

fn ping(octets: usize, answer: i32) -> StreamingOutputCallRequest {
    StreamingOutputCallRequest {
        response_parameters: vec![wanted(answer)],
        payload: Some(zeros(octets)),
        ..Default::default()
    }
}

fn wanted(size: i32) -> ResponseParameters {
    ResponseParameters { size, ..Default::default() }
}

fn zeros(octets: usize) -> Payload {
    Payload { body: vec![0; octets], ..Default::default() }
}

/// Where to, and which case.
fn read_flags() -> Result<(Endpoint, String), Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut host, mut port, mut case) = (String::from("127.0.0.1"), None, String::from("all"));
    let (mut tls, mut ca, mut name) = (false, None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("server_host") => host = parser.value()?.string()?,
            Long("server_port") => port = Some(parser.value()?.parse::<u16>()?),
            Long("test_case") => case = parser.value()?.string()?,
            Long("use_tls") => tls = parser.value()? == "true",
            // What other clients of the suite want to be told is said by the next one here.
            Long("use_test_ca") => drop(parser.value()?),
            Long("ca_file") => ca = Some(std::fs::read(parser.value()?)?),
            Long("server_host_override") => name = Some(parser.value()?.string()?),
            _ => return Err(HELP.into()),
        }
    }
    let scheme = if tls { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{}", port.ok_or(HELP)?))?;
    if tls {
        let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.ok_or(HELP)?));
        endpoint = endpoint.tls_config(name.into_iter().fold(trust, ClientTlsConfig::domain_name))?;
    }
    Ok((endpoint, case))
}

#[tokio::main]
async fn main() -> ExitCode {
    let (endpoint, asked) = match read_flags() {
        Ok(read) => read,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let channel = endpoint.connect_lazy();
    let cases = if asked == "all" { CASES.to_vec() } else { vec![asked.as_str()] };
    let mut code = ExitCode::SUCCESS;
    for case in cases {
        let outcome = tokio::time::timeout(CASE_LIMIT, run(case, channel.clone())).await;
        match outcome.unwrap_or_else(|_| Err(format!("no end within {CASE_LIMIT:?}").into())) {
            Ok(()) => println!("{case}: ok"),
            Err(error) => {
                println!("{case}: FAILED: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
