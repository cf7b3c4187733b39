//! The smallest server: `cargo run -p clearway-examples --bin hello-server`.

use clearway::transport::Server;
use clearway::{Request, Response, Status};
use clearway_examples::hello::greeter_server::{Greeter, GreeterServer};
use clearway_examples::hello::{HelloReply, HelloRequest};

struct Hello;

impl Greeter for Hello {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello {}", request.into_inner().name);
        Ok(Response::new(HelloReply { message }))
    }
}

#[tokio::main]
async fn main() -> Result<(), clearway::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".to_owned());
    Server::builder().add_service(GreeterServer::new(Hello)).listen(&address).await
}
