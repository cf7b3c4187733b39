//! The smallest client: `cargo run -p clearway-examples --bin hello-client`, while `hello-server` runs.

use clearway_examples::hello::HelloRequest;
use clearway_examples::hello::greeter_client::GreeterClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = GreeterClient::connect(target).await?;
    let response = client.say_hello(HelloRequest { name: "world".to_owned() }).await?;
    println!("{}", response.into_inner().message);
    Ok(())
}
