//! Listening sockets that outlive their process: taken over from whoever started this one, and given to a successor.
//!
//! The socket itself is handed on, so connections that wait in its queue are served by whoever accepts next. Closing one of two
//! sockets on the same port (SO_REUSEPORT) resets what waits in its queue instead.
//!
//! Both directions use systemd's protocols: the descriptors from 3 on and LISTEN_FDS, LISTEN_PID (sd_listen_fds(3)); and
//! `READY=1` in a datagram to NOTIFY_SOCKET (sd_notify(3)). LISTEN_PID may be missing: who starts a process does not know its
//! number before.
//!
//! Left out: names of descriptors (LISTEN_FDNAMES), everything else sd_notify can say, connections that are open.

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;

use crate::accept::Listener;

/// The first descriptor of the protocol.
const FIRST: i32 = 3;
/// How often a successor that says nothing is looked at, to see whether it still runs.
const LOOK: Duration = Duration::from_millis(20);

impl Listener {
    /// The listening sockets that this process was started with, in their order: by systemd, `systemd-socket-activate`, or
    /// [`Handover::start`]. None if there are none; and none the second time, since the variables are taken out of the environment.
    ///
    /// To be called at the beginning of a program, before other threads use the environment, and inside a tokio runtime.
    ///
    /// # Errors
    /// One of the descriptors is no listening stream socket of TCP or Unix.
    pub fn inherited() -> io::Result<Vec<Self>> {
        let mut given = ListenFd::from_env();
        (0..given.len()).map(|index| take(&mut given, index)).collect()
    }

    /// A second handle to the socket, for a successor. From here on a Unix socket's path is not removed at the end.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn share(&mut self) -> io::Result<Handover> {
        let socket = match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix(listener) => {
                listener.leave_path();
                listener.as_fd().try_clone_to_owned()
            }
        };
        Ok(Handover { sockets: vec![socket?] })
    }
}

fn take(given: &mut ListenFd, index: usize) -> io::Result<Listener> {
    let bad =
        |error: io::Error| io::Error::new(error.kind(), format!("descriptor {index} of LISTEN_FDS: {error}"));
    if let Ok(Some(listener)) = given.take_tcp_listener(index) {
        return Listener::from_std(listener).map_err(bad);
    }
    match given.take_unix_listener(index) {
        Ok(Some(listener)) => Listener::from_std_unix(listener).map_err(bad),
        Ok(None) => Err(bad(io::ErrorKind::NotFound.into())),
        Err(error) => Err(bad(error)),
    }
}

/// Listening sockets for a process that takes over from this one; made by [`Listener::share`].
///
/// While one exists the sockets stay open, and connections wait in their queues if nobody accepts.
#[derive(Debug)]
pub struct Handover {
    sockets: Vec<OwnedFd>,
}

impl Handover {
    /// Sockets of both, in order.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.sockets.extend(other.sockets);
        self
    }

    /// Starts `command` with the sockets, and waits until it says that it is ready ([`notify_ready`]). Then this process can stop
    /// accepting: nothing that waits in a queue is lost. If it fails instead, this process goes on as if nothing had been.
    ///
    /// # Errors
    /// The command cannot be started, ends before it is ready, or is not ready after `patience`; then it is killed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the process to itself.
    pub async fn start(&self, mut command: Command, patience: Duration) -> io::Result<Child> {
        let inbox = Inbox::open()?;
        let last = FIRST.saturating_add(i32::try_from(self.sockets.len()).unwrap_or(i32::MAX));
        let mapping =
            |(socket, child_fd): (&OwnedFd, i32)| Ok(FdMapping { parent_fd: socket.try_clone()?, child_fd });
        let mappings = self.sockets.iter().zip(FIRST..last).map(mapping).collect::<io::Result<_>>()?;
        command
            .env("LISTEN_FDS", last.saturating_sub(FIRST).to_string())
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS_FIRST_FD")
            .env("NOTIFY_SOCKET", &inbox.path)
            .fd_mappings(mappings)
            .map_err(io::Error::other)?;
        let mut child = command.spawn()?;
        // With it its copies of our handles are closed.
        drop(command);
        let waited = tokio::time::timeout(patience, inbox.wait_for(&mut child)).await;
        let error = match waited {
            Ok(Ok(())) => return Ok(child),
            Ok(Err(error)) => error,
            Err(_) => {
                let text = format!("the successor did not say READY=1 within {patience:?}, and was killed");
                io::Error::new(io::ErrorKind::TimedOut, text)
            }
        };
        // It may be over by itself.
        let _ = child.kill();
        child.wait()?;
        Err(error)
    }
}

/// Where a successor says that it is ready: a socket in a folder that nobody else can enter.
struct Inbox {
    socket: tokio::net::UnixDatagram,
    folder: PathBuf,
    path: PathBuf,
}

/// The number of the next folder.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// Folders that are there already and are passed over.
const PASSED_OVER: usize = 1000;

