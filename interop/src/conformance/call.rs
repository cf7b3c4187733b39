//! One call as the suite asks for it, and what is reported of it.
//!
//! A call is given up by dropping it, as any program of ours would; what it brought until then is reported with CANCELLED.

use core::time::Duration;
use std::collections::HashMap;

use clearway::codec::CompressionEncoding;
use clearway::metadata::MetadataMap;
use clearway::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use clearway::{Code, Request, Response, Status, Streaming};

use super::convert::{Named, from_metadata, from_status, to_metadata, unpack};
use super::proto::client_compat_response::Result as Outcome;
use super::proto::conformance_service_client::ConformanceServiceClient;
use super::proto::{
    BidiStreamResponse, ClientCompatRequest, ClientCompatResponse, ClientErrorResult, ClientResponseResult,
    Compression, ConformancePayload, ServerStreamResponse, StreamType,
};
use super::requests::{GiveUp, Sending};

type Client = ConformanceServiceClient<Channel>;

/// Channels that exist: calls to one server share a connection.
#[derive(Debug, Default)]
pub struct Channels(HashMap<Target, Channel>);

/// A server, and how to speak to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Target {
    address: String,
    server_certificate: Vec<u8>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Channels {
    /// The client for a request, as the request wants it.
    ///
    /// # Errors
    /// The request wants something that there is not.
    pub fn client(&mut self, request: &ClientCompatRequest) -> Result<Client, String> {
        super::check(request.protocol(), request.http_version(), request.codec())?;
        if request
            .service
            .as_deref()
            .is_some_and(|name| name != super::proto::conformance_service_server::SERVICE_NAME)
        {
            return Err(format!("service {:?} is not known", request.service));
        }
        let target = Target {
            address: format!("{}:{}", request.host, request.port),
            server_certificate: request.server_tls_cert.clone(),
            client: request.client_tls_creds.clone().map(|creds| (creds.cert, creds.key)),
        };
        let channel = match self.0.get(&target) {
            Some(channel) => channel.clone(),
            None => {
                let channel = target.channel().map_err(|error| error.to_string())?;
                self.0.insert(target, channel.clone());
                channel
            }
        };
        let mut client = Client::new(channel);
        if let Ok(limit @ 1..) = usize::try_from(request.message_receive_limit) {
            client = client.max_decoding_message_size(limit);
        }
        let encoding = match request.compression() {
            Compression::Unspecified | Compression::Identity => return Ok(client),
            Compression::Gzip => CompressionEncoding::Gzip,
            Compression::Deflate => CompressionEncoding::Deflate,
            Compression::Zstd => CompressionEncoding::Zstd,
            other => return Err(format!("compression {other:?} is not known")),
        };
        // The suite's messages are small, and are to be compressed all the same.
        Ok(client.send_compressed(encoding.with_threshold(0)).accept_compressed(encoding))
    }
}

impl Target {
    fn channel(&self) -> Result<Channel, clearway::Error> {
        if self.server_certificate.is_empty() {
            return Ok(Endpoint::new(format!("http://{}", self.address))?.connect_lazy());
        }
        let mut trust =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.server_certificate));
        if let Some((certificate, key)) = &self.client {
            trust = trust.identity(Identity::from_pem(certificate, key));
        }
        Ok(Endpoint::new(format!("https://{}", self.address))?.tls_config(trust)?.connect_lazy())
    }
}

/// Makes the call that a request asks for.
pub async fn make(client: Result<Client, String>, request: ClientCompatRequest) -> ClientCompatResponse {
    let test_name = request.test_name.clone();
    let result = match client {
        Ok(client) => Call::new(client, request).run().await,
        Err(why) => Err(why),
    };
    let result = match result {
        Ok(result) => Outcome::Response(result),
        Err(message) => Outcome::Error(ClientErrorResult { message }),
    };
    ClientCompatResponse { test_name, result: Some(result) }
}

/// A call and what is known of its outcome.
struct Call {
    client: Client,
    request: ClientCompatRequest,
    when: GiveUp,
    result: ClientResponseResult,
}

/// Something that carries a payload.
trait Answer {
    fn into_payload(self) -> Option<ConformancePayload>;
}

macro_rules! answers {
    ($($response:ident),*) => {
        $(impl Answer for super::proto::$response {
            fn into_payload(self) -> Option<ConformancePayload> {
                self.payload
            }
        })*
    };
}

answers!(
    UnaryResponse,
    IdempotentUnaryResponse,
    ClientStreamResponse,
    ServerStreamResponse,
    BidiStreamResponse
);

impl Answer for super::proto::UnimplementedResponse {
    fn into_payload(self) -> Option<ConformancePayload> {
        None
    }
}

impl Call {
    fn new(client: Client, request: ClientCompatRequest) -> Self {
        let when = GiveUp::read(request.cancel.as_ref());
        Self { client, request, when, result: ClientResponseResult::default() }
    }

