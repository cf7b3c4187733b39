//! `grpc.testing.TestService`: every method does what its request asks for.
//!
//! Messages of responses are compressed where a request asks for it, and those of requests must have come as it says. What the server
//! reports out of band is what the last FullDuplexCall said.
//! UnimplementedCall is part of the service and answered with UNIMPLEMENTED; UnimplementedService is not served at all.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clearway::metadata::{MetadataMap, MetadataValue};
use clearway::{Code, Request, Response, Status, Streaming};
use tokio::time::Sleep;
use tokio_stream::Stream;

use crate::orca::{self, Reported};
use crate::testing::test_service_server::TestService;
use crate::testing::{
    BoolValue, EchoStatus, Empty, Payload, PayloadType, ResponseParameters, SimpleRequest, SimpleResponse,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};
use crate::{ECHO_INITIAL, ECHO_TRAILING, zeros};

/// The largest payload given out, in octets, whatever is asked for.
const LARGEST_PAYLOAD: i32 = 64 * 1024 * 1024;

/// The service. Copies share what they report.
#[derive(Clone, Debug, Default)]
pub struct Interop {
    /// To be served beside it.
    pub reported: Reported,
}

impl TestService for Interop {
    type StreamingOutputCallStream = Answers<tokio_stream::Once<Asked>>;
    type FullDuplexCallStream = Answers<Streaming<StreamingOutputCallRequest>>;
    type HalfDuplexCallStream = Answers<tokio_stream::Iter<std::vec::IntoIter<Asked>>>;

    async fn empty_call(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        let echo = Echo::of(request.metadata());
        Ok(echo.on(Response::new(Empty {})))
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
        let echo = Echo::of(request.metadata());
        let compressed = request.was_compressed();
        let mut request = request.into_inner();
        came_as_expected(request.expect_compressed, compressed)?;
        if let Some(status) = wanted_status(request.response_status) {
            return Err(echo.on_status(status));
        }
        let payload = wanted_payload(request.response_type, request.response_size)?;
        let response = SimpleResponse { payload: Some(payload), ..SimpleResponse::default() };
        let mut response = echo.on(Response::new(response));
        if !is_true(request.response_compressed) {
            response.disable_compression();
        }
        if let Some(report) = request.orca_per_query_report.take() {
            orca::report(&mut response, report);
        }
        Ok(response)
    }

    async fn cacheable_unary_call(
        &self,
        _: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        // The payload is different for each call that was not answered by a cache.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let payload = Payload { body: now.as_nanos().to_string().into_bytes(), ..Payload::default() };
        let mut response =
            Response::new(SimpleResponse { payload: Some(payload), ..SimpleResponse::default() });
        response.metadata_mut().insert("cache-control", MetadataValue::from_static("max-age=60, public"));
        Ok(response)
    }

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Self::StreamingOutputCallStream>, Status> {
        let wanted: Vec<_> =
            request.get_ref().response_parameters.iter().map(|one| is_true(one.compressed)).collect();
        let mut response = self.respond(request, |asked| tokio_stream::once(Ok(asked)));
        let mut wanted = wanted.into_iter();
        response.compress_if(move |_: &StreamingOutputCallResponse| wanted.next().unwrap_or_default());
        Ok(response)
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let echo = Echo::of(request.metadata());
        let mut uploaded = request.into_inner();
        let mut octets = 0_usize;
        while let Some(message) = uploaded.message().await? {
            came_as_expected(message.expect_compressed, uploaded.was_compressed())?;
            octets = octets.saturating_add(message.payload.map_or(0, |payload| payload.body.len()));
        }
        let aggregated_payload_size = i32::try_from(octets)
            .map_err(|_| Status::out_of_range("the sizes of all payloads together do not fit int32"))?;
        Ok(echo.on(Response::new(StreamingInputCallResponse { aggregated_payload_size })))
    }

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Self::FullDuplexCallStream>, Status> {
        let mut response = self.respond(request, |asked| asked);
        response.disable_compression();
        Ok(response)
    }

    async fn half_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Self::HalfDuplexCallStream>, Status> {
        let (metadata, extensions, mut uploaded) = request.into_parts();
        let mut asked = Vec::new();
        while let Some(message) = uploaded.message().await? {
            asked.push(Ok(message));
        }
        let request = Request::from_parts(metadata, extensions, asked);
        let mut response = self.respond(request, tokio_stream::iter);
        response.disable_compression();
        Ok(response)
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("UnimplementedCall is never implemented"))
    }
}

/// A request for responses, or how the stream of them failed.
type Asked = Result<StreamingOutputCallRequest, Status>;

