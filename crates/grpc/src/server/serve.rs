//! Putting a server together and letting it run: knobs, services, listening, and ending gracefully.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use clearway_http2::{Config, Connection, Observer, WindowTuning};
#[cfg(feature = "tls")]
use clearway_transport::tls::TlsError;
use clearway_transport::{
    Address, Clock, Closed, Driver, DriverConfig, Listener, OpQueue, PeerAddr, Stream, accept_loop,
};
use tokio::task::JoinSet;

use super::connection::{ServerConnection, Shared};
#[cfg(feature = "tls")]
use super::contain::contain;
use super::counters::{Report, ServerCounters};
use super::knobs::Vigilance;
use super::knobs::life::LifeKnobs;
#[cfg(feature = "tls")]
use super::knobs::tls::{FailureReport, HandshakeFailure, Tls};
#[cfg(feature = "tower")]
use super::layers::Layers;
use super::methods::{Methods, Routes};
use super::ops::ServerOp;
use super::origin::Link;
use super::overrun::{OverrunKnobs, Overruns};
use super::{NamedService, Service};
use crate::Error;
use crate::client::Channel;
use crate::codec::CompressionEncoding;
use crate::codec::compression::Encodings;
use crate::framing::config_for_messages;
use crate::intercept::Stack;

type ObserverFactory = Arc<dyn Fn(&PeerAddr) -> Box<dyn Observer + Send> + Send + Sync>;

/// The knobs of a server. [`Server::add_service`] turns it into a [`Router`].
///
/// Defaults are safe on the open internet: every bound is set.
#[derive(Clone, Default)]
pub struct Server {
    http2: Config,
    driver: DriverConfig,
    pub(super) vigilance: Vigilance,
    timeout: Option<Duration>,
    encodings: Encodings,
    pub(super) interceptors: Option<Stack>,
    #[cfg(feature = "tower")]
    pub(super) layers: Layers,
    observe: Option<ObserverFactory>,
    report: Option<Report>,
    counters: Arc<ServerCounters>,
    pub(super) overruns: OverrunKnobs,
    pub(super) life: LifeKnobs,
    #[cfg(feature = "tls")]
    pub(in crate::server) tls: Option<Tls>,
    #[cfg(feature = "tls")]
    pub(in crate::server) handshake_report: Option<FailureReport>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("http2", &self.http2)
            .field("timeout", &self.timeout)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server with the defaults.
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// How many calls one connection may have at once.
    ///
    /// Default: [`clearway_http2::config::defaults::MAX_CONCURRENT_STREAMS`]. More are refused with REFUSED_STREAM (RFC
    /// 9113 §5.1.2); handlers that run on after their call was reset count, too: calls that
    /// come meanwhile wait for one of them to end.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: impl Into<Option<u32>>) -> Self {
        if let Some(streams) = streams.into() {
            self.http2.max_concurrent_streams = streams;
        }
        self
    }

    /// How many octets a client may send on one stream before its handler reads, for good: without it windows tune themselves
    /// ([`WindowTuning::Auto`]).
    ///
    /// Default, to start from: [`clearway_http2::config::defaults::STREAM_WINDOW`]; smaller values than 1,024 are raised
    /// to it. See [`Config::stream_window_octets`].
    #[must_use]
    pub fn initial_stream_window_size(mut self, octets: impl Into<Option<u32>>) -> Self {
        if let Some(octets) = octets.into() {
            self.http2.stream_window_octets = octets;
            self.http2.stream_tuning = WindowTuning::Fixed;
        }
        self
    }

    /// How many octets a client may send on all streams of a connection before they are received, for good: without it the
    /// window tunes itself.
    ///
    /// Default, to start from: [`clearway_http2::config::defaults::CONNECTION_WINDOW`]. See [`Config::connection_window_octets`].
    #[must_use]
    pub fn initial_connection_window_size(mut self, octets: impl Into<Option<u32>>) -> Self {
        if let Some(octets) = octets.into() {
            self.http2.connection_window_octets = octets;
            self.http2.connection_tuning = WindowTuning::Fixed;
        }
        self
    }

    /// Everything about HTTP/2 at once.
    #[must_use]
    pub fn http2_config(mut self, config: Config) -> Self {
        self.http2 = config;
        self
    }

    /// The longest a call may take, whatever its client asks for; the smaller counts. Default: no limit. Zero is not that: no call
    /// gets any time then.
    ///
    /// A call that takes longer ends with DEADLINE_EXCEEDED, and its handler as [`OnCancel`](crate::server::OnCancel) says: by default
    /// it is dropped.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Accepts requests compressed by `encoding` in every service; see
    /// [`Methods::accept_compressed`](crate::server::Methods::accept_compressed). Default: none.
    #[must_use]
    pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.encodings.accept(encoding);
        self
    }

    /// Compresses responses of every service by `encoding`, for clients that can read it; see
    /// [`Methods::send_compressed`](crate::server::Methods::send_compressed). Default: none.
    #[must_use]
    pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.encodings.send(encoding);
        self
    }

    /// Shows every connection to an observer of its own, which `make` makes when the connection was accepted, and after its
    /// TLS handshake.
    #[must_use]
    pub fn observe(
        mut self,
        make: impl Fn(&PeerAddr) -> Box<dyn Observer + Send> + Send + Sync + 'static,
    ) -> Self {
        self.observe = Some(Arc::new(make));
        self
    }

    /// Calls `report` at the end of every connection, on the connection's task: it must return quickly. What it is given says who
    /// was at the other end, which rule or limit ended the connection if one did, and what the peer made it do; its `Display`
    /// is one line for a log.
    ///
    /// ```
    /// use clearway::transport::Server;
    ///
    /// let server = Server::builder().on_connection_end(|closed| {
    ///     if closed.is_peers_fault() {
    ///         // connection to 192.0.2.7:50100 (up 1.2s): peer broke a rule: too_many_resets (limit: resets)
    ///         // (ENHANCE_YOUR_CALM); 1043 streams, 1001 resets, 1 answers, 12 open
    ///         eprintln!("{closed}");
    ///     }
    /// });
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn on_connection_end(mut self, report: impl Fn(&Closed) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }

    /// The counters of this server and of everything made of it.
    #[must_use]
    pub fn counters(&self) -> Arc<ServerCounters> {
        Arc::clone(&self.counters)
    }

    /// How long a client may take nothing from its socket while answers wait for it; then the connection is ended
    /// ([`CloseReason::WriteStalled`](crate::transport::CloseReason)). Any progress starts it again.
    ///
    /// Default: [`DriverConfig::WRITE_TIMEOUT`], 30 s; less than a second is raised to it.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.driver = self.driver.write_timeout(timeout);
        self
    }

    /// Adds the first service.
    #[must_use]
    pub fn add_service<S: Service>(self, service: S) -> Router {
        let mut routes = Routes::default();
        routes.encodings_mut().clone_from(&self.encodings);
        routes.interceptors_mut().clone_from(&self.interceptors);
        Router { server: self, routes }.add_service(service)
    }
}

