//! Certificates that change under load: no call fails, connections go on, and new ones see the new certificate.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway::transport::{Certificate, Endpoint, Identity, Reload, ReloadOutcome, Server, ServerTlsConfig};
use rcgen::SerialNumber;

use super::{Certificates, certificates, echo, echoes, serve, server_params, signed};

/// As an operator does it who knows nothing of atomic renames: one file after the other.
fn write(folder: &Path, certificates: &Certificates, serial: u8) {
    let mut params = server_params();
    params.serial_number = Some(SerialNumber::from(vec![serial]));
    let (certificate, key) = signed(&certificates.issuer, &params);
    fs::write(folder.join("tls.crt"), certificate).unwrap();
    fs::write(folder.join("tls.key"), key).unwrap();
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_no_call_fails() {
    const ROTATIONS: u8 = 5;
    let certificates = certificates();
    let folder = std::env::temp_dir().join(format!("clearway-under-load-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    write(&folder, &certificates, 1);
    fs::write(folder.join("ca.pem"), &certificates.authority_pem).unwrap();

    let reload = Reload::every(Duration::from_millis(20)).on_event(|event| match event.outcome {
        // It may come between the two files; then the old one stays in use.
        ReloadOutcome::Reloaded { .. } | ReloadOutcome::Kept(_) => {}
        _ => panic!("{event}"),
    });
    let identity = Identity::from_files(folder.join("tls.crt"), folder.join("tls.key"));
    // Clients show the same one: mTLS, with all four kinds of file.
    let config = ServerTlsConfig::new()
        .identity(identity.clone())
        .client_ca_root(Certificate::from_file(folder.join("ca.pem")))
        .reload(reload.clone());
    let address = serve(echoes(Server::builder().tls_config(config).unwrap())).await;

    let serials = Arc::new(Mutex::new(BTreeSet::new()));
    let endpoint = |reload: &Reload| {
        let serials = Arc::clone(&serials);
        let trust = clearway::transport::ClientTlsConfig::new()
            .ca_certificate(Certificate::from_file(folder.join("ca.pem")))
            .identity(identity.clone())
            .reload(reload.clone())
            .check_server(move |server| {
                serials.lock().unwrap().insert(server.serial().to_owned());
                Ok(())
            });
        Endpoint::new(format!("https://{address}")).unwrap().tls_config(trust).unwrap()
    };
    let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let lasting = endpoint(&reload).connect().await.unwrap();
    let mut load = Vec::new();
    for worker in 0..4 {
        let (done, calls, lasting) = (Arc::clone(&done), Arc::clone(&calls), lasting.clone());
        let coming_and_going = endpoint(&reload);
        load.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let channel =
                    if worker < 2 { lasting.clone() } else { coming_and_going.connect().await.unwrap() };
                assert_eq!(echo(channel, 1000).await.unwrap(), 1000);
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for serial in 2..=ROTATIONS {
        write(&folder, &certificates, serial);
        let wanted = format!("{serial:02x}");
        until(&wanted, || serials.lock().unwrap().contains(&wanted)).await;
    }
    done.store(true, Ordering::Relaxed);
    for worker in load {
        worker.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 20, "{calls:?}");
    // The server's and each client's, each time.
    assert!(reload.reloads() >= u64::from(ROTATIONS - 1), "{}", reload.reloads());
    // The connection of the beginning is still the one.
    assert_eq!(echo(lasting, 5).await.unwrap(), 5);
    fs::remove_dir_all(&folder).unwrap();
}
