//! Random request streams on hedged calls, random servers (gRFC A6): on every copy lies the request from its beginning, in order
//! and nothing else; the copy that is answered decides; nothing goes on after the end.
//!
//! A run is its seed, which a failure prints.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clearway::Code;
use clearway::client::{Grpc, HedgingPolicy, MethodConfig, ServiceConfig};
use clearway_http2::ErrorCode;
use clearway_testkit::Random;

use crate::peer::{Arrivals, Feed, Frame, OK_HEAD, Peer, chat, endpoint, feed, framed};
use crate::retries::refuse;

const SEEDS: u64 = 300;
const QUIET: Duration = Duration::from_millis(3);

/// What a server has seen of one call.
#[derive(Default)]
struct Seen {
    /// What lies on each copy that goes on.
    live: BTreeMap<u32, Vec<u8>>,
    copies: usize,
}

impl Seen {
    /// Reads what there is, until nothing more comes for a while.
    async fn read(&mut self, peer: &mut Peer, whole: &[u8], trail: &str) {
        while let Ok(frame) = tokio::time::timeout(QUIET, peer.next()).await {
            match frame {
                Frame::Headers { id, .. } => {
                    self.copies += 1;
                    self.live.insert(id, Vec::new());
                }
                Frame::Data { id, octets, end } => {
                    peer.credit(0, u32::try_from(octets.len()).unwrap().max(1)).await;
                    let body = self.live.get_mut(&id).unwrap_or_else(|| panic!("{trail}: data on {id}"));
                    body.extend(octets);
                    assert!(whole.starts_with(body), "{trail}: copy {id} is another request");
                    assert!(!end || body.as_slice() == whole, "{trail}: copy {id} ends early");
                }
                Frame::Reset { id, code } => {
                    assert!(matches!(code, ErrorCode::CANCEL | ErrorCode::NO_ERROR), "{trail}: {code}");
                    self.live.remove(&id);
                }
                other => panic!("{trail}: {other:?}"),
            }
        }
    }
}

/// A request stream whose messages come at random times, and what it is on the wire.
fn request(random: &mut Random) -> (Feed, Vec<u8>) {
    let messages: Vec<Bytes> = (0..1 + random.below(6))
        .map(|at| vec![u8::try_from(at).unwrap(); random.below(2000)].into())
        .collect();
    let whole = messages.iter().flat_map(|message| framed(message)).collect();
    let gaps: Vec<_> = messages.iter().map(|_| Duration::from_millis(random.below(20) as u64)).collect();
    let (sender, feed) = feed();
    tokio::spawn(async move {
        for (message, gap) in messages.into_iter().zip(gaps) {
            tokio::time::sleep(gap).await;
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    (feed, whole)
}

async fn run(seed: u64) {
    let mut random = Random::new(seed);
    let most = 2 + random.below(4);
    let policy = HedgingPolicy::new(u32::try_from(most).unwrap(), Duration::from_millis(10));
    let method = MethodConfig::for_all().hedge(policy.non_fatal([Code::Unavailable]));
    let (endpoint, mut arrivals): (_, Arrivals) = endpoint();
    let kept = [3000, 256 * 1024][random.below(2)];
    let endpoint = endpoint.service_config(ServiceConfig::new().method(method)).unwrap();
    let grpc = Grpc::new(endpoint.retry_buffer_size(kept, 1 << 20).connect_lazy());
    let (messages, whole) = request(&mut random);
    let call = chat(&grpc, messages);
    let mut peer = arrivals.accept(&[]).await;
    let mut seen = Seen::default();
    let mut trail = format!("seed {seed}, {most} copies, {kept} kept");
    let code = loop {
        seen.read(&mut peer, &whole, &trail).await;
        assert!(seen.copies <= most, "{trail}: {} copies", seen.copies);
        if call.is_finished() {
            // The last one that could go on had failed.
            assert!(seen.live.is_empty(), "{trail}: {:?}", seen.live.keys());
            break Code::Unavailable;
        }
        let live: Vec<u32> = seen.live.keys().copied().collect();
        let Some(id) = live.get(random.below(live.len())).copied() else { continue };
        match random.below(12) {
            0 => {
                trail += &format!(", answers {id}");
                peer.headers(id, &OK_HEAD, false).await;
                break Code::Ok;
            }
            1 => {
                trail += &format!(", fails {id} for good");
                refuse(&mut peer, id, Code::Aborted, &[]).await;
                seen.live.remove(&id);
                seen.read(&mut peer, &whole, &trail).await;
                if call.is_finished() {
                    break Code::Aborted;
                }
                // Another copy was chosen just before, because the request could not be kept any longer.
                assert_eq!((seen.live.len(), kept), (1, 3000), "{trail}: it goes on");
            }
            2 | 3 => {
                trail += &format!(", fails {id}");
                refuse(&mut peer, id, Code::Unavailable, &[]).await;
                seen.live.remove(&id);
            }
            _ => {}
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), call).await;
    let answer = answer.unwrap_or_else(|_| panic!("{trail}: the call does not end")).unwrap();
    let ended = answer.as_ref().err().map_or(Code::Ok, clearway::Status::code);
    assert_eq!(ended, code, "{trail}");
    // The rest of the request goes where the answer came from, and what is left of the others ends.
    for _ in 0..50 {
        seen.read(&mut peer, &whole, &trail).await;
    }
    match code {
        Code::Ok => {
            let bodies: Vec<_> = seen.live.values().collect();
            assert_eq!(bodies, [&whole], "{trail}");
        }
        _ => assert!(seen.live.len() <= 1, "{trail}: more goes on than the copy that was refused"),
    }
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn every_copy_is_the_request_and_one_is_chosen() {
    for seed in 0..SEEDS {
        run(seed).await;
    }
}