/// The services of a server, ready to be served.
pub struct Router {
    server: Server,
    routes: Routes,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Router {
    /// Adds a service; a method under a path that is taken replaces the earlier one.
    #[must_use]
    pub fn add_service<S: Service>(mut self, service: S) -> Self {
        let name = service.name().to_owned();
        service.register(&mut Methods::of(&mut self.routes, &name));
        self
    }

    /// Adds a service if there is one.
    #[must_use]
    pub fn add_optional_service<S: Service + NamedService>(self, service: Option<S>) -> Self {
        match service {
            Some(service) => self.add_service(service),
            None => self,
        }
    }

    /// Serves on a socket address until the program ends or the future is dropped, which ends every connection.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(self, address: SocketAddr) -> Result<(), Error> {
        self.serve_with_shutdown(address, core::future::pending()).await
    }

    /// Serves on `host:port`, `[ipv6]:port` or `unix:/path`.
    ///
    /// # Errors
    /// The address cannot be read, or not be listened on.
    pub async fn listen(self, address: &str) -> Result<(), Error> {
        let address: Address = address.parse()?;
        let listener = bind(&address).await?;
        self.serve_with_listener(listener, core::future::pending()).await
    }

    /// Serves until `shutdown` is ready; then accepts no more, tells clients to go elsewhere (RFC 9113 §6.8, in two steps),
    /// and returns when the last call is done, or what was left after [`Server::shutdown_grace`] was cut off.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve_with_shutdown(
        self,
        address: SocketAddr,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let listener = bind(&Address::from(address)).await?;
        self.serve_with_listener(listener, shutdown).await
    }

    /// As [`Router::serve_with_shutdown`], on a listener made before: its port is known then, if 0 was asked for.
    ///
    /// # Errors
    /// None today; the result leaves room for listeners that fail for good.
    pub async fn serve_with_listener(
        self,
        listener: Listener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut connections = Connections::new(self);
        {
            let mut accepting = pin!(accept_loop(&listener, |stream| connections.spawn(stream)));
            let mut shutdown = pin!(shutdown);
            poll_fn(|cx| match accepting.as_mut().poll(cx) {
                Poll::Ready(never) => match never {},
                Poll::Pending => shutdown.as_mut().poll(cx),
            })
            .await;
        }
        // The port is free for a successor while our own calls are still going.
        drop(listener);
        connections.finish().await;
        Ok(())
    }

    /// Serves one connection that exists already; returns when it is over.
    pub async fn serve_connection(self, stream: Stream) {
        self.serve_connection_with_shutdown(stream, core::future::pending()).await;
    }

    /// Serves one connection that exists already, until `shutdown` is ready or it is over; in the first case its client is told
    /// to go elsewhere (RFC 9113 §6.8, in two steps), and the calls that are under way go on. Returns when it is over.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection at once.
    pub async fn serve_connection_with_shutdown(self, stream: Stream, shutdown: impl Future<Output = ()>) {
        let mut connections = Connections::new(self);
        connections.spawn(stream);
        {
            let mut over = pin!(connections.join());
            let mut shutdown = pin!(shutdown);
            poll_fn(|cx| match over.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => shutdown.as_mut().poll(cx),
            })
            .await;
        }
        connections.finish().await;
    }

    /// Serves one connection inside this program, over memory instead of a socket, and gives the channel to it. For tests, and for
    /// a client and a server that live together: everything but the socket is as it is between two programs.
    ///
    /// The connection ends when the last clone of the channel is dropped, and not before: limits of its age and idleness do not apply, since there
    /// cannot be another. It must be called inside a tokio runtime.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use clearway::client::{Grpc, MethodPath};
    /// use clearway::codec::BytesCodec;
    /// use clearway::server::GenericService;
    /// use clearway::transport::Server;
    /// use clearway::{Request, Response};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), clearway::Status> {
    /// let echo = GenericService::new("demo.Echo").unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
    ///     Ok(Response::new(request.into_inner()))
    /// });
    /// let client = Grpc::new(Server::builder().add_service(echo).in_process());
    /// let path = MethodPath::from_static("/demo.Echo/Echo");
    /// let reply = client.unary(Request::new(Bytes::from_static(b"hi")), path, BytesCodec).await?;
    /// assert_eq!(reply.into_inner(), "hi");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn in_process(self) -> Channel {
        let (ours, theirs) = clearway_transport::pair();
        let life = self.server.life.of_the_only_connection();
        #[cfg(feature = "tls")]
        let server = Server { tls: None, life, ..self.server };
        #[cfg(not(feature = "tls"))]
        let server = Server { life, ..self.server };
        tokio::spawn(Self { server, ..self }.serve_connection(ours));
        Channel::over(theirs)
    }
}

