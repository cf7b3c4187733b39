//! Files that change: what is new is used, what cannot be used is not, and either is told.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway_transport::Stream;
use clearway_transport::tls::{
    Certificate, ClientTlsConfig, Identity, Reload, ReloadEvent, ReloadOutcome, ServerTlsConfig, TlsAcceptor,
    TlsConnector, TlsError, TlsFailure,
};
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Authority, HOST, WIDE, params};

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("clearway-reload-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn identity(&self) -> Identity {
        Identity::from_files(self.path("tls.crt"), self.path("tls.key"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn signed(authority: &Authority, params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap().pem();
        Self { certificate, key: key.serialize_pem() }
    }

    fn write(&self, folder: &Path) {
        fs::write(folder.join("tls.crt"), &self.certificate).unwrap();
        fs::write(folder.join("tls.key"), &self.key).unwrap();
    }
}

fn numbered(serial: u8) -> CertificateParams {
    let mut params = params(HOST);
    params.serial_number = Some(SerialNumber::from(vec![serial]));
    params
}

/// A reload that is only told to look, and what it told.
fn reload() -> (Reload, Arc<Mutex<Vec<ReloadEvent>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let reload = Reload::every(Duration::from_secs(24 * 3600));
    (reload.on_event(move |event| told.lock().unwrap().push(event.clone())), events)
}

/// The serial number the server shows, if the handshake succeeds.
async fn serial(acceptor: &TlsAcceptor, connector: &TlsConnector) -> Result<String, TlsFailure> {
    let (theirs, ours) = duplex(WIDE);
    let server = async {
        let mut stream = acceptor.accept(Stream::InProcess(theirs)).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok::<_, TlsError>(stream)
    };
    let client = async {
        let mut stream = connector.connect(ours, HOST).await?;
        let read = stream.read_u8().await;
        read.map_err(|error| error.get_ref().unwrap().downcast_ref::<TlsError>().unwrap().clone())?;
        Ok(stream.tls_peer().identity().unwrap().unwrap().serial().to_owned())
    };
    let (server, client) = tokio::join!(server, client);
    drop(server);
    client.map_err(|error: TlsError| error.failure)
}

fn outcomes(events: &Mutex<Vec<ReloadEvent>>) -> Vec<ReloadOutcome> {
    events.lock().unwrap().drain(..).map(|event| event.outcome).collect()
}

fn reloaded(outcome: &ReloadOutcome, wanted: &str) {
    match outcome {
        ReloadOutcome::Reloaded { serial, not_after: Some(_) } => assert_eq!(serial.as_deref(), Some(wanted)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_pair_is_used_by_new_handshakes_and_a_bad_one_is_not() {
    let (authority, folder) = (Authority::new(), Folder::new());
    Pair::signed(&authority, &numbered(1)).write(&folder.0);
    let (reload, events) = reload();
    let config = ServerTlsConfig::new().identity(folder.identity()).reload(reload.clone());
    let (acceptor, connector) = (TlsAcceptor::new(&config).unwrap(), authority.connector());
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "01");
    reload.check_now();
    assert_eq!(outcomes(&events), []);

    Pair::signed(&authority, &numbered(2)).write(&folder.0);
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "01", "not looked at yet");
    reload.check_now();
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "02");
    reloaded(&outcomes(&events)[0], "02");

    let third = Pair::signed(&authority, &numbered(3));
    let spoiled: [&dyn Fn(); 5] = [
        // Half a certificate, then one whose key is still the old one's.
        &|| fs::write(folder.path("tls.crt"), &third.certificate[..third.certificate.len() / 2]).unwrap(),
        &|| fs::write(folder.path("tls.crt"), &third.certificate).unwrap(),
        &|| fs::write(folder.path("tls.key"), "").unwrap(),
        &|| fs::write(folder.path("tls.key"), &third.key[..third.key.len() - 40]).unwrap(),
        &|| fs::remove_file(folder.path("tls.key")).unwrap(),
    ];
    for (at, spoil) in spoiled.iter().enumerate() {
        spoil();
        for _ in 0..3 {
            reload.check_now();
        }
        let told = outcomes(&events);
        assert!(matches!(told.as_slice(), [ReloadOutcome::Kept(_)]), "{at}: once for each content: {told:?}");
        assert_eq!(serial(&acceptor, &connector).await.unwrap(), "02");
    }
    third.write(&folder.0);
    reload.check_now();
    reloaded(&outcomes(&events)[0], "03");
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "03");
    assert_eq!((reload.reloads(), reload.failures()), (2, 5));
}

#[tokio::test]
async fn kubernetes_swaps_a_link_to_a_folder() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let version = |number: u8| {
        let path = folder.path(&format!("..{number}"));
        fs::create_dir(&path).unwrap();
        Pair::signed(&authority, &numbered(number)).write(&path);
        path
    };
    let first = version(1);
    symlink(&first, folder.path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), folder.path(name)).unwrap();
    }
    let (reload, events) = reload();
    let config = ServerTlsConfig::new().identity(folder.identity()).reload(reload.clone());
    let (acceptor, connector) = (TlsAcceptor::new(&config).unwrap(), authority.connector());
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "01");
    let second = version(2);
    symlink(&second, folder.path("..tmp")).unwrap();
    fs::rename(folder.path("..tmp"), folder.path("..data")).unwrap();
    fs::remove_dir_all(first).unwrap();
    reload.check_now();
    reloaded(&outcomes(&events)[0], "02");
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "02");
}

