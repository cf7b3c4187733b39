//! What interceptors may change: metadata there and back, trailers, the status; and what a handler sees of it.

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::intercept::{Call, CallEnd, Intercept, InterceptedService, Side, Watch};
use clearway::metadata::MetadataMap;
use clearway::server::GenericService;
use clearway::transport::{Channel, Server};
use clearway::{Code, Request, Response, Status};

use crate::service::{collect, path, service, text, texts, unary};

/// Leaves its mark on everything that passes.
#[derive(Clone, Copy)]
struct Mark;

impl Intercept for Mark {
    type Watch = ();

    async fn begin(&self, call: &mut Call) -> Result<(), Status> {
        let side = call.side();
        call.metadata_mut().append("request", name(side).parse().unwrap());
        call.request_mut().extensions_mut().insert(Seen(name(side)));
        Ok(())
    }
}

#[derive(Clone)]
struct Seen(&'static str);

fn name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// Watches the side it is told.
struct MarkBack(Side);

impl Intercept for MarkBack {
    type Watch = Marking;

    async fn begin(&self, call: &mut Call) -> Result<Marking, Status> {
        assert_eq!(call.side(), self.0);
        Ok(Marking(self.0))
    }
}

struct Marking(Side);

impl Watch for Marking {
    async fn head(&self, metadata: &mut MetadataMap) -> Result<(), Status> {
        metadata.append("head", name(self.0).parse().unwrap());
        Ok(())
    }

    fn end(&self, end: &mut CallEnd) {
        end.trailers_mut().append("trailer", name(self.0).parse().unwrap());
        if end.code() == Code::NotFound {
            let text = format!("{} and {}", end.status().unwrap().message(), name(self.0));
            let trailers = end.trailers().clone();
            end.set_status(Status::with_metadata(Code::NotFound, text, trailers));
        }
    }
}

fn values(metadata: &MetadataMap, key: &'static str) -> Vec<String> {
    metadata.get_all(key).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn client() -> Grpc<InterceptedService<Channel, MarkBack>> {
    let router = Server::builder().interceptor(MarkBack(Side::Server)).add_service(service());
    Grpc::new(InterceptedService::new(router.in_process(), MarkBack(Side::Client)))
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_what_interceptors_put_in() {
    let service =
        GenericService::new("t.S").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            let seen = request.extensions().get::<Seen>().map_or("nothing", |seen| seen.0);
            Ok(Response::new(Bytes::from(format!("{:?} {seen}", values(request.metadata(), "request")))))
        });
    let router = Server::builder().interceptor(Mark).add_service(service);
    let client = Grpc::new(InterceptedService::new(router.in_process(), Mark));
    let answer = unary(&client, "Echo", text("")).await.unwrap();
    assert_eq!(answer.into_inner(), r#"["client", "server"] server"#);
}

#[tokio::test(start_paused = true)]
async fn heads_and_trailers_are_changed_on_their_way_back() {
    let client = client();
    let answer = unary(&client, "Echo", text("a")).await.unwrap();
    assert_eq!(values(answer.metadata(), "head"), ["server", "client"]);
    assert_eq!(values(answer.metadata(), "trailer"), ["server", "client"]);
    let answer = client.client_streaming(texts(&["a"]), path("Join"), BytesCodec).await.unwrap();
    assert_eq!(values(answer.metadata(), "head"), ["server", "client"]);
    assert_eq!(values(answer.metadata(), "trailer"), ["server", "client"]);

    let answer = client.server_streaming(text("a"), path("Letters"), BytesCodec).await.unwrap();
    assert_eq!(values(answer.metadata(), "head"), ["server", "client"]);
    let mut messages = answer.into_inner();
    let trailers = messages.trailers().await.unwrap().unwrap();
    assert_eq!(values(&trailers, "trailer"), ["server", "client"]);
    let answer = client.bidi_streaming(texts(&["a"]), path("Chat"), BytesCodec).await.unwrap();
    assert_eq!(values(answer.metadata(), "head"), ["server", "client"]);
    let trailers = answer.into_inner().trailers().await.unwrap().unwrap();
    assert_eq!(values(&trailers, "trailer"), ["server", "client"]);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_changed_on_its_way_back() {
    let status = unary(&client(), "Echo", text("fail")).await.unwrap_err();
    assert_eq!(status.message(), "nothing here and server and client");
    assert_eq!(values(status.metadata(), "trailer"), ["server", "client"]);
}

/// Ends every call with this code, when its head comes or at the end.
struct Turn {
    at_head: bool,
    to: Code,
}

impl Intercept for Turn {
    type Watch = Turning;

    async fn begin(&self, _: &mut Call) -> Result<Turning, Status> {
        Ok(Turning { at_head: self.at_head, to: self.to })
    }
}

struct Turning {
    at_head: bool,
    to: Code,
}

impl Watch for Turning {
    async fn head(&self, _: &mut MetadataMap) -> Result<(), Status> {
        if self.at_head { Err(Status::new(self.to, "turned")) } else { Ok(()) }
    }

    fn end(&self, end: &mut CallEnd) {
        if !self.at_head {
            end.set_status(Status::new(self.to, "turned"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_went_well_can_still_be_failed_on_either_side() {
    for at_head in [true, false] {
        let turn = || Turn { at_head, to: Code::DataLoss };
        let served = Server::builder().interceptor(turn()).add_service(service()).in_process();
        let plain = Server::builder().add_service(service()).in_process();
        let clients = [
            InterceptedService::new(served, Turn { at_head: false, to: Code::DataLoss }),
            InterceptedService::new(plain, turn()),
        ];
        for client in clients.map(Grpc::new) {
            assert_eq!(unary(&client, "Echo", text("a")).await.unwrap_err().message(), "turned");
            assert_eq!(unary(&client, "Later", text("a")).await.unwrap_err().message(), "turned");
            let upload = client.client_streaming(texts(&["a"]), path("Join"), BytesCodec).await;
            assert_eq!(upload.unwrap_err().code(), Code::DataLoss);
            let ended = match client.server_streaming(text("abc"), path("Letters"), BytesCodec).await {
                Ok(answer) => collect(answer.into_inner()).await.unwrap_err(),
                Err(status) => status,
            };
            assert_eq!(ended.code(), Code::DataLoss);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_of_a_failure_that_was_turned_to_ok() {
    let ok = || Turn { at_head: false, to: Code::Ok };
    let served = Server::builder().interceptor(ok()).add_service(service()).in_process();
    let status = unary(&Grpc::new(served), "Echo", text("fail")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let plain = Server::builder().add_service(service()).in_process();
    let status =
        unary(&Grpc::new(InterceptedService::new(plain, ok())), "Echo", text("fail")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("interceptor"), "{status}");
}