async fn bind(address: &Address) -> Result<Listener, Error> {
    Listener::bind(address).await.map_err(|error| Error::listen(address, error))
}

/// A connection's driver as a task. An async block around it would take twice its room: once as what it captured and once
/// as what it awaits.
struct Driving(Driver<Stream, ServerConnection>);

impl Future for Driving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.get_mut().0).poll(cx).map(drop)
    }
}

/// The connections of a running server.
pub(super) struct Connections {
    serving: Arc<Serving>,
    tasks: JoinSet<()>,
    queues: Vec<Weak<OpQueue<ServerOp>>>,
    /// Queues of connections that are gone are swept out when there are so many.
    sweep_at: usize,
}

/// What every connection is made of.
struct Serving {
    server: Server,
    http2: Arc<Config>,
    shared: Arc<Shared>,
}

impl Serving {
    fn drive(&self, stream: Stream, ops: Arc<OpQueue<ServerOp>>) -> Driver<Stream, ServerConnection> {
        self.shared.counters.began();
        let peer = Arc::new(stream.remote());
        let clock = Clock::start();
        let mut connection = Connection::server(Arc::clone(&self.http2), clock.now());
        connection.limit_life(self.server.life.draw(), clock.now());
        if let Some(make) = &self.server.observe {
            connection.observe(make(&peer));
        }
        let link = Link { peer: Arc::clone(&peer), ops: Arc::clone(&ops), shared: Arc::clone(&self.shared) };
        let app = ServerConnection::new(Arc::new(link), clock);
        Driver::new(stream, peer, connection, app, ops, clock, self.server.driver.clone())
    }

