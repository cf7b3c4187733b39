//! `rpc_soak` and `channel_soak`: large unary calls, one after the other in several lanes, over one channel or over a new one each.
//!
//! Flags, what is printed and when it counts as a failure are the official ones. Beside that the resident memory of this process is
//! printed, after a tenth of the iterations and at the end, for whoever wants it flat.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clearway::metadata::MetadataMap;
use clearway::transport::{Channel, Endpoint};
use clearway::{Error, Request};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::testing::SimpleRequest;
use crate::testing::test_service_client::TestServiceClient;
use crate::zeros;

/// The `--soak_*` flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Soak {
    /// Calls in all.
    pub iterations: u64,
    /// Lanes; each makes an equal share of the calls.
    pub threads: u64,
    /// More failures than this fail the case.
    pub max_failures: u64,
    /// No iteration is begun after so long.
    pub overall_timeout: Duration,
    /// A call that takes longer has failed.
    pub acceptable_latency: Duration,
    /// Between the starts of two calls of one lane.
    pub between: Duration,
    /// Octets of payload there.
    pub request_size: usize,
    /// And back.
    pub response_size: i32,
}

impl Default for Soak {
    fn default() -> Self {
        Self {
            iterations: 10,
            threads: 1,
            max_failures: 0,
            overall_timeout: Duration::from_secs(10),
            acceptable_latency: Duration::from_secs(1),
            between: Duration::ZERO,
            request_size: 271_828,
            response_size: 314_159,
        }
    }
}

/// The names of the cases.
pub const SOAK_CASES: [&str; 2] = ["rpc_soak", "channel_soak"];

/// Which channel a call goes over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// The one of the whole case.
    One,
    /// One of its own.
    New,
}

impl Over {
    /// The case that does it so; none by another name.
    #[must_use]
    pub fn of_case(case: &str) -> Option<Self> {
        match case {
            "rpc_soak" => Some(Self::One),
            "channel_soak" => Some(Self::New),
            _ => None,
        }
    }
}

/// How many iterations were made and failed.
#[derive(Debug, Default)]
struct Tally {
    made: AtomicU64,
    failed: AtomicU64,
}

/// What all lanes share.
struct Work {
    soak: Soak,
    over: Over,
    endpoint: Endpoint,
    metadata: MetadataMap,
    channel: Channel,
    tally: Tally,
    deadline: Instant,
    /// Resident memory in KiB after a tenth of the iterations.
    early: AtomicU64,
}

/// Runs a soak case.
///
/// # Errors
/// The line that says how it failed: too many failures, or not all iterations in time.
pub async fn run(soak: Soak, over: Over, endpoint: Endpoint, metadata: MetadataMap) -> Result<(), String> {
    if soak.threads == 0 || !soak.iterations.is_multiple_of(soak.threads) {
        return Err(format!(
            "--soak_iterations {} is not a multiple of --soak_num_threads {}",
            soak.iterations, soak.threads
        ));
    }
    let target = endpoint.to_string();
    let cannot = |error: Error| format!("cannot connect to {target}: {error}");
    let channel = endpoint.clone().connect().await.map_err(cannot)?;
    let deadline = Instant::now() + soak.overall_timeout;
    let (tally, early) = (Tally::default(), AtomicU64::new(0));
    let work = Arc::new(Work { soak, over, endpoint, metadata, channel, tally, deadline, early });
    let mut lanes = JoinSet::new();
    for lane in 0..soak.threads {
        lanes.spawn(run_lane(Arc::clone(&work), lane));
    }
    while let Some(lane) = lanes.join_next().await {
        lane.map_err(|error| format!("a lane ended: {error}"))?;
    }
    report(&work, &target)
}

fn report(work: &Work, target: &str) -> Result<(), String> {
    let soak = &work.soak;
    let made = work.tally.made.load(Ordering::Relaxed);
    let failed = work.tally.failed.load(Ordering::Relaxed);
    eprintln!(
        "(server_uri: {target}) soak test ran: {made} / {} iterations. total failures: {failed}. max failures threshold: {}. \
         See breakdown above for which iterations succeeded, failed, and why for more info.",
        soak.iterations, soak.max_failures
    );
    if let Some(now) = resident_kib() {
        println!("resident memory: {} KiB early, {now} KiB at the end", work.early.load(Ordering::Relaxed));
    }
    if made < soak.iterations {
        return Err(format!("only {made} of {} iterations in {:?}", soak.iterations, soak.overall_timeout));
    }
    if failed > soak.max_failures {
        return Err(format!("{failed} failures, {} are allowed", soak.max_failures));
    }
    Ok(())
}

async fn run_lane(work: Arc<Work>, lane: u64) {
    let share = work.soak.iterations / work.soak.threads.max(1);
    for iteration in 0..share {
        let began = Instant::now();
        if began >= work.deadline {
            return;
        }
        let outcome = iterate(&work).await;
        let took = began.elapsed();
        let number = lane * share + iteration;
        let outcome = match outcome {
            Ok(()) if took > work.soak.acceptable_latency => {
                Err(format!("exceeds max acceptable latency: {}", work.soak.acceptable_latency.as_millis()))
            }
            other => other,
        };
        let made = work.tally.made.fetch_add(1, Ordering::Relaxed) + 1;
        if made == (work.soak.iterations / 10).max(1) {
            work.early.store(resident_kib().unwrap_or_default(), Ordering::Relaxed);
        }
        if let Err(why) = outcome {
            work.tally.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!(
                "soak iteration: {number} elapsed_ms: {} server_uri: {} failed: {why}",
                took.as_millis(),
                work.endpoint
            );
        }
        tokio::time::sleep_until(began + work.soak.between).await;
    }
}

/// One large unary call.
async fn iterate(work: &Work) -> Result<(), String> {
    let channel = match work.over {
        Over::One => work.channel.clone(),
        Over::New => work.endpoint.clone().connect().await.map_err(|error| error.to_string())?,
    };
    let mut request = Request::new(SimpleRequest {
        response_size: work.soak.response_size,
        payload: Some(zeros(work.soak.request_size)),
        ..SimpleRequest::default()
    });
    *request.metadata_mut() = work.metadata.clone();
    // An iteration that hangs ends with the case.
    request.set_timeout(work.deadline.saturating_duration_since(Instant::now()));
    let response = TestServiceClient::new(channel).unary_call(request).await;
    let payload = response.map_err(|status| status.to_string())?.into_inner().payload.unwrap_or_default();
    match i32::try_from(payload.body.len()) {
        Ok(size) if size == work.soak.response_size => Ok(()),
        _ => Err(format!("{} octets came, want {}", payload.body.len(), work.soak.response_size)),
    }
}

/// Resident memory of this process; none where the system does not say.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