    async fn run(mut self) -> Result<ClientResponseResult, String> {
        let client = self.client.clone();
        match (self.request.stream_type(), self.request.method.as_deref()) {
            (StreamType::Unary, None | Some("Unary")) => {
                let request = self.one()?;
                self.single(client.unary(request)).await;
            }
            (StreamType::Unary, Some("IdempotentUnary")) => {
                let request = self.one()?;
                self.single(client.idempotent_unary(request)).await;
            }
            (StreamType::Unary, Some("Unimplemented")) => {
                let request = self.one()?;
                self.single(client.unimplemented(request)).await;
            }
            (StreamType::ServerStream, None | Some("ServerStream")) => {
                let request = self.one()?;
                let sending = Sending::whole(self.when);
                self.many::<ServerStreamResponse>(client.server_stream(request), sending).await;
            }
            (StreamType::ClientStream, None | Some("ClientStream")) => {
                let messages = self.all()?;
                let (sending, stream) = Sending::begin(messages, self.delay(), false, self.when);
                let request = self.dressed(stream)?;
                self.single_of(client.client_stream(request), sending).await;
            }
            (
                kind @ (StreamType::HalfDuplexBidiStream | StreamType::FullDuplexBidiStream),
                None | Some("BidiStream"),
            ) => {
                let in_turns = kind == StreamType::FullDuplexBidiStream;
                let messages = self.all()?;
                let (sending, stream) = Sending::begin(messages, self.delay(), in_turns, self.when);
                let request = self.dressed(stream)?;
                self.many::<BidiStreamResponse>(client.bidi_stream(request), sending).await;
            }
            (kind, method) => return Err(format!("method {method:?} and {kind:?} do not go together")),
        }
        Ok(self.result)
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.request.request_delay_ms.into())
    }

    /// All messages of the request.
    fn all<M: Named>(&self) -> Result<Vec<M>, String> {
        self.request.request_messages.iter().map(unpack).collect()
    }

    /// The request of a method that takes one message.
    fn one<M: Named>(&self) -> Result<Request<M>, String> {
        let [message] = <[M; 1]>::try_from(self.all()?)
            .map_err(|messages: Vec<M>| format!("{} messages, want one", messages.len()))?;
        self.dressed(message)
    }

    /// A request with its metadata and its timeout.
    fn dressed<T>(&self, message: T) -> Result<Request<T>, String> {
        let mut request = Request::new(message);
        *request.metadata_mut() = to_metadata(&self.request.request_headers)?;
        if let Some(millis) = self.request.timeout_ms {
            request.set_timeout(Duration::from_millis(millis.into()));
        }
        Ok(request)
    }

    /// A call with one message each way.
    async fn single<R: Answer>(&mut self, call: impl Future<Output = Result<Response<R>, Status>>) {
        let sending = Sending::whole(self.when);
        self.single_of(call, sending).await;
    }

    /// A call whose response is one message.
    async fn single_of<R: Answer>(
        &mut self,
        call: impl Future<Output = Result<Response<R>, Status>>,
        sending: Sending,
    ) {
        let ended = tokio::select! {
            ended = call => ended,
            () = sending.give_up.notified() => Err(given_up()),
        };
        match ended {
            Ok(response) => {
                // One map has both: the suite sees all of it in either.
                self.result.response_headers = from_metadata(response.metadata());
                self.result.response_trailers = from_metadata(response.metadata());
                self.result.payloads.push(response.into_inner().into_payload().unwrap_or_default());
            }
            Err(status) => self.failed(&status, &sending),
        }
    }

    /// A call whose response is a stream.
    async fn many<R: Answer>(
        &mut self,
        call: impl Future<Output = Result<Response<Streaming<R>>, Status>>,
        sending: Sending,
    ) {
        let give_up = std::sync::Arc::clone(&sending.give_up);
        let ended = tokio::select! {
            ended = self.read(call, &sending) => ended,
            () = give_up.notified() => Err(given_up()),
        };
        match ended {
            Ok(trailers) => self.result.response_trailers = from_metadata(&trailers),
            Err(status) => self.failed(&status, &sending),
        }
    }

    async fn read<R: Answer>(
        &mut self,
        call: impl Future<Output = Result<Response<Streaming<R>>, Status>>,
        sending: &Sending,
    ) -> Result<MetadataMap, Status> {
        let response = call.await?;
        self.result.response_headers = from_metadata(response.metadata());
        let mut messages = response.into_inner();
        while let Some(message) = messages.message().await? {
            self.result.payloads.push(message.into_payload().unwrap_or_default());
            if self.when == GiveUp::AfterResponses(self.result.payloads.len()) {
                return Err(given_up());
            }
            sending.answered();
        }
        Ok(messages.trailers().await?.unwrap_or_default())
    }

    fn failed(&mut self, status: &Status, sending: &Sending) {
        self.result.error = Some(from_status(status));
        self.result.response_trailers = from_metadata(status.metadata());
        self.result.num_unsent_requests = i32::try_from(sending.left()).unwrap_or(i32::MAX);
    }
}

/// What a call comes to that was dropped.
fn given_up() -> Status {
    Status::new(Code::Cancelled, "the call was given up")
}