    /// The stream with TLS over it, unless its handshake fails or the server ends before it does.
    #[cfg(feature = "tls")]
    async fn shake_hands(&self, tls: &Tls, stream: Stream, ops: &OpQueue<ServerOp>) -> Option<Stream> {
        let (peer, began) = (stream.peer(), tokio::time::Instant::now());
        let mut handshake = pin!(tls.acceptor.accept(stream));
        let outcome = poll_fn(|cx| match handshake.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            // There is no call in it that could be finished.
            Poll::Pending => ops.poll_asked_to_end(cx).map(|()| None),
        })
        .await?;
        outcome.map_err(|error| self.handshake_failed(peer, began.elapsed(), error)).ok()
    }

    #[cfg(feature = "tls")]
    #[cold]
    fn handshake_failed(&self, peer: PeerAddr, after: Duration, error: TlsError) {
        self.shared.counters.handshake_failed(error.failure);
        if let Some(report) = &self.server.handshake_report {
            let failure = HandshakeFailure { peer, after, error };
            // It is the user's.
            let _ = contain(|| report(&failure));
        }
    }
}

impl Connections {
    pub(super) fn new(router: Router) -> Self {
        let Router { server, routes } = router;
        #[cfg(feature = "tower")]
        let routes = server.layers.around(routes);
        let shared = Arc::new(Shared {
            routes,
            timeout: server.timeout,
            report: server.report.clone(),
            counters: Arc::clone(&server.counters),
            overruns: Overruns::new(&server.overruns),
            leftovers: server.life.leftovers(),
            max_concurrent_streams: server.http2.max_concurrent_streams,
        });
        let http2 = Arc::new(server.vigilance.configure(config_for_messages(&server.http2)));
        let serving = Arc::new(Serving { server, http2, shared });
        Self { serving, tasks: JoinSet::new(), queues: Vec::new(), sweep_at: 64 }
    }

    pub(super) fn spawn(&mut self, stream: Stream) {
        while self.tasks.try_join_next().is_some() {}
        if self.queues.len() >= self.sweep_at {
            self.queues.retain(|queue| queue.strong_count() > 0);
            self.sweep_at = self.queues.len().saturating_mul(2).max(64);
        }
        let server = &self.serving.server;
        // Of use, and not needed: a socket that refuses it is served all the same.
        let _ = server.vigilance.tcp(&server.driver).apply(&stream);
        let ops = Arc::new(OpQueue::default());
        self.queues.push(Arc::downgrade(&ops));
        #[cfg(feature = "tls")]
        if let Some(tls) = self.serving.server.tls.clone() {
            let serving = Arc::clone(&self.serving);
            self.tasks.spawn(async move {
                if let Some(stream) = serving.shake_hands(&tls, stream, &ops).await {
                    Box::new(Driving(serving.drive(stream, ops))).await;
                }
            });
            return;
        }
        self.tasks.spawn(Driving(self.serving.drive(stream, ops)));
    }

    /// Lets every call finish, or cuts off what is left when the time for it is over.
    pub(super) async fn finish(&mut self) {
        let queues: Vec<_> = self.queues.drain(..).collect();
        let open = || queues.iter().filter_map(Weak::upgrade);
        open().for_each(|queue| queue.drain());
        let grace = self.serving.server.life.shutdown_grace;
        if tokio::time::timeout(grace, self.join()).await.is_err() {
            open().for_each(|queue| queue.cut_off());
            self.join().await;
        }
        self.serving.shared.leftovers.tell_of_shutdown();
    }

    pub(super) async fn join(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::call::Call;

    /// What the task of an idle connection and the place of an open call cost; tokio adds 104 octets to a task and rounds
    /// it up to 128.
    #[test]
    fn connections_and_calls_are_small() {
        assert!(size_of::<Driving>() <= 1560, "{} octets", size_of::<Driving>());
        assert!(size_of::<Option<Call>>() <= 160, "{} octets", size_of::<Option<Call>>());
    }
}
