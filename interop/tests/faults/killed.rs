//! SIGKILL of the server, and of clients, in the middle of streams.

use clearway::transport::{Channel, TransportEvent};
use clearway::{Code, Status};
use clearway_interop::testing::StreamingOutputCallRequest;
use clearway_interop::testing::test_service_client::TestServiceClient;

use crate::client;
use crate::process::{self, answered, descriptors, resident, serve, until_descriptors};

const CYCLES: usize = 100;
const CLIENTS: usize = 200;

/// A hundred servers die under one channel. Every call says that the connection ended, and which; the channel finds the next
/// server by itself; descriptors and memory stay.
#[test]
fn a_channel_outlives_a_hundred_servers() {
    process::alone("killed::hundred_servers_if_asked", "", "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_servers_if_asked() {
    if process::asked().is_none() {
        return;
    }
    let (mut server, address) = serve(0);
    let client = process::client(address);
    let ourselves = std::process::id();
    let (mut before, mut slowest) = ((0, 0), core::time::Duration::ZERO);
    for cycle in 0..CYCLES {
        slowest = slowest.max(answered(&client).await);
        let (under_way, mut begun) = tokio::sync::mpsc::channel(3);
        let ends = [download(&client, &under_way), upload(&client, &under_way), waiting(&client, &under_way)];
        let ends = ends.map(tokio::spawn);
        for _ in 0..3 {
            begun.recv().await.unwrap();
        }
        server.kill();
        (server, _) = serve(address.port());
        for end in ends {
            let status = end.await.unwrap();
            let cause = status.transport().unwrap_or_else(|| panic!("no cause in {status}"));
            let lost = matches!(cause.event, TransportEvent::ConnectionClosed(_));
            assert!(status.code() == Code::Unavailable && lost, "cycle {cycle}: {status}");
            assert!(status.to_string().contains(&address.to_string()), "{status}");
        }
        if cycle == CYCLES / 4 {
            before = (descriptors(ourselves), resident(ourselves));
        }
    }
    answered(&client).await;
    let after = (descriptors(ourselves), resident(ourselves));
    println!("slowest recovery {slowest:?}; descriptors and KiB {before:?}, then {after:?}");
    assert!(after.0 <= before.0 + 2, "{before:?}, then {after:?} descriptors and KiB");
    assert!(after.1 <= before.1 + 4096, "{before:?}, then {after:?} descriptors and KiB");
}

/// How a call ended; it says once that it is under way.
type Ended = core::pin::Pin<Box<dyn Future<Output = Status> + Send>>;
type UnderWay = tokio::sync::mpsc::Sender<()>;

fn download(client: &TestServiceClient<Channel>, under_way: &UnderWay) -> Ended {
    let (client, mut under_way) = (client.clone(), Some(under_way.clone()));
    Box::pin(async move {
        let mut download = match client.streaming_output_call(client::endless_download()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        };
        loop {
            match download.message().await {
                Ok(message) => assert!(message.is_some(), "a cut download looked like its end"),
                Err(status) => return status,
            }
            if let Some(under_way) = under_way.take() {
                let _ = under_way.try_send(());
            }
        }
    })
}

fn upload(client: &TestServiceClient<Channel>, under_way: &UnderWay) -> Ended {
    let (client, under_way) = (client.clone(), under_way.clone());
    // The second message is asked for when the first is on its way.
    let messages = client::endless_upload().enumerate().map(move |(n, message)| {
        if n == 1 {
            let _ = under_way.try_send(());
        }
        message
    });
    Box::pin(async move { client.streaming_input_call(tokio_stream::iter(messages)).await.unwrap_err() })
}

fn waiting(client: &TestServiceClient<Channel>, under_way: &UnderWay) -> Ended {
    let (client, under_way) = (client.clone(), under_way.clone());
    Box::pin(async move {
        let silence = tokio_stream::pending::<StreamingOutputCallRequest>();
        match client.full_duplex_call(silence).await {
            Ok(response) => {
                let _ = under_way.try_send(());
                response.into_inner().message().await.unwrap_err()
            }
            Err(status) => status,
        }
    })
}

/// Two hundred clients die in mid-stream: the server keeps no descriptor and no memory of them, and answers a neighbour all along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_outlives_its_clients() {
    let (server, address) = serve(0);
    let neighbour = process::client(address);
    answered(&neighbour).await;
    let pid = server.0.id();
    let at_rest = descriptors(pid);
    // What it holds at a moment depends on what the last client had asked for, and on the allocator. What it keeps shows in the
    // least of many: of 1,600 clients, by hundreds, it was 9.0 MiB at first, then 10.4 to 10.6, and 12.7 once.
    let mut least = [u64::MAX; 4];
    for cycle in 0..CLIENTS {
        let mut client = client::start(address);
        client.kill();
        answered(&neighbour).await;
        let quarter = &mut least[4 * cycle / CLIENTS];
        *quarter = resident(pid).min(*quarter);
    }
    until_descriptors(pid, at_rest).await;
    println!("the least of each quarter, KiB: {least:?}");
    let [_, before, _, after] = least;
    assert!(after <= before + 6144, "{least:?} KiB");
}
