//! TLS with other people's stacks, both ways: versions, certificates on both sides, and every way in which TLS meets something
//! else. grpc-go, grpcio, OpenSSL and curl are the others; a program that fails must fail soon, and say why.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::peer;
use super::tls::Certificates;
use crate::process::{self, Server};
use crate::suite::Verdict;
use crate::workspace::Workspace;

pub(super) const PYTHON: &str = "interop/python/tls.py";
pub(super) const GO: &str = "go-tls-peer";

/// For a process to start, and to do what it has to or give up. What it may take on the wire is a second, which the tests of
/// the crates see to.
const LIMIT: Duration = Duration::from_secs(4);
/// A name of the server's certificate.
const NAME: &str = "localhost";
/// Who the client's certificate is for.
const CLIENT: &str = "spiffe://clearway.test/client";

pub(super) fn run(workspace: &Workspace) -> Verdict {
    let certificates = Certificates::make(workspace)?;
    let log = workspace.peers.join("tls-server.log");
    let mut lab = Lab { workspace, certificates, log, checks: 0 };
    lab.their_clients()?;
    lab.their_clients_without_a_chance()?;
    lab.their_clients_in_cleartext()?;
    lab.their_tls_at_our_cleartext()?;
    lab.their_servers()?;
    lab.openssl_servers()?;
    Ok(format!("{} checks with grpc-go, grpcio, OpenSSL and curl", lab.checks))
}

/// The surroundings of the checks, and how many there were.
struct Lab<'a> {
    workspace: &'a Workspace,
    certificates: Certificates,
    log: PathBuf,
    checks: usize,
}

