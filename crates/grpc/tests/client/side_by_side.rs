//! Connections to several addresses are made side by side (RFC 8305, gRFC A61): one that says nothing, or swallows what is sent to
//! it, keeps nobody waiting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::transport::{Channel, Endpoint, Listener, LoadBalancing, Server, ServerCounters};
use clearway::{Code, Request};
use clearway_testkit::{Random, seed_from_env};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::both_sides::{UNARY, echo_on};

/// Much less than the 20 s that an attempt may take.
const SOON: Duration = Duration::from_secs(8);

/// A listener that answers nobody before somebody serves with it: connections wait in its queue.
fn silent() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address whose queue is full: the kernel drops what comes, as a network that leads nowhere does.
async fn swallowing() -> (SocketAddr, impl Drop) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
        assert!(waiting.len() < 100, "the queue has no bound here");
    }
    (address, Box::new((listener, waiting)))
}

/// Serves; says what it counts.
fn serve(listener: std::net::TcpListener) -> (Arc<ServerCounters>, JoinHandle<()>) {
    let server = Server::builder();
    let counters = server.counters();
    let server = echo_on(server, &Arc::default());
    let serving = tokio::spawn(async move {
        let listener = Listener::from_std(listener).unwrap();
        let _ = server.serve_with_listener(listener, std::future::pending()).await;
    });
    (counters, serving)
}

fn answering() -> (SocketAddr, Arc<ServerCounters>, JoinHandle<()>) {
    let (listener, address) = silent();
    let (counters, serving) = serve(listener);
    (address, counters, serving)
}

fn channel(addresses: &[SocketAddr]) -> Channel {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    Endpoint::new(format!("ipv4:{}", addresses.join(","))).unwrap().plaintext().connect_lazy()
}

async fn call(grpc: &Grpc) -> Result<(), Code> {
    let answer = grpc.unary(Request::new(Bytes::from_static(b"hi")), UNARY, BytesCodec).await;
    answer.map(|_| ()).map_err(|status| status.code())
}

#[tokio::test]
async fn the_first_connection_is_to_whoever_answers() {
    let (swallows, _full) = swallowing().await;
    let (_nobody, says_nothing) = silent();
    let (answers, ..) = answering();
    let grpc = Grpc::new(channel(&[swallows, says_nothing, answers]));
    assert_eq!(timeout(SOON, call(&grpc)).await, Ok(Ok(())));
}

/// A slow attempt is not begun twice, and counts once when it fails.
#[tokio::test]
async fn an_address_that_is_named_twice_fails_once() {
    let (_nobody, says_nothing) = silent();
    let target = format!("ipv4:{says_nothing},{says_nothing},{says_nothing}");
    let limit = Duration::from_millis(600);
    let endpoint = Endpoint::new(target).unwrap().plaintext().connect_timeout(limit);
    let grpc = Grpc::new(endpoint.connect_lazy());
    assert_eq!(timeout(SOON, call(&grpc)).await, Ok(Err(Code::Unavailable)));
}