#[tokio::test]
async fn a_certificate_out_of_force_does_not_replace_one_in_force() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let term = |serial, from, to| {
        let mut params = numbered(serial);
        (params.not_before, params.not_after) = (from, to);
        Pair::signed(&authority, &params)
    };
    let date = rcgen::date_time_ymd;
    term(1, date(2001, 1, 1), date(2100, 1, 1)).write(&folder.0);
    let (reload, events) = reload();
    let config = ServerTlsConfig::new().identity(folder.identity()).reload(reload.clone());
    let (acceptor, connector) = (TlsAcceptor::new(&config).unwrap(), authority.connector());
    for (serial, from, to) in
        [(2, date(2001, 1, 1), date(2002, 1, 1)), (3, date(2100, 1, 1), date(2101, 1, 1))]
    {
        term(serial, from, to).write(&folder.0);
        reload.check_now();
        match outcomes(&events).as_slice() {
            [ReloadOutcome::Kept(why)] => assert!(why.to_string().contains("not in force"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(serial(&acceptor, &connector).await.unwrap(), "01");
}

#[test]
fn a_certificate_that_expires_is_told_once() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut old = numbered(1);
    old.not_after = rcgen::date_time_ymd(2001, 1, 1);
    Pair::signed(&authority, &old).write(&folder.0);
    let (reload, events) = reload();
    let config = ServerTlsConfig::new().identity(folder.identity()).reload(reload.clone());
    let _acceptor = TlsAcceptor::new(&config).unwrap();
    reload.check_now();
    reload.check_now();
    let line = events.lock().unwrap()[0].to_string();
    assert!(line.contains("has expired") && line.contains("tls.crt"), "{line}");
    assert_eq!(outcomes(&events), [ReloadOutcome::Expired]);

    let mut soon = numbered(2);
    soon.not_after = (std::time::SystemTime::now() + Duration::from_secs(3600)).into();
    Pair::signed(&authority, &soon).write(&folder.0);
    reload.check_now();
    reload.check_now();
    match outcomes(&events).as_slice() {
        [first, ReloadOutcome::ExpiresSoon { left }] => {
            reloaded(first, "02");
            assert!(*left <= Duration::from_secs(3600) && *left > Duration::from_secs(3000), "{left:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bundles_of_authorities_are_read_again_on_both_sides() {
    let [servers, old, new] = [(); 3].map(|()| Authority::new());
    let folder = Folder::new();
    fs::write(folder.path("clients.pem"), &old.text).unwrap();
    fs::write(folder.path("roots.pem"), &new.text).unwrap();
    let (reload, events) = reload();
    let server = ServerTlsConfig::new()
        .identity(servers.server())
        .client_ca_root(Certificate::from_file(folder.path("clients.pem")))
        .reload(reload.clone());
    let client = |signer: &Authority| {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_file(folder.path("roots.pem")))
            .identity(signer.sign(&params("client.test")))
            .reload(reload.clone())
    };
    let acceptor = TlsAcceptor::new(&server).unwrap();
    let [by_old, by_new] = [&old, &new].map(|signer| TlsConnector::new(&client(signer)).unwrap());
    assert_eq!(
        serial(&acceptor, &by_old).await,
        Err(TlsFailure::UnknownAuthority),
        "the server's is unknown"
    );

    fs::write(folder.path("roots.pem"), &servers.text).unwrap();
    reload.check_now();
    assert!(serial(&acceptor, &by_old).await.is_ok());
    assert!(matches!(serial(&acceptor, &by_new).await, Err(TlsFailure::CertificateRefused(_))));

    fs::write(folder.path("clients.pem"), &new.text).unwrap();
    reload.check_now();
    // A session from before is not resumed past the new bundle.
    assert!(matches!(serial(&acceptor, &by_old).await, Err(TlsFailure::CertificateRefused(_))));
    assert!(serial(&acceptor, &by_new).await.is_ok());
    let told = outcomes(&events);
    assert!(told.iter().all(|one| matches!(one, ReloadOutcome::Reloaded { .. })), "{told:?}");
    assert_eq!(told.len(), 3, "two connectors, then the acceptor");

    fs::write(folder.path("clients.pem"), "").unwrap();
    reload.check_now();
    assert!(
        matches!(outcomes(&events).as_slice(), [ReloadOutcome::Kept(_)]),
        "an empty bundle lets nobody in"
    );
    assert!(serial(&acceptor, &by_new).await.is_ok());
}

#[test]
fn files_are_looked_at_without_being_asked_and_by_one_thread() {
    let (authority, folder) = (Authority::new(), Folder::new());
    Pair::signed(&authority, &numbered(1)).write(&folder.0);
    let (told, hears) = std::sync::mpsc::channel();
    let reload = Reload::every(Duration::from_millis(10)).on_event(move |event| {
        let _ = told.send(event.clone());
        // It ends nothing.
        panic!("a report that panics");
    });
    let config = ServerTlsConfig::new().identity(folder.identity()).reload(reload.clone());
    let acceptors = [(); 3].map(|()| TlsAcceptor::new(&config).unwrap());
    for pair in [numbered(2), numbered(3)] {
        Pair::signed(&authority, &pair).write(&folder.0);
        let mut reloaded = 0;
        while reloaded < acceptors.len() {
            // It may look while the second file is not written yet, and say so.
            let event = hears.recv_timeout(Duration::from_secs(20)).unwrap();
            reloaded += usize::from(matches!(event.outcome, ReloadOutcome::Reloaded { .. }));
        }
    }
    drop((acceptors, config, reload));
    // With the last configuration the thread goes, and its report with it.
    let over = loop {
        match hears.recv_timeout(Duration::from_secs(20)) {
            Ok(_) => {}
            Err(over) => break over,
        }
    };
    assert_eq!(over, std::sync::mpsc::RecvTimeoutError::Disconnected);
}
