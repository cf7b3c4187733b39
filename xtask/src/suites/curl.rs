//! curl with prior knowledge: the methods, a big upload, and HTTP/1.1 to the same port.

use std::fs;
use std::time::Duration;

use super::{peer, serve};
use crate::process;
use crate::suite::Verdict;
use crate::workspace::Workspace;

/// Larger than every window that is announced at first.
const UPLOAD_OCTETS: usize = 8 * 1024 * 1024;

pub(crate) fn run(workspace: &Workspace) -> Verdict {
    let mut server = serve(workspace, "h2-server")?;
    let url = format!("http://127.0.0.1:{}/", server.port);
    let file = workspace.peers.join("upload");
    fs::create_dir_all(&workspace.peers)
        .and_then(|()| fs::write(&file, vec![b'u'; UPLOAD_OCTETS]))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let upload = format!("@{}", file.display());
    let prior = "--http2-prior-knowledge";
    let exchanges: [(&str, &[&str], &str); 6] = [
        ("GET", &[prior], "2 200 20"),
        ("HEAD", &[prior, "--head"], "2 200 0"),
        ("POST", &[prior, "--data-binary", &upload], "2 200 20"),
        ("PUT", &[prior, "-X", "PUT", "-d", "small"], "2 200 20"),
        ("OPTIONS *", &[prior, "-X", "OPTIONS", "--request-target", "*"], "2 200 20"),
        ("HTTP/1.1", &["--http1.1"], "1.1 505 63"),
    ];
    for (what, flags, wanted) in exchanges {
        let mut command = peer(workspace, "curl");
        command.args(["-sS", "--max-time", "30", "-o", "/dev/null"]);
        command.args(["-w", "%{http_version} %{http_code} %{size_download}"]).args(flags);
        let finished = process::run(command.arg(&url), Duration::from_secs(40))?;
        if !finished.success() || finished.stdout != wanted {
            return Err(format!("{what}: wanted {wanted:?}, got {:?}\n{}", finished.stdout, finished.tail()));
        }
    }
    server.still_runs()?;
    Ok(format!("{} exchanges", exchanges.len()))
}