#[tokio::test]
async fn every_address_that_answers_has_its_connection_soon() {
    let (swallows, _full) = swallowing().await;
    let (_nobody, says_nothing) = silent();
    let (servers, tasks): (Vec<_>, Vec<_>) =
        (0..4).map(|_| answering()).map(|(address, counters, task)| ((address, counters), task)).unzip();
    let at = |n: usize| servers[n].0;
    let channel = channel(&[at(0), swallows, at(1), says_nothing, at(2), at(3)]);
    let grpc = Grpc::new(channel.clone());
    let connected = timeout(SOON, async {
        while channel.stats().connections < 4 {
            assert_eq!(call(&grpc).await, Ok(()));
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(connected.await.is_ok(), "{}", channel.stats());
    assert!(servers.iter().all(|(_, counters)| counters.connections() == 1));
    drop(tasks);
}

/// The last connection is lost while another one is being made: that is what calls wait for, and it is not made again.
#[tokio::test]
async fn a_connection_under_way_is_not_begun_again_when_the_others_are_lost() {
    let (first, _, serving) = answering();
    let (listener, second) = silent();
    let channel = channel(&[first, second]);
    let grpc = Grpc::new(channel.clone());
    assert_eq!(call(&grpc).await, Ok(()));
    // The connection waits in the queue.
    sleep(Duration::from_millis(50)).await;
    serving.abort();
    while channel.stats().connections > 0 {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn(async move { call(&grpc).await });
    sleep(Duration::from_millis(50)).await;
    let (counters, _serving) = serve(listener);
    assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap(), Ok(()));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(counters.connections(), 1, "what waited in the queue took the call");
}

/// That one of three gets nothing of so many has a chance of less than one in a million.
#[cfg(feature = "service-config")]
#[tokio::test]
async fn clients_of_pick_first_may_spread_by_chance() {
    let servers = [answering(), answering(), answering()];
    let addresses: Vec<_> = servers.iter().map(|(address, ..)| address.to_string()).collect();
    let endpoint = Endpoint::new(format!("ipv4:{}", addresses.join(","))).unwrap().plaintext();
    let config = r#"{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}"#;
    let config = clearway::client::ServiceConfig::from_json(config).unwrap();
    let endpoint = endpoint.service_config(config).unwrap();
    for _ in 0..40 {
        assert_eq!(call(&Grpc::new(endpoint.connect().await.unwrap())).await, Ok(()));
    }
    let shares = servers.each_ref().map(|(_, counters, _)| counters.connections());
    assert_eq!(shares.iter().sum::<u64>(), 40, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}

/// What an address does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    Answer,
    SayNothing,
    Refuse,
    /// It takes connections only to end them.
    HangUp,
}

struct Site {
    does: Does,
    address: SocketAddr,
    /// Nobody serves with it.
    listener: Option<std::net::TcpListener>,
    serving: Option<JoinHandle<()>>,
    /// Nobody listens with it, and nobody else gets its port.
    _refuses: Option<TcpSocket>,
}

impl Site {
    fn that(does: Does) -> Self {
        if does == Does::Refuse {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = socket.local_addr().unwrap();
            return Self { does, address, listener: None, serving: None, _refuses: Some(socket) };
        }
        let (listener, address) = silent();
        let mut site = Self { does, address, listener: Some(listener), serving: None, _refuses: None };
        match does {
            Does::Answer => site.answer(),
            Does::SayNothing | Does::Refuse => {}
            Does::HangUp => {
                let listener = site.listener.take().unwrap();
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                site.serving = Some(tokio::spawn(async move { while listener.accept().await.is_ok() {} }));
            }
        }
        site
    }

    fn answer(&mut self) {
        self.serving = self.listener.take().map(|listener| serve(listener).1);
        self.does = Does::Answer;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// Addresses that do anything at all: a call ends, well if one of them answers; and when those that answered are gone and another
/// one answers, calls go there.
async fn whatever_addresses_do(seed: u64) {
    let mut random = Random::new(seed);
    let doings = [Does::Answer, Does::SayNothing, Does::Refuse, Does::HangUp];
    let mut sites: Vec<_> = (0..1 + random.below(5)).map(|_| Site::that(doings[random.below(4)])).collect();
    let told = format!("seed {seed}: {:?}", sites.iter().map(|site| site.does).collect::<Vec<_>>());
    let addresses: Vec<_> = sites.iter().map(|site| site.address.to_string()).collect();
    let policy = [LoadBalancing::LeastRequest, LoadBalancing::PickFirst][random.below(2)];
    let endpoint = Endpoint::new(format!("ipv4:{}", addresses.join(","))).unwrap().plaintext();
    let endpoint = endpoint.load_balancing(policy).connect_timeout(Duration::from_millis(600));
    let grpc = Grpc::new(endpoint.connect_lazy());
    let answers = sites.iter().any(|site| site.does == Does::Answer);
    for _ in 0..1 + random.below(19) {
        let ended = timeout(SOON, call(&grpc)).await;
        assert_eq!(ended, Ok(if answers { Ok(()) } else { Err(Code::Unavailable) }), "{told}");
        sleep(Duration::from_millis(random.below(40) as u64)).await;
    }
    let Some(other) = sites.iter().position(|site| site.does == Does::SayNothing) else { return };
    sites[other].answer();
    let other = sites.swap_remove(other);
    sites.retain(|site| site.does != Does::Answer);
    let answered = timeout(Duration::from_secs(30), async {
        while call(&grpc).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(answered.await.is_ok(), "{told}, {policy:?}, then {} alone", other.address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_whatever_addresses_do() {
    let first = seed_from_env().unwrap_or_else(|| u64::from(std::process::id()));
    println!("CLEARWAY_SEED={first}, and the 39 after it");
    let channels = (0..40).map(|n| whatever_addresses_do(first.wrapping_add(n)));
    channels.collect::<tokio::task::JoinSet<()>>().join_all().await;
}
