//! One thread, one runtime and one listener for each core: no connection ever changes its thread, and none is shared.
//!
//! The kernel spreads connections over the listeners (SO_REUSEPORT), so this pays where there are many connections with
//! about the same load; a few busy ones are better served by a work-stealing runtime and [`Router::serve`].
//!
//! Left out: handlers that are not `Send`, and pinning threads to cores.

use core::num::NonZeroUsize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use clearway_transport::Listener;
use tokio::sync::watch;

use super::Router;
use crate::Error;

/// A server that runs on threads of its own.
///
/// Dropping it tells the threads to end gracefully and does not wait for them; see [`ThreadPerCore::shutdown`].
#[derive(Debug)]
pub struct ThreadPerCore {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<Result<(), Error>>>,
}

impl ThreadPerCore {
    /// Serves on `threads` threads, each with what `make` gives it. With port 0 they share the port the first one got.
    ///
    /// # Errors
    /// The address cannot be listened on, or a thread cannot be made.
    pub fn start(
        address: SocketAddr,
        threads: NonZeroUsize,
        make: impl Fn() -> Router + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let make = Arc::new(make);
        let mut server = Self { address, stop: watch::Sender::new(false), threads: Vec::new() };
        for _ in 0..threads.get() {
            let (told, hears) = mpsc::channel();
            let (make, address, stop) = (Arc::clone(&make), server.address, server.stop.subscribe());
            let run = move || serve(address, || make(), stop, &told);
            let thread = std::thread::Builder::new().name("clearway-core".to_owned()).spawn(run);
            server.threads.push(thread.map_err(|error| Error::listen(address, error))?);
            match hears.recv() {
                Ok(bound) => server.address = bound,
                // It ended without listening; why is its result.
                Err(mpsc::RecvError) => return Err(server.failure()),
            }
        }
        Ok(server)
    }

    /// The address listened on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets every call finish, and waits for the threads. It blocks: not for use inside a runtime.
    ///
    /// # Errors
    /// A thread ended with an error, or panicked.
    pub fn shutdown(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        self.threads.drain(..).try_for_each(joined)
    }

    /// What the last thread ended with.
    fn failure(&mut self) -> Error {
        let ended = self.threads.pop().map_or(Ok(()), joined);
        ended.err().unwrap_or_else(|| Error::config("a thread of the server ended without a reason"))
    }
}

impl Drop for ThreadPerCore {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn joined(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or_else(|_| Err(Error::config("a thread of the server panicked")))
}

/// One thread's whole life.
fn serve(
    address: SocketAddr,
    make: impl Fn() -> Router,
    mut stop: watch::Receiver<bool>,
    told: &mpsc::Sender<SocketAddr>,
) -> Result<(), Error> {
    let failed = |error| Error::listen(address, error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let listener = Listener::bind_shared(address).map_err(failed)?;
        let _ = told.send(listener.local_addr().unwrap_or(address));
        let stopped = async move {
            // An error says that the server was dropped, which means the same.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        make().serve_with_listener(listener, stopped).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Grpc, MethodPath};
    use crate::codec::BytesCodec;
    use crate::server::GenericService;
    use crate::transport::{Endpoint, Server};
    use crate::{Request, Response};
    use bytes::Bytes;
    use std::collections::HashSet;

    /// Answers with the thread it ran on.
    fn router() -> Router {
        let who = GenericService::new("a.B").unary("Who", BytesCodec, |_: Request<Bytes>| async {
            Ok(Response::new(Bytes::from(format!("{:?}", std::thread::current().id()))))
        });
        Server::builder().add_service(who)
    }

    #[test]
    fn connections_spread_over_the_threads_and_end_gracefully() {
        let two = NonZeroUsize::new(2).unwrap();
        let server = ThreadPerCore::start(([127, 0, 0, 1], 0).into(), two, router).unwrap();
        let target = format!("http://{}", server.local_addr());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let threads = runtime.block_on(async {
            let mut threads = HashSet::new();
            // Each connection goes to either listener with a chance of one half.
            for _ in 0..64 {
                let client = Grpc::new(Endpoint::new(target.clone()).unwrap().connect().await.unwrap());
                let path = MethodPath::from_static("/a.B/Who");
                let reply = client.unary(Request::new(Bytes::new()), path, BytesCodec).await.unwrap();
                threads.insert(reply.into_inner());
            }
            threads
        });
        assert_eq!(threads.len(), 2);
        // With it the clients' connections end: nobody would answer the server's last PING.
        drop(runtime);
        server.shutdown().unwrap();
    }

    #[test]
    fn an_address_that_is_taken_is_an_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = ThreadPerCore::start(taken.local_addr().unwrap(), NonZeroUsize::MIN, router).unwrap_err();
        assert!(error.to_string().contains("cannot listen on 127.0.0.1:"), "{error}");
    }
}
