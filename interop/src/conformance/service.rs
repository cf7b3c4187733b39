//! `connectrpc.conformance.v1.ConformanceService`: each request says how it is to be answered.

use core::pin::Pin;
use core::time::Duration;

use clearway::codegen::Stream;
use clearway::metadata::MetadataMap;
use clearway::{Request, Response, Status, Streaming};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::convert::{Named, from_metadata, pack, to_metadata, to_status};
use super::proto::conformance_payload::RequestInfo;
use super::proto::conformance_service_server::ConformanceService;
use super::proto::unary_response_definition::Response as Wanted;
use super::proto::{
    BidiStreamRequest, BidiStreamResponse, ClientStreamRequest, ClientStreamResponse, ConformancePayload,
    Header, IdempotentUnaryRequest, IdempotentUnaryResponse, ServerStreamRequest, ServerStreamResponse,
    StreamResponseDefinition, UnaryRequest, UnaryResponse, UnaryResponseDefinition, UnimplementedRequest,
    UnimplementedResponse,
};

/// The service.
#[derive(Clone, Copy, Debug)]
pub struct Conformance;

/// Messages of a response.
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ConformanceService for Conformance {
    async fn unary(&self, request: Request<UnaryRequest>) -> Result<Response<UnaryResponse>, Status> {
        let mut seen = seen(&request);
        seen.requests.push(pack(request.get_ref()));
        let answer = answer(request.into_inner().response_definition, seen).await?;
        Ok(answer.map(|payload| UnaryResponse { payload: Some(payload) }))
    }

    async fn idempotent_unary(
        &self,
        request: Request<IdempotentUnaryRequest>,
    ) -> Result<Response<IdempotentUnaryResponse>, Status> {
        let mut seen = seen(&request);
        seen.requests.push(pack(request.get_ref()));
        let answer = answer(request.into_inner().response_definition, seen).await?;
        Ok(answer.map(|payload| IdempotentUnaryResponse { payload: Some(payload) }))
    }

    async fn unimplemented(
        &self,
        _: Request<UnimplementedRequest>,
    ) -> Result<Response<UnimplementedResponse>, Status> {
        Err(Status::unimplemented("this method is there to be missing"))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<ClientStreamRequest>>,
    ) -> Result<Response<ClientStreamResponse>, Status> {
        let mut seen = seen(&request);
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        seen.requests.extend(first.as_ref().map(pack));
        rest(&mut messages, &mut seen.requests).await?;
        let answer = answer(first.and_then(|first| first.response_definition), seen).await?;
        Ok(answer.map(|payload| ClientStreamResponse { payload: Some(payload) }))
    }

    type ServerStreamStream = Messages<ServerStreamResponse>;

    async fn server_stream(
        &self,
        request: Request<ServerStreamRequest>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let mut seen = seen(&request);
        seen.requests.push(pack(request.get_ref()));
        let definition = request.into_inner().response_definition.unwrap_or_default();
        respond(
            definition,
            |definition, to| async move {
                let _ = Answering { seen: Some(seen), definition, next: 0, to }.finish().await;
            },
            |payload| ServerStreamResponse { payload: Some(payload) },
        )
    }

    type BidiStreamStream = Messages<BidiStreamResponse>;

    async fn bidi_stream(
        &self,
        request: Request<Streaming<BidiStreamRequest>>,
    ) -> Result<Response<Self::BidiStreamStream>, Status> {
        let mut seen = seen(&request);
        let mut messages = request.into_inner();
        let first = messages.message().await?.unwrap_or_default();
        seen.requests.push(pack(&first));
        if !first.full_duplex {
            rest(&mut messages, &mut seen.requests).await?;
        }
        let definition = first.response_definition.unwrap_or_default();
        respond(
            definition,
            move |definition, to| async move {
                let mut answering = Answering { seen: Some(seen), definition, next: 0, to };
                if first.full_duplex && answering.converse(messages).await.is_err() {
                    return;
                }
                let _ = answering.finish().await;
            },
            |payload| BidiStreamResponse { payload: Some(payload) },
        )
    }
}

/// What was seen of a request, without its messages.
fn seen<T>(request: &Request<T>) -> RequestInfo {
    let left = request.deadline().map(|at| at.saturating_duration_since(Instant::now()).as_millis());
    RequestInfo {
        request_headers: from_metadata(request.metadata()),
        timeout_ms: left.map(|left| i64::try_from(left).unwrap_or(i64::MAX)),
        ..RequestInfo::default()
    }
}

