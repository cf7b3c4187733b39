//! Nowhere to write: a full disk under a server's output, and readers that are gone.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use crate::process::{self, Killed, answered};

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A port that was free a moment ago: the server cannot say which it took.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Servers whose output goes to a full disk serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_serves_with_a_full_disk_under_its_output() {
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-server"));
    command.args(["--port", &port.to_string()]).stdout(full()).stderr(full());
    let mut server = Killed(command.spawn().unwrap());
    let client = process::client(SocketAddr::from(([127, 0, 0, 1], port)));
    answered(&client).await;
    assert!(server.0.try_wait().unwrap().is_none(), "it has ended");
}

/// A client whose output cannot be written ends with an error instead of a panic.
#[test]
fn a_client_with_a_full_disk_under_its_output_ends_with_an_error() {
    let (_server, address) = process::serve(0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-client"));
    command.args(["--server_host=127.0.0.1", &format!("--server_port={}", address.port())]);
    command.args(["--test_case=empty_unary"]).stdout(full()).stderr(Stdio::piped());
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("empty_unary: cannot write: No space left on device"), "{said}");
}
