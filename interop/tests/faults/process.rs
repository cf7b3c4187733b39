//! Server processes of ours, and what the system says of a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clearway::transport::{Channel, Endpoint};
use clearway_interop::testing::SimpleRequest;
use clearway_interop::testing::test_service_client::TestServiceClient;

/// A child process that does not outlive its test.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    /// SIGKILL; gone when this returns.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGSTOP; every thread has stopped when this returns.
    pub(crate) async fn stop(&self) {
        self.signal("STOP");
        let began = Instant::now();
        while !self.has_stopped() {
            assert!(began.elapsed() < Duration::from_secs(10), "it goes on");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn has_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(
            |stat| {
                // pid (name) state ...
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            },
        )
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `interop-server` on a port, and where it listens.
pub(crate) fn serve(port: u16) -> (Killed, SocketAddr) {
    serve_by(Command::new(env!("CARGO_BIN_EXE_interop-server")).arg("--port").arg(port.to_string()))
}

/// The same, by a command that begins it some other way.
pub(crate) fn serve_by(command: &mut Command) -> (Killed, SocketAddr) {
    let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
    (child, address.parse().unwrap())
}

/// A client of the interop service there, whose channel connects when it is called.
pub(crate) fn client(address: SocketAddr) -> TestServiceClient<Channel> {
    TestServiceClient::new(Endpoint::new(format!("http://{address}")).unwrap().connect_lazy())
}

/// Calls until it is answered; how long that took. Panics after 20 s.
pub(crate) async fn answered(client: &TestServiceClient<Channel>) -> Duration {
    let began = Instant::now();
    loop {
        let mut request = clearway::Request::new(SimpleRequest::default());
        request.set_timeout(Duration::from_secs(5));
        match client.unary_call(request).await {
            Ok(_) => return began.elapsed(),
            Err(status) => assert!(began.elapsed() < Duration::from_secs(20), "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Local ports of the TCP connections that are established from here to a server: which connections those are.
pub(crate) fn ports_to(server: SocketAddr) -> Vec<u16> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = |end: &str| end.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    let mut ports: Vec<u16> = table
        .lines()
        .filter_map(|line| {
            // number: local remote state ...; 01 is ESTABLISHED.
            let mut fields = line.split_whitespace().skip(1);
            let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
            (state == "01" && port(remote)? == server.port()).then(|| port(local))?
        })
        .collect();
    ports.sort_unstable();
    ports
}

/// Descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Waits until a process has at most so many descriptors open: sockets of the dead are closed by their task's next turn.
pub(crate) async fn until_descriptors(pid: u32, at_most: usize) {
    let began = Instant::now();
    while descriptors(pid) > at_most {
        assert!(began.elapsed() < Duration::from_secs(10), "{} open, {at_most} before", descriptors(pid));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a test that runs alone is told; absent in an ordinary run.
const ALONE: &str = "CLEARWAY_FAULTS_ALONE";

/// Runs one test of this program in a process of its own, whose descriptors and memory are its own, too. `limits` is a shell
/// command that comes before it. The test does nothing unless it is [`asked`].
pub(crate) fn alone(test: &str, limits: &str, told: &str) {
    let program = std::env::current_exe().unwrap();
    let line = format!("{limits} exec '{}' --exact {test} --nocapture", program.display());
    let run = Command::new("sh").arg("-c").arg(line).env(ALONE, told).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && out.contains("1 passed"), "{out}\n{err}");
    println!("{out}");
}

/// What [`alone`] told this process.
pub(crate) fn asked() -> Option<String> {
    std::env::var(ALONE).ok()
}
