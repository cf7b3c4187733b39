//! A client in a process of its own: this test program, started for one test that is told where to call.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use clearway_interop::testing::{ResponseParameters, StreamingInputCallRequest, StreamingOutputCallRequest};
use clearway_interop::zeros;

use crate::process::{Killed, client};

/// Where the client process calls; absent in an ordinary run.
const TARGET: &str = "CLEARWAY_FAULTS_TARGET";

/// What it prints when its calls are under way.
const UNDER_WAY: &str = "under way";

/// A request for a large response every millisecond, without end as far as a test can tell.
pub(crate) fn endless_download() -> StreamingOutputCallRequest {
    let each = ResponseParameters { size: 1000, interval_us: 1000, ..Default::default() };
    StreamingOutputCallRequest { response_parameters: vec![each; 100_000], ..Default::default() }
}

/// The messages of an upload without end.
pub(crate) fn endless_upload() -> impl Iterator<Item = StreamingInputCallRequest> + Send + 'static {
    core::iter::repeat_with(|| StreamingInputCallRequest {
        payload: Some(zeros(10_000)),
        ..Default::default()
    })
}

/// Starts the client process; back when a download, an upload and a call that waits are under way.
pub(crate) fn start(address: SocketAddr) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "client::run_if_asked", "--nocapture"]).env(TARGET, address.to_string());
    let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let stdout = BufReader::new(child.0.stdout.take().unwrap());
    assert!(stdout.lines().any(|line| line.unwrap().contains(UNDER_WAY)), "the client ended");
    child
}

/// Does nothing in an ordinary run; else it is the client process, and ends by being killed.
#[tokio::test]
async fn run_if_asked() {
    let Ok(address) = std::env::var(TARGET) else { return };
    let client = client(address.parse().unwrap());
    let uploading = client.clone();
    let upload =
        tokio::spawn(
            async move { uploading.streaming_input_call(tokio_stream::iter(endless_upload())).await },
        );
    let waiting = client.clone();
    let waits = tokio::spawn(async move {
        waiting.full_duplex_call(tokio_stream::pending::<StreamingOutputCallRequest>()).await
    });
    let mut download = client.streaming_output_call(endless_download()).await.unwrap().into_inner();
    download.message().await.unwrap();
    println!("{UNDER_WAY}");
    while let Ok(Some(_)) = download.message().await {}
    let _ = (upload.await, waits.await);
}
