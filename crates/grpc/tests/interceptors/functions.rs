//! The form of interceptor that older code has.

use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::intercept::{GrpcMethod, InterceptedService, Interceptor};
use clearway::server::GenericService;
use clearway::transport::Server;
use clearway::{Code, Request, Response, Status};

use crate::service::{path, service, text, texts, unary};

/// Counts the calls it lets through.
#[derive(Clone, Default)]
struct Count(u32);

impl Interceptor for Count {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.0 += 1;
        request.metadata_mut().insert("count", self.0.to_string().parse().unwrap());
        Ok(request)
    }
}

/// Says what it sees of its request.
fn mirror() -> GenericService {
    GenericService::new("t.S").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
        let value = |key: &str| request.metadata().get(key).map_or("none", |value| value.to_str().unwrap());
        let deadline = request.deadline().is_some();
        Ok(Response::new(Bytes::from(format!("{} {} {deadline}", value("count"), value("method")))))
    })
}

#[tokio::test(start_paused = true)]
async fn what_a_function_keeps_of_its_own_stays_from_call_to_call() {
    let channel = Server::builder().add_service(mirror()).in_process();
    let client = Grpc::new(InterceptedService::new(channel, Count::default()));
    for count in 1..4 {
        let answer = unary(&client, "Echo", text("")).await.unwrap();
        assert_eq!(answer.into_inner(), format!("{count} none false"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_takes_a_request_apart_loses_neither_deadline_nor_peer() {
    let apart = |request: Request<()>| -> Result<Request<()>, Status> {
        let method = request.extensions().get::<GrpcMethod>().map(|method| method.method().to_owned());
        assert_eq!(request.extensions().get::<GrpcMethod>().unwrap().service(), "t.S");
        let (mut metadata, extensions, ()) = request.into_parts();
        metadata.insert("method", method.unwrap().parse().unwrap());
        Ok(Request::from_parts(metadata, extensions, ()))
    };
    let served = Server::builder()
        .interceptor(apart)
        .interceptor(|request: Request<()>| match request.peer() {
            Some(_) => Ok(request),
            None => Err(Status::internal("the peer is gone")),
        })
        .add_service(InterceptedService::new(mirror(), apart));
    let client = Grpc::new(InterceptedService::new(served.in_process(), apart));
    let mut request = text("");
    request.set_timeout(Duration::from_secs(9));
    assert_eq!(unary(&client, "Echo", request).await.unwrap().into_inner(), "none Echo true");
}

#[tokio::test(start_paused = true)]
async fn a_function_refuses_calls_of_every_kind_on_either_side() {
    let refuse = |_: Request<()>| -> Result<Request<()>, Status> { Err(Status::unauthenticated("who?")) };
    let plain = Server::builder().add_service(service()).in_process();
    let served = Server::builder().interceptor(refuse).add_service(service()).in_process();
    let pass = |request: Request<()>| -> Result<Request<()>, Status> { Ok(request) };
    let clients = [Grpc::new(InterceptedService::new(InterceptedService::new(plain, refuse), pass))];
    for client in clients {
        assert_eq!(unary(&client, "Echo", text("")).await.unwrap_err().code(), Code::Unauthenticated);
        let upload = client.client_streaming(texts(&["a"]), path("Join"), BytesCodec).await;
        assert_eq!(upload.unwrap_err().code(), Code::Unauthenticated);
    }
    let client = Grpc::new(served);
    assert_eq!(unary(&client, "Echo", text("")).await.unwrap_err().message(), "who?");
    let download = client.server_streaming(text("a"), path("Letters"), BytesCodec).await;
    assert_eq!(download.unwrap_err().message(), "who?");
    let chat = client.bidi_streaming(texts(&["a"]), path("Chat"), BytesCodec).await;
    assert_eq!(chat.unwrap_err().message(), "who?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_panics_or_takes_long_holds_up_nobody_else() {
    let (enter, entered) = std::sync::mpsc::channel::<()>();
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(Some((enter, left))));
    let slow = move |request: Request<()>| -> Result<Request<()>, Status> {
        if request.metadata().get("slow").is_some()
            && let Some((enter, left)) = gate.lock().unwrap().take()
        {
            enter.send(()).unwrap();
            left.recv().unwrap();
            panic!("as planned");
        }
        Ok(request)
    };
    let channel = Server::builder().add_service(service()).in_process();
    let client = Grpc::new(InterceptedService::new(channel, slow));
    let first = tokio::spawn({
        let client = client.clone();
        async move {
            let mut request = text("hi");
            request.metadata_mut().insert("slow", "1".parse().unwrap());
            unary(&client, "Echo", request).await
        }
    });
    tokio::task::spawn_blocking(move || entered.recv().unwrap()).await.unwrap();
    assert_eq!(unary(&client, "Echo", text("hi")).await.unwrap().into_inner(), "hi", "beside the slow one");
    leave.send(()).unwrap();
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(unary(&client, "Echo", text("hi")).await.unwrap().into_inner(), "hi", "after the panic");
}
