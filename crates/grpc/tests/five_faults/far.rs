//! A server that is far away, in virtual time: every octet takes the same time each way, and as many as like are on their way. What
//! lies between may forget a connection, as a NAT does: it then carries nothing more, and says nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway::transport::{Endpoint, Server};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::service::service;

/// Octets that a socket's buffers take.
const BUFFERS: usize = 1024 * 1024;

/// What lies between.
#[derive(Clone, Default)]
pub(crate) struct Network {
    round_trip: Duration,
    /// The connections that were made.
    links: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Network {
    pub(crate) fn new(round_trip: Duration) -> Self {
        Self { round_trip, links: Arc::default() }
    }

    /// An endpoint of a server of [`service`].
    pub(crate) fn endpoint(&self, server: Server) -> Endpoint {
        let network = self.clone();
        Endpoint::from_static("http://far-away")
            .connector(move || core::future::ready(Ok::<_, io::Error>(network.connect(&server))))
    }

    fn connect(&self, server: &Server) -> DuplexStream {
        let (client, client_end) = duplex(BUFFERS);
        let (serving, server_end) = duplex(BUFFERS);
        tokio::spawn(server.clone().add_service(service()).serve_connection(serving.into()));
        let (from_client, to_client) = tokio::io::split(client_end);
        let (from_server, to_server) = tokio::io::split(server_end);
        let forgotten = Arc::<AtomicBool>::default();
        self.links.lock().unwrap().push(Arc::clone(&forgotten));
        way(from_client, to_server, self.round_trip / 2, Arc::clone(&forgotten));
        way(from_server, to_client, self.round_trip / 2, forgotten);
        client
    }

    /// Forgets the connections there are.
    pub(crate) fn forget(&self) {
        self.links.lock().unwrap().iter().for_each(|link| link.store(true, Ordering::Relaxed));
    }

    pub(crate) fn connections(&self) -> usize {
        self.links.lock().unwrap().len()
    }
}

fn way(
    mut from: impl AsyncRead + Send + Unpin + 'static,
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    delay: Duration,
    forgotten: Arc<AtomicBool>,
) {
    let (sender, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        loop {
            let mut octets = vec![0; 64 * 1024];
            match from.read(&mut octets).await {
                Ok(read @ 1..) => {
                    octets.truncate(read);
                    if sender.send((Instant::now() + delay, octets)).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, octets)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            if forgotten.load(Ordering::Relaxed) {
                continue;
            }
            if to.write_all(&octets).await.is_err() {
                return;
            }
        }
        if forgotten.load(Ordering::Relaxed) {
            core::future::pending::<()>().await;
        }
        let _ = to.shutdown().await;
    });
}
