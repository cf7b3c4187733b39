//! TLS for the suites: certificates that are made for one run, the flags by which programs are told of them, and the suites
//! that only repeat over TLS what others do in cleartext.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{number_before, peer};
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// A name the certificates are for.
const HOST: &str = "foo.test.google.fr";
const REQUESTS: u64 = 50_000;

/// The files of an authority and of a server's certificate that it signed.
pub(super) struct Certificates(PathBuf);

impl Certificates {
    /// Makes new ones, in place of those of the last run.
    pub(super) fn make(workspace: &Workspace) -> Result<Self, String> {
        let folder = workspace.peers.join("certificates");
        let mut command = Command::new(workspace.program("test-certificates"));
        let finished = process::run(command.arg(&folder), Duration::from_secs(20))?;
        if finished.success() { Ok(Self(folder)) } else { Err(finished.tail()) }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Tells a server of the interop suite to speak TLS.
    pub(super) fn tell_server(&self, command: &mut Command) {
        command.arg("--use_tls=true").arg("--tls_cert_file").arg(self.file("server.pem"));
        command.arg("--tls_key_file").arg(self.file("server.key"));
    }

    /// Tells a client of the interop suite to speak TLS.
    pub(super) fn tell_client(&self, command: &mut Command) {
        command.args(["--use_tls=true", "--use_test_ca=true", "--server_host_override", HOST]);
        command.arg("--ca_file").arg(self.file("ca.pem"));
    }

    /// Our plain HTTP/2 server.
    pub(super) fn h2_server(&self, workspace: &Workspace) -> Result<Server, String> {
        Server::start(|port| {
            let mut command = Command::new(workspace.program("h2-server"));
            command.arg("--port").arg(port.to_string()).arg("--tls");
            command.arg("--cert").arg(self.file("server.pem")).arg("--key").arg(self.file("server.key"));
            command
        })
    }
}

/// curl, nghttp, h2load and our own client, over TLS; and those that speak something else there.
pub(crate) fn clients(workspace: &Workspace) -> Verdict {
    let certificates = Certificates::make(workspace)?;
    let mut server = certificates.h2_server(workspace)?;
    let url = format!("https://localhost:{}/", server.port);
    curl(workspace, &url, &certificates.file("ca.pem"))?;
    let mut nghttp = peer(workspace, "nghttp");
    let said = process::run(nghttp.args(["-nv", &url]), Duration::from_secs(30))?;
    let wanted = [":status: 200", "; END_STREAM", "error_code=NO_ERROR", "negotiated protocol: h2"];
    if let Some(wanted) = wanted.into_iter().find(|wanted| !said.stdout.contains(wanted)) {
        return Err(format!("nghttp: {wanted:?} does not come\n{}\n{}", said.stdout, said.tail()));
    }
    let mut h2load = peer(workspace, "h2load");
    h2load.args(["-n", &REQUESTS.to_string(), "-c", "10", "-m", "100", &url]);
    let loaded = process::run(&mut h2load, Duration::from_secs(120))?;
    if number_before(&loaded.stdout, "2xx") != Some(REQUESTS) {
        return Err(format!("h2load:\n{}\n{}", loaded.stdout, loaded.tail()));
    }
    let mut ours = Command::new(workspace.program("h2-client"));
    let got = process::run(ours.args(["--insecure", "--linger-ms", "0", &url]), Duration::from_secs(20))?;
    if !got.success() || !got.stdout.starts_with("200\n") {
        return Err(format!("h2-client: {:?}\n{}", got.stdout, got.tail()));
    }
    server.still_runs()?;
    Ok(format!("curl, nghttp, h2load ({REQUESTS} requests), h2-client"))
}

/// With the authority, without it, without HTTP/2, and without TLS: only the first is served.
fn curl(workspace: &Workspace, url: &str, authority: &Path) -> Result<(), String> {
    let ca = authority.to_string_lossy();
    let cleartext = url.replacen("https", "http", 1);
    let exchanges: [(&str, &[&str], Option<&str>); 4] = [
        ("HTTP/2", &["--http2", "--cacert", &ca, url], Some("2 200 20")),
        ("an authority it does not know", &["--http2", url], None),
        ("HTTP/1.1", &["--http1.1", "-k", url], None),
        ("no TLS", &["--http2-prior-knowledge", &cleartext], None),
    ];
    for (what, args, wanted) in exchanges {
        let mut command = peer(workspace, "curl");
        command.args(["-sS", "--max-time", "10", "-o", "/dev/null"]);
        command.args(["-w", "%{http_version} %{http_code} %{size_download}"]).args(args);
        let finished = process::run(&mut command, Duration::from_secs(20))?;
        let met = match wanted {
            Some(wanted) => finished.success() && finished.stdout == wanted,
            // Refused at once, and not given up on after the time it has.
            None => finished.status.is_some_and(|status| !matches!(status.code(), Some(0 | 28) | None)),
        };
        if !met {
            return Err(format!("curl, {what}: {:?}\n{}", finished.stdout, finished.tail()));
        }
    }
    Ok(())
}