impl Interop {
    fn respond<T, I>(&self, request: Request<T>, requests: impl FnOnce(T) -> I) -> Response<Answers<I>> {
        let echo = Echo::of(request.metadata());
        let peer = request.remote_addr().map(|address| address.to_string()).unwrap_or_default();
        echo.on(Response::new(Answers {
            requests: requests(request.into_inner()),
            reported: self.reported.clone(),
            peer,
            wanted: VecDeque::new(),
            pause: None,
            end: None,
        }))
    }
}

/// The responses that a stream of requests asks for: those of one request before the next is looked at.
pub struct Answers<I> {
    requests: I,
    /// What requests say is to be reported.
    reported: Reported,
    /// The caller's address.
    peer: String,
    wanted: VecDeque<ResponseParameters>,
    /// Runs before the first of `wanted`.
    pause: Option<Pin<Box<Sleep>>>,
    /// What the stream ends with, after all of `wanted`.
    end: Option<Status>,
}

impl<I> core::fmt::Debug for Answers<I> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Answers").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl<I> Answers<I> {
    fn answer(&self, wanted: &ResponseParameters) -> Result<StreamingOutputCallResponse, Status> {
        let payload = wanted_payload(PayloadType::Compressable.into(), wanted.size)?;
        let tell = wanted.fill_peer_socket_address.is_some_and(|fill| fill.value);
        let peer_socket_address = if tell { self.peer.clone() } else { String::new() };
        Ok(StreamingOutputCallResponse { payload: Some(payload), peer_socket_address })
    }

    fn take(&mut self, request: StreamingOutputCallRequest) {
        if let Some(report) = request.orca_oob_report {
            self.reported.set(report);
        }
        self.wanted = request.response_parameters.into();
        self.end = wanted_status(request.response_status);
        self.rest();
    }

    /// Starts the pause before the next response.
    fn rest(&mut self) {
        let micros = self.wanted.front().map_or(0, |next| u64::try_from(next.interval_us).unwrap_or(0));
        self.pause = (micros > 0).then(|| Box::pin(tokio::time::sleep(Duration::from_micros(micros))));
    }
}

impl<I: Stream<Item = Asked> + Unpin> Stream for Answers<I> {
    type Item = Result<StreamingOutputCallResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
            }
            if let Some(wanted) = self.wanted.pop_front() {
                self.rest();
                return Poll::Ready(Some(self.answer(&wanted)));
            }
            if let Some(status) = self.end.take() {
                return Poll::Ready(Some(Err(status)));
            }
            match ready!(Pin::new(&mut self.requests).poll_next(cx)) {
                Some(Ok(request)) => self.take(request),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// The metadata a caller wants to see again.
struct Echo {
    initial: Option<MetadataValue<clearway::metadata::Ascii>>,
    trailing: Option<MetadataValue<clearway::metadata::Binary>>,
}

impl Echo {
    fn of(metadata: &MetadataMap) -> Self {
        Self {
            initial: metadata.get(ECHO_INITIAL).cloned(),
            trailing: metadata.get_bin(ECHO_TRAILING).cloned(),
        }
    }

    fn on<T>(self, mut response: Response<T>) -> Response<T> {
        if let Some(value) = self.initial {
            response.metadata_mut().insert(ECHO_INITIAL, value);
        }
        if let Some(value) = self.trailing {
            response.trailers_mut().insert_bin(ECHO_TRAILING, value);
        }
        response
    }

    fn on_status(self, mut status: Status) -> Status {
        if let Some(value) = self.trailing {
            status.metadata_mut().insert_bin(ECHO_TRAILING, value);
        }
        status
    }
}

fn wanted_status(wanted: Option<EchoStatus>) -> Option<Status> {
    let EchoStatus { code, message } = wanted?;
    (code != 0).then(|| Status::new(Code::from_i32(code), message))
}

fn wanted_payload(kind: i32, size: i32) -> Result<Payload, Status> {
    if kind != i32::from(PayloadType::Compressable) {
        return Err(Status::invalid_argument(format!("unknown payload type {kind}")));
    }
    match usize::try_from(size) {
        Ok(octets) if size <= LARGEST_PAYLOAD => Ok(zeros(octets)),
        _ => Err(Status::invalid_argument(format!(
            "payload size {size} is not between 0 and {LARGEST_PAYLOAD}"
        ))),
    }
}

fn is_true(value: Option<BoolValue>) -> bool {
    value.is_some_and(|value| value.value)
}

/// A message that says how it is sent must have come so.
fn came_as_expected(expected: Option<BoolValue>, compressed: bool) -> Result<(), Status> {
    match expected {
        Some(expected) if expected.value != compressed => {
            let how = if compressed { "compressed" } else { "as it is" };
            Err(Status::invalid_argument(format!("the message came {how}, which is not what it says")))
        }
        _ => Ok(()),
    }
}
