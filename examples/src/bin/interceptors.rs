//! Authorization and a line for every call, on a server and on its client, which live in this one program:
//! `cargo run -p clearway-examples --bin interceptors`.

use clearway::intercept::{Call, CallEnd, Intercept, Side, Watch};
use clearway::metadata::MetadataValue;
use clearway::transport::Server;
use clearway::{Request, Response, Status};
use clearway_examples::hello::greeter_client::GreeterClient;
use clearway_examples::hello::greeter_server::{Greeter, GreeterServer};
use clearway_examples::hello::{HelloReply, HelloRequest};

struct Hello;

impl Greeter for Hello {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Ok(Response::new(HelloReply { message: format!("Hello {}", request.into_inner().name) }))
    }
}

/// Writes a line when a call is over. The same on either side.
struct Log;
struct Line(Side, String);

impl Intercept for Log {
    type Watch = Line;

    async fn begin(&self, call: &mut Call) -> Result<Line, Status> {
        Ok(Line(call.side(), call.method().to_owned()))
    }
}

impl Watch for Line {
    fn end(&self, end: &mut CallEnd) {
        println!("{:?}: {} {}, {} octets received", self.0, self.1, end.code(), end.received().octets);
    }
}

/// The short form, which sees the request alone.
fn check(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("authorization") {
        Some(token) if token == "Bearer secret" => Ok(request),
        _ => Err(Status::unauthenticated("who are you?")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let greeter = GreeterServer::with_interceptor(Hello, check);
    let channel = Server::builder().interceptor(Log).add_service(greeter).in_process();
    let ada = || HelloRequest { name: "Ada".to_owned() };
    let stranger = GreeterClient::with_interceptor(channel.clone(), Log).say_hello(ada()).await;
    println!("{}", stranger.err().ok_or("a stranger came in")?);
    let friend = GreeterClient::with_interceptor(channel, |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer secret"));
        Ok(request)
    });
    println!("{}", friend.say_hello(ada()).await?.into_inner().message);
    Ok(())
}