fn folder(number: u32) -> PathBuf {
    std::env::temp_dir().join(format!("clearway-handover-{}-{number}", std::process::id()))
}

impl Inbox {
    /// A new folder. One of that name may be there: of a process of the same number that was killed during a handover.
    fn folder() -> io::Result<PathBuf> {
        let mut there = 0;
        loop {
            let folder = folder(NEXT.fetch_add(1, Ordering::Relaxed));
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && there < PASSED_OVER => {
                    there += 1;
                }
                made => return made.map(|()| folder),
            }
        }
    }

    fn open() -> io::Result<Self> {
        let folder = Self::folder()?;
        let path = folder.join("ready");
        match tokio::net::UnixDatagram::bind(&path) {
            Ok(socket) => Ok(Self { socket, folder, path }),
            Err(error) => {
                // The first error says more.
                let _ = std::fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    async fn wait_for(&self, child: &mut Child) -> io::Result<()> {
        let mut datagram = vec![0; 4096];
        loop {
            if let Ok(received) = tokio::time::timeout(LOOK, self.socket.recv(&mut datagram)).await {
                let said = datagram.get(..received?).unwrap_or_default();
                if said.split(|octet| *octet == b'\n').any(|line| line == b"READY=1") {
                    return Ok(());
                }
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the successor ended before it was ready: {status}")));
            }
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // A leftover in the temporary folder harms nobody.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Tells whoever started this process that it is ready to serve (sd_notify(3)): a predecessor in [`Handover::start`], or systemd with
/// `Type=notify`. False if nobody wants to know.
///
/// # Errors
/// NOTIFY_SOCKET names a socket that nobody listens on.
pub fn notify_ready() -> io::Result<bool> {
    let Some(to) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(false) };
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = to.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        socket.send_to_addr(b"READY=1", &address)?;
        return Ok(true);
    }
    socket.send_to(b"READY=1", Path::new(&to))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    async fn listener() -> Listener {
        Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_successor_that_fails_is_an_error_and_changes_nothing() {
        let mut listener = listener().await;
        let address = listener.local_addr().unwrap();
        let began = std::time::Instant::now();
        let patience = Duration::from_secs(30);
        let error = listener.share().unwrap().start(shell("exit 3"), patience).await.unwrap_err();
        assert!(error.to_string().contains("ended before it was ready: exit status: 3"), "{error}");
        let missing = Command::new("/nowhere/at/all");
        assert!(listener.share().unwrap().start(missing, patience).await.is_err());
        assert!(began.elapsed() < patience);
        let error = listener
            .share()
            .unwrap()
            .start(shell("exec sleep 60"), Duration::from_millis(100))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        let _waits = TcpStream::connect(address).unwrap();
        assert!(listener.accept().await.is_ok());
    }

    /// In a container a program has the same number every time it starts: what one left behind that was killed during a handover must
    /// not stop the next.
    #[tokio::test]
    async fn folders_that_were_left_behind_are_passed_over() {
        let reached = NEXT.load(Ordering::Relaxed);
        // Another test may use some of them at this moment.
        let made = |folder: &PathBuf| std::fs::create_dir(folder).is_ok();
        let left: Vec<_> = (reached..reached + 20).map(folder).filter(made).collect();
        let opened = Inbox::open();
        left.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
        opened.unwrap();
    }

    /// The shell sees the sockets where the protocol says, and is told how many; they are not shared by accident.
    #[tokio::test]
    async fn a_successor_is_told_where_its_sockets_are() {
        let both = listener().await.share().unwrap().and(listener().await.share().unwrap());
        let script = "[ \"$LISTEN_FDS\" = 2 ] && [ -z \"$LISTEN_PID\" ] && [ -S /dev/fd/3 ] && [ -S /dev/fd/4 ] && exit 7";
        let error = both.start(shell(script), Duration::from_secs(30)).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }

    #[tokio::test]
    async fn a_shared_unix_socket_leaves_its_path_and_goes_on() {
        let path = std::env::temp_dir().join(format!("clearway-share-{}", std::process::id()));
        let address = crate::Address::Unix(path.clone());
        let mut listener = Listener::bind(&address).await.unwrap();
        let shared = listener.share().unwrap();
        drop(listener);
        assert!(path.exists());
        let waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop((shared, waits));
        // What nobody listens on any more is taken over, as ever.
        drop(Listener::bind(&address).await.unwrap());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn nobody_is_told_who_does_not_ask_and_nothing_is_inherited() {
        // This test's own environment has neither.
        assert!(!notify_ready().unwrap());
        assert!(Listener::inherited().unwrap().is_empty());
        let std = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = std.local_addr().unwrap();
        let listener = Listener::from_std(std).unwrap();
        let _waits = TcpStream::connect(address).unwrap();
        assert!(listener.accept().await.is_ok());
    }
}
