//! `grpc.testing.TestService` on tonic: what the project's own `interop-client` calls, and proof that the tonic client
//! is right before it judges the project's server.

use std::error::Error;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use clearway_peers::testing::test_service_server::{TestService, TestServiceServer};
use clearway_peers::testing::{
    EchoStatus, Empty, Payload, ResponseParameters, SimpleRequest, SimpleResponse, StreamingInputCallRequest,
    StreamingInputCallResponse, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

const HELP: &str = "\
grpc.testing.TestService on tonic.

Usage: tonic-interop-server --port N [--use_tls=true --tls_cert_file FILE --tls_key_file FILE]
";

const ECHO_INITIAL: HeaderName = HeaderName::from_static("x-grpc-test-echo-initial");
const ECHO_TRAILING: HeaderName = HeaderName::from_static("x-grpc-test-echo-trailing-bin");

struct Interop;

type Outputs = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TestService for Interop {
    type StreamingOutputCallStream = Outputs;
    type FullDuplexCallStream = Outputs;
    type HalfDuplexCallStream = Outputs;

    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
        let request = request.into_inner();
        check(request.response_status)?;
        let payload = Some(zeros(request.response_size)?);
        let mut response = Response::new(SimpleResponse { payload, ..SimpleResponse::default() });
        if !request.response_compressed.is_some_and(|wanted| wanted.value) {
            response.disable_compression();
        }
        Ok(response)
    }

    async fn cacheable_unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        self.unary_call(request).await
    }

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Outputs>, Status> {
        let request = request.into_inner();
        Ok(answer_with(|outputs| async move {
            send(&outputs, request.response_parameters).await?;
            check(request.response_status)
        }))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let mut inputs = request.into_inner();
        let mut octets = 0;
        while let Some(input) = inputs.message().await? {
            octets += input.payload.map_or(0, |payload| payload.body.len());
        }
        let aggregated_payload_size = i32::try_from(octets).map_err(|_| Status::out_of_range("sum"))?;
        Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
    }

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Outputs>, Status> {
        let mut inputs = request.into_inner();
        Ok(answer_with(|outputs| async move {
            while let Some(input) = inputs.message().await? {
                check(input.response_status)?;
                send(&outputs, input.response_parameters).await?;
            }
            Ok(())
        }))
    }

    async fn half_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Outputs>, Status> {
        let mut inputs = request.into_inner();
        Ok(answer_with(|outputs| async move {
            let mut all = Vec::new();
            while let Some(input) = inputs.message().await? {
                check(input.response_status)?;
                all.extend(input.response_parameters);
            }
            send(&outputs, all).await
        }))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("never implemented"))
    }
}

type Sender = mpsc::Sender<Result<StreamingOutputCallResponse, Status>>;

/// Runs `produce` beside the call; its error ends the stream.
fn answer_with<F>(produce: impl FnOnce(Sender) -> F) -> Response<Outputs>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (outputs, stream) = mpsc::channel(1);
    let produced = produce(outputs.clone());
    tokio::spawn(async move {
        if let Err(status) = produced.await {
            // Nobody listens any more: the call was cancelled.
            drop(outputs.send(Err(status)).await);
        }
    });
    Response::new(Box::pin(ReceiverStream::new(stream)))
}

async fn send(outputs: &Sender, wanted: Vec<ResponseParameters>) -> Result<(), Status> {
    for each in wanted {
        if let Ok(micros @ 1..) = u64::try_from(each.interval_us) {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        let message = StreamingOutputCallResponse { payload: Some(zeros(each.size)?), ..Default::default() };
        outputs.send(Ok(message)).await.map_err(|_| Status::cancelled("the caller is gone"))?;
    }
    Ok(())
}

fn zeros(octets: i32) -> Result<Payload, Status> {
    let octets = usize::try_from(octets).map_err(|_| Status::invalid_argument("negative size"))?;
    Ok(Payload { body: vec![0; octets], ..Payload::default() })
}

fn check(wanted: Option<EchoStatus>) -> Result<(), Status> {
    match wanted {
        Some(EchoStatus { code, message }) if code != 0 => Err(Status::new(code.into(), message)),
        _ => Ok(()),
    }
}

/// Sends the two echo fields back: one in the response headers, one in the trailers, which tonic's handlers cannot reach.
#[derive(Clone)]
struct EchoMetadata<S>(S);

impl<S> tower::Service<http::Request<Body>> for EchoMetadata<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let initial = request.headers().get(ECHO_INITIAL).cloned();
        let trailing = request.headers().get(ECHO_TRAILING).cloned();
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            response.headers_mut().extend(initial.map(|value| (ECHO_INITIAL, value)));
            Ok(match trailing {
                Some(_) => response.map(|body| Body::new(WithTrailer { body, trailing })),
                None => response,
            })
        })
    }
}

/// A body whose trailers get one more field.
struct WithTrailer {
    body: Body,
    trailing: Option<HeaderValue>,
}

impl http_body::Body for WithTrailer {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            trailers.extend(self.trailing.take().map(|value| (ECHO_TRAILING, value)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // So that Trailers-Only stays what it is.
        self.body.is_end_stream()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut port, mut tls, mut cert, mut key) = (None, false, Vec::new(), Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("use_tls") => tls = parser.value()? == "true",
            Long("tls_cert_file") => cert = std::fs::read(parser.value()?)?,
            Long("tls_key_file") => key = std::fs::read(parser.value()?)?,
            _ => return Err(HELP.into()),
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.ok_or(HELP)?)).await?;
    clearway_peers::announce(listener.local_addr()?);
    let mut service = TestServiceServer::new(Interop);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd] {
        service = service.accept_compressed(encoding).send_compressed(encoding);
    }
    let mut server = Server::builder();
    if tls {
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(cert, key)))?;
    }
    server
        .layer(tower::layer::layer_fn(EchoMetadata))
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}
