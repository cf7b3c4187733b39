//! Attacks on other programs than a cleartext server, or on one with its hands tied: A17, A20, E7.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clearway_http2::ErrorCode;

use crate::victim::{Neighbour, Victim};
use crate::wire::{self, ACK, Conn, PUSH_PROMISE, SETTINGS};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "A17", name: "connection churn, 64 descriptors", server: &[], play: churn },
    Attack { id: "A20", name: "pushes to a client", server: &[], play: pushes },
    Attack { id: "E7", name: "10,000 broken TLS handshakes", server: &[], play: handshakes },
];

fn churn(scene: &Scene<'_>) -> Result<Seen, String> {
    let program = scene.programs.join("bench-server");
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 64 && exec \"$0\" --port 0 --log-ends").arg(program);
    let mut victim = Victim::start(command)?;
    let crowd = crowd(victim.port)?;
    let before = victim.usage()?;
    std::thread::sleep(Duration::from_secs(2));
    let idle = victim.usage()?.cpu.saturating_sub(before.cpu);
    if idle > Duration::from_millis(200) {
        return Err(format!("{idle:?} of CPU time while nothing can be accepted"));
    }
    let connected = crowd.len();
    drop(crowd);
    // The kernel's own queue is full at this moment, and its next try for a connect is a second away.
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    Neighbour::connect(victim.port)?.call()?;
    let took = began.elapsed();
    if took > Duration::from_secs(1) {
        return Err(format!("the listener is back after {took:?}"));
    }
    victim.is_well()?;
    let how = format!(
        "{connected} of 500 connects taken, pauses of 5 to 50 ms, {idle:.0?} CPU in 2 s; answers {took:.0?} after the crowd went"
    );
    Ok(Seen { frames: 0, octets: 0, connections: 1, how })
}

/// 500 connects at once; those that the kernel takes within a second. Its queue may be shorter than that.
fn crowd(port: u16) -> Result<Vec<TcpStream>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    Ok(runtime.block_on(async {
        let connect = || async move {
            let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let connecting =
                tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address));
            connecting.await.ok()?.ok()?.into_std().ok()
        };
        let connecting: Vec<_> = (0..500).map(|_| tokio::spawn(connect())).collect();
        let mut crowd = Vec::new();
        for one in connecting {
            crowd.extend(one.await.ok().flatten());
        }
        crowd
    }))
}

fn pushes(scene: &Scene<'_>) -> Result<Seen, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let mut client = Command::new(scene.programs.join("interop-client"))
        .args([
            "--server_host",
            "127.0.0.1",
            "--server_port",
            &port.to_string(),
            "--test_case",
            "empty_unary",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("interop-client: {error}"))?;
    let play = || {
        let (mut stream, _) = listener.accept().map_err(|error| error.to_string())?;
        let mut preface = [0; 24];
        std::io::Read::read_exact(&mut stream, &mut preface).map_err(|error| error.to_string())?;
        let mut conn = Conn::over(stream, true).map_err(|error| error.to_string())?;
        conn.send(&[wire::settings(&[]), wire::frame(SETTINGS, ACK, 0, &[])].concat(), 2);
        conn.find(wire::HEADERS, 1, Duration::from_secs(5)).ok_or("no request")?;
        let promise = [2u32.to_be_bytes().to_vec(), wire::call("/pushed")].concat();
        conn.flood(1_000, |_| wire::frame(PUSH_PROMISE, wire::END_HEADERS, 1, &promise));
        let how = conn.expect_goaway(ErrorCode::PROTOCOL_ERROR, "PUSH_PROMISE is not allowed")?;
        Ok(Seen::of(&[&conn], how))
    };
    let seen: Result<Seen, String> = play();
    // Whatever it waits for now, it gets no more.
    drop(listener);
    let until = Instant::now() + Duration::from_secs(10);
    let status = loop {
        match client.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(status) => break status,
            Err(error) => return Err(error.to_string()),
        }
    };
    // It may be gone already.
    let _ = client.kill();
    let _ = client.wait();
    match status {
        Some(status) if !status.success() => seen,
        other => Err(format!("the client ended with {other:?}")),
    }
}

fn handshakes(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut command = Command::new(scene.programs.join("bench-server"));
    command.args(["--port", "0", "--tls", "--log-ends"]);
    let mut victim = Victim::start(command)?;
    let before = victim.usage()?;
    let mut sent = (0u64, 0u64);
    for n in 0..10_000u32 {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, victim.port)).map_err(|error| error.to_string())?;
        let broken: &[u8] = match n % 4 {
            0 => b"GET / HTTP/1.1\r\n\r\n",
            1 => wire::PREFACE,
            // The head of a ClientHello that never comes, and a record that is none.
            2 => &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc],
            _ => &[23, 3, 3, 0xff, 0xff, 0],
        };
        // It may be gone already.
        let _ = stream.write_all(broken);
        sent = (sent.0.saturating_add(1), sent.1.saturating_add(broken.len() as u64));
    }
    let began = Instant::now();
    let call = Command::new(scene.programs.join("h2-client"))
        .args([&format!("https://localhost:{}/", victim.port), "--insecure"])
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("h2-client: {error}"))?;
    let took = began.elapsed();
    if !call.status.success() || took > Duration::from_secs(1) {
        return Err(format!("a healthy client: {} after {took:?}", call.status));
    }
    victim.is_well()?;
    let used = victim.usage()?;
    let grown = used.peak_kib.saturating_sub(before.resident_kib);
    let cpu = used.cpu.saturating_sub(before.cpu);
    if grown > 20 * 1024 || cpu > Duration::from_secs(5) {
        return Err(format!("{grown} KiB, {cpu:?} of CPU time"));
    }
    let how = format!(
        "each ends by itself, +{grown} KiB, {cpu:.0?} CPU; a healthy client is served within {took:.0?}"
    );
    Ok(Seen { frames: sent.0, octets: sent.1, connections: 1, how })
}