/// Takes in all messages that are left.
async fn rest<M: Named>(messages: &mut Streaming<M>, into: &mut Vec<Any>) -> Result<(), Status> {
    while let Some(message) = messages.message().await? {
        into.push(pack(&message));
    }
    Ok(())
}

fn metadata(headers: &[Header]) -> Result<MetadataMap, Status> {
    to_metadata(headers).map_err(Status::invalid_argument)
}

fn millis(delay: u32) -> Duration {
    Duration::from_millis(delay.into())
}

/// The answer of a method that gives one message.
async fn answer(
    definition: Option<UnaryResponseDefinition>,
    seen: RequestInfo,
) -> Result<Response<ConformancePayload>, Status> {
    let definition = definition.unwrap_or_default();
    let (headers, trailers) =
        (metadata(&definition.response_headers)?, metadata(&definition.response_trailers)?);
    sleep(millis(definition.response_delay_ms)).await;
    let data = match definition.response {
        Some(Wanted::Error(error)) => {
            // An error without a response is a section of trailers alone: there is one map for both.
            let mut both = headers;
            both.merge(&trailers);
            return Err(to_status(&error, Some(&seen), both));
        }
        Some(Wanted::ResponseData(data)) => data,
        None => Vec::new(),
    };
    let mut response = Response::new(ConformancePayload { data, request_info: Some(seen) });
    *response.metadata_mut() = headers;
    *response.trailers_mut() = trailers;
    Ok(response)
}

type Sender = mpsc::Sender<Result<ConformancePayload, Status>>;

/// A response whose head goes out at once, and whose messages come from a task.
fn respond<T, F>(
    definition: StreamResponseDefinition,
    answering: impl FnOnce(StreamResponseDefinition, Sender) -> F,
    wrap: fn(ConformancePayload) -> T,
) -> Result<Response<Messages<T>>, Status>
where
    T: 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (headers, trailers) =
        (metadata(&definition.response_headers)?, metadata(&definition.response_trailers)?);
    let (to, from) = mpsc::channel(1);
    tokio::spawn(answering(definition, to));
    let messages: Messages<T> = Box::pin(ReceiverStream::new(from).map(move |sent| sent.map(wrap)));
    let mut response = Response::new(messages);
    *response.metadata_mut() = headers;
    *response.trailers_mut() = trailers;
    Ok(response)
}

/// The client is gone.
struct Gone;

/// A stream of answers on its way.
struct Answering {
    /// Until the first answer, or the error, has told it.
    seen: Option<RequestInfo>,
    definition: StreamResponseDefinition,
    /// Which response is next.
    next: usize,
    to: Sender,
}

impl Answering {
    /// Sends the next response, if there is one left.
    async fn one(&mut self, request_info: Option<RequestInfo>) -> Result<bool, Gone> {
        let Some(data) = self.definition.response_data.get(self.next).cloned() else { return Ok(false) };
        self.next = self.next.saturating_add(1);
        sleep(millis(self.definition.response_delay_ms)).await;
        let payload = ConformancePayload { data, request_info };
        self.to.send(Ok(payload)).await.map_err(|_| Gone)?;
        Ok(true)
    }

    /// Full duplex: one response for each request, as long as there are any of either.
    async fn converse(&mut self, mut messages: Streaming<BidiStreamRequest>) -> Result<(), Gone> {
        let mut info = self.seen.clone();
        while self.next < self.definition.response_data.len() {
            self.seen = None;
            self.one(info).await?;
            match messages.message().await {
                Ok(Some(message)) => {
                    info = Some(RequestInfo { requests: vec![pack(&message)], ..RequestInfo::default() });
                }
                Ok(None) => break,
                Err(status) => {
                    let _ = self.to.send(Err(status)).await;
                    return Err(Gone);
                }
            }
        }
        Ok(())
    }

    /// Sends the responses that are left, and the error if there is one.
    async fn finish(mut self) -> Result<(), Gone> {
        loop {
            let info = self.seen.clone();
            if !self.one(info).await? {
                break;
            }
            self.seen = None;
        }
        if let Some(error) = &self.definition.error {
            let trailers = metadata(&self.definition.response_trailers);
            let status = trailers.map(|trailers| to_status(error, self.seen.as_ref(), trailers));
            self.to.send(Err(status.unwrap_or_else(|status| status))).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}
