//! No descriptor left: on the server, which must go on when there are some again, and on the client, whose call says so.

use std::net::TcpStream;
use std::process::Command;

use clearway::Code;
use clearway_interop::testing::SimpleRequest;

use crate::process::{self, answered, descriptors, serve, serve_by};

const LIMIT: usize = 40;

/// More connections than descriptors, ten times over: those that have one are served meanwhile, the others afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_descriptors_goes_on_when_it_has_some() {
    let program = env!("CARGO_BIN_EXE_interop-server");
    let limited = format!("ulimit -n {LIMIT}; exec {program} --port 0");
    let (server, address) = serve_by(Command::new("sh").arg("-c").arg(limited));
    let early = process::client(address);
    answered(&early).await;
    let at_rest = descriptors(server.0.id());
    for _ in 0..10 {
        let crowd: Vec<_> = (0..2 * LIMIT).map(|_| TcpStream::connect(address).unwrap()).collect();
        answered(&early).await;
        let late = process::client(address);
        drop(crowd);
        answered(&late).await;
    }
    process::until_descriptors(server.0.id(), at_rest).await;
}

/// A client that cannot open a socket: the call fails with a name, and the next one, with descriptors, does not.
#[test]
fn a_client_without_descriptors_says_so() {
    let (_server, address) = serve(0);
    process::alone("descriptors::starve_if_asked", "ulimit -n 64;", &address.to_string());
}

#[tokio::test]
async fn starve_if_asked() {
    let Some(address) = process::asked() else { return };
    let client = process::client(address.parse().unwrap());
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    let status = client.unary_call(SimpleRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.to_string().contains("Too many open files"), "{status}");
    drop(taken);
    answered(&client).await;
}