impl Lab<'_> {
    fn file(&self, name: &str) -> String {
        self.certificates.file(name).to_string_lossy().into_owned()
    }

    /// Our server with these flags; its log is new.
    fn ours(&self, tls: &[&str]) -> Result<Server, String> {
        let _ = fs::remove_file(&self.log);
        Server::start(|port| {
            let mut command = Command::new(self.workspace.program("tls-server"));
            command.arg("--port").arg(port.to_string()).arg("--log").arg(&self.log).args(tls);
            command
        })
    }

    /// The same, with TLS and a wish for certificates.
    fn ours_with_tls(&self) -> Result<Server, String> {
        let (cert, key, ca) = (self.file("server.pem"), self.file("server.key"), self.file("ca.pem"));
        self.ours(&["--cert", &cert, "--key", &key, "--client_ca", &ca])
    }

    /// A program runs, ends in time, and says this.
    fn says(&mut self, what: &str, command: &mut Command, wanted: &[&str]) -> Result<(), String> {
        let began = Instant::now();
        let finished = process::run(command, LIMIT)?;
        let said = format!("{}{}", finished.stdout, finished.stderr);
        if finished.status.is_none() {
            return Err(format!("{what}: not over after {:?}\n{said}", began.elapsed()));
        }
        self.checks = self.checks.saturating_add(1);
        match wanted.iter().find(|wanted| !said.contains(**wanted)) {
            None => Ok(()),
            Some(wanted) => Err(format!("{what}: {wanted:?} does not come\n{said}")),
        }
    }

    /// Our server wrote this down.
    fn logged(&mut self, what: &str, wanted: &str) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(wanted) {
                // The next check is about what comes next.
                self.checks = self.checks.saturating_add(1);
                return fs::write(&self.log, "").map_err(|error| error.to_string());
            }
            if Instant::now() > deadline {
                return Err(format!("{what}: our server's log lacks {wanted:?}:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn go(&self, args: &[&str]) -> Command {
        let mut command = peer(self.workspace, GO);
        command.args(args);
        command
    }

    fn python(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.workspace.python().unwrap_or_else(|| "python3".into()));
        command.arg(self.workspace.root.join(PYTHON)).args(args);
        command
    }

    fn s_client(&self, port: u16, args: &[&str]) -> Command {
        let mut command = peer(self.workspace, "openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", NAME]);
        command.args(["-CAfile", &self.file("ca.pem")]).args(args);
        command
    }

    /// Clients that do all as it should be, by TLS 1.2 and 1.3.
    fn their_clients(&mut self) -> Result<(), String> {
        let mut server = self.ours_with_tls()?;
        let target = format!("127.0.0.1:{}", server.port);
        let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| self.file(name));
        let grpc =
            ["client", "--target", &target, "--ca", &ca, "--name", NAME, "--cert", &cert, "--key", &key];
        for version in ["1.2", "1.3"] {
            let mut go = self.go(&grpc);
            go.args(["--max", version]);
            let wanted = format!("{CLIENT} over TLS {version}");
            self.says(&format!("grpc-go, TLS {version}"), &mut go, &[&wanted])?;
            let only = if version == "1.2" { "-tls1_2" } else { "-tls1_3" };
            let mut openssl =
                self.s_client(server.port, &["-alpn", "h2", only, "-cert", &cert, "-key", &key]);
            let protocol = format!("TLSv{version}");
            let wanted = ["ALPN protocol: h2", "Verify return code: 0 (ok)", &protocol];
            self.says(&format!("s_client, TLS {version}"), &mut openssl, &wanted)?;
        }
        let wanted = format!("{CLIENT} over TLS 1.3");
        self.says("grpcio", &mut self.python(&grpc), &[&wanted])?;
        server.still_runs()
    }

    /// Clients that lack a certificate, HTTP/2 or a version: our server knows what.
    fn their_clients_without_a_chance(&mut self) -> Result<(), String> {
        let mut server = self.ours_with_tls()?;
        let port = server.port;
        let [cert, key] = ["client.pem", "client.key"].map(|name| self.file(name));
        let [stranger, strangers] = ["stranger.pem", "stranger.key"].map(|name| self.file(name));
        let shown = ["-cert", &cert, "-key", &key];
        let alpn = ["-alpn", "h2"];
        for only in ["-tls1_2", "-tls1_3"] {
            let mut none = self.s_client(port, &[&alpn[..], &[only]].concat());
            self.says("no certificate", &mut none, &[])?;
            self.logged("no certificate", "certificate_wanted")?;
            let mut strange =
                self.s_client(port, &[&alpn[..], &["-cert", &stranger, "-key", &strangers, only]].concat());
            self.says("a stranger's certificate", &mut strange, &[])?;
            self.logged("a stranger's certificate", "unknown_authority")?;
            let mut no_alpn = self.s_client(port, &[&shown[..], &[only]].concat());
            self.says("no ALPN", &mut no_alpn, &[])?;
            self.logged("no ALPN", "no_http2")?;
        }
        let old = [&shown[..], &alpn, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]].concat();
        let mut old = self.s_client(port, &old);
        self.says("TLS 1.1", &mut old, &["alert handshake failure"])?;
        self.logged("TLS 1.1", "version_mismatch")?;
        let mut http1 = self.curl(&["--http1.1", &format!("https://127.0.0.1:{port}/")]);
        self.says("curl, HTTP/1.1 by ALPN", &mut http1, &["alert"])?;
        self.logged("curl, HTTP/1.1 by ALPN", "no_http2")?;
        server.still_runs()
    }

    fn curl(&self, args: &[&str]) -> Command {
        let mut command = peer(self.workspace, "curl");
        command.args(["-sS", "-k", "--max-time", "3"]).args(args);
        command
    }

    /// Cleartext at our port with TLS.
    fn their_clients_in_cleartext(&mut self) -> Result<(), String> {
        let mut server = self.ours_with_tls()?;
        let target = format!("127.0.0.1:{}", server.port);
        let grpc = ["client", "--target", &target];
        self.says("grpc-go, h2c to TLS", &mut self.go(&grpc), &["Unavailable"])?;
        self.logged("grpc-go, h2c to TLS", "not_tls: ")?;
        self.says("grpcio, h2c to TLS", &mut self.python(&grpc), &["UNAVAILABLE"])?;
        self.logged("grpcio, h2c to TLS", "the client speaks cleartext HTTP/2")?;
        let url = format!("http://{target}/");
        self.says("curl, HTTP/1.1 to TLS", &mut self.curl(&[&url]), &["say https://"])?;
        self.logged("curl, HTTP/1.1 to TLS", "the client speaks cleartext HTTP/1")?;
        server.still_runs()
    }

    /// TLS at our cleartext port.
    fn their_tls_at_our_cleartext(&mut self) -> Result<(), String> {
        let mut server = self.ours(&[])?;
        let target = format!("127.0.0.1:{}", server.port);
        let told = "the client speaks TLS and this port is cleartext";
        let ca = self.file("ca.pem");
        let grpc = ["client", "--target", &target, "--ca", &ca, "--name", NAME];
        // What each of them says when a server is cleartext.
        let go = ["first record does not look like a TLS handshake"];
        self.says("grpc-go, TLS to h2c", &mut self.go(&grpc), &go)?;
        self.logged("grpc-go, TLS to h2c", told)?;
        self.says("grpcio, TLS to h2c", &mut self.python(&grpc), &["UNAVAILABLE"])?;
        self.logged("grpcio, TLS to h2c", told)?;
        let wrong = ["wrong version number"];
        let mut openssl = self.s_client(server.port, &["-alpn", "h2"]);
        self.says("s_client, TLS to h2c", &mut openssl, &wrong)?;
        self.logged("s_client, TLS to h2c", told)?;
        self.says("curl, TLS to h2c", &mut self.curl(&[&format!("https://{target}/")]), &wrong)?;
        self.logged("curl, TLS to h2c", told)?;
        server.still_runs()
    }

    /// Our client.
    fn client(&self, scheme: &str, port: u16, args: &[&str]) -> Command {
        let mut command = Command::new(self.workspace.program("tls-client"));
        command.arg("--target").arg(format!("{scheme}://127.0.0.1:{port}")).args(args);
        command
    }

    /// Our client at servers of grpc-go and grpcio.
    fn their_servers(&mut self) -> Result<(), String> {
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| self.file(name));
        let tls = ["--cert", &cert, "--key", &key, "--client_ca", &ca].map(ToOwned::to_owned);
        for stack in ["grpc-go", "grpcio"] {
            let start = |args: &[String]| {
                Server::start(|port| {
                    let mut command =
                        if stack == "grpc-go" { self.go(&["server"]) } else { self.python(&["server"]) };
                    command.arg("--port").arg(port.to_string()).args(args);
                    command
                })
            };
            let (with_tls, cleartext) = (start(&tls)?, start(&[])?);
            let version = if stack == "grpc-go" { "TLS 1.3" } else { "ssl" };
            self.at_a_server(stack, &with_tls, &format!("{CLIENT} over {version}"))?;
            let mut mistaken = self.client("http", with_tls.port, &[]);
            self.says(&format!("our h2c at {stack}'s TLS"), &mut mistaken, &["https://"])?;
            let mut mistaken = self.client("https", cleartext.port, &["--ca", &ca]);
            let wanted = ["Tls(NotTls(Http2)) in Tls", "the target must say http://"];
            self.says(&format!("our TLS at {stack}'s h2c"), &mut mistaken, &wanted)?;
        }
        Ok(())
    }

    /// Our client at a server that wants a certificate: with one, and with everything else.
    fn at_a_server(&mut self, stack: &str, server: &Server, answer: &str) -> Result<(), String> {
        let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| self.file(name));
        let [stranger, strangers] = ["stranger.pem", "stranger.key"].map(|name| self.file(name));
        let known = ["--ca", &ca, "--name", NAME];
        let shown = ["--cert", &cert, "--key", &key];
        let checks: [(&str, Vec<&str>, &str); 5] = [
            ("certificates on both sides", [&known[..], &shown].concat(), answer),
            ("no certificate", known.to_vec(), "Tls(CertificateWanted) in Tls"),
            (
                "a stranger's certificate",
                [&known[..], &["--cert", &stranger, "--key", &strangers]].concat(),
                // grpcio says nothing, which is what we say then.
                if stack == "grpcio" { "which it may not trust" } else { "Tls(CertificateRefused(" },
            ),
            ("an authority it does not know", vec!["--ca", &stranger], "Tls(UnknownAuthority) in Tls"),
            ("another name", vec!["--ca", &ca, "--name", "other.test"], "Tls(WrongName) in Tls"),
        ];
        for (what, args, wanted) in checks {
            let mut client = self.client("https", server.port, &args);
            self.says(&format!("our client at {stack}, {what}"), &mut client, &[wanted])?;
        }
        Ok(())
    }

    /// Our client at OpenSSL's servers, which speak no HTTP/2: how far it comes is the answer.
    fn openssl_servers(&mut self) -> Result<(), String> {
        let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| self.file(name));
        let ours = ["--ca", &ca, "--name", NAME];
        let shown = [&ours[..], &["--cert", &cert, "--key", &key]].concat();
        let strict = ["-Verify", "2", "-verify_return_error"];
        let checks: [(&str, Vec<&str>, Vec<&str>, &str); 8] = [
            // TLS is good; what comes then is not.
            ("TLS 1.2", vec!["-alpn", "h2", "-tls1_2"], ours.to_vec(), "in Settings"),
            ("TLS 1.3", vec!["-alpn", "h2", "-tls1_3"], ours.to_vec(), "in Settings"),
            (
                "a certificate, 1.2",
                [&["-alpn", "h2", "-tls1_2"][..], &strict].concat(),
                shown.clone(),
                "in Settings",
            ),
            (
                "no certificate, 1.2",
                [&["-alpn", "h2", "-tls1_2"][..], &strict].concat(),
                ours.to_vec(),
                "Tls(CertificateWanted)",
            ),
            (
                "no certificate, 1.3",
                [&["-alpn", "h2", "-tls1_3"][..], &strict].concat(),
                ours.to_vec(),
                "Tls(CertificateWanted)",
            ),
            ("no ALPN", vec!["-tls1_3"], ours.to_vec(), "Tls(NoHttp2)"),
            (
                "1.2 only",
                vec!["-alpn", "h2", "-tls1_2"],
                [&ours[..], &["--min", "1.3"]].concat(),
                "Tls(VersionMismatch)",
            ),
            (
                "1.3 only",
                vec!["-alpn", "h2", "-tls1_3"],
                [&ours[..], &["--max", "1.2"]].concat(),
                "Tls(VersionMismatch)",
            ),
        ];
        for (what, server, client, wanted) in checks {
            let [ca, cert, key] = ["ca.pem", "server.pem", "server.key"].map(|name| self.file(name));
            let server = Server::start(|port| {
                let mut command = peer(self.workspace, "openssl");
                command.args(["s_server", "-quiet", "-accept", &port.to_string()]);
                command.args(["-CAfile", &ca, "-cert", &cert, "-key", &key]).args(server);
                // It answers every record with a line of its own, so that nobody waits for SETTINGS that never come.
                command.arg("-rev");
                command
            })?;
            let mut client = self.client("https", server.port, &client);
            self.says(&format!("our client at s_server, {what}"), &mut client, &[wanted])?;
        }
        Ok(())
    }
}
