//! [`Endpoint`]: a target and the knobs of the channel to it.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use clearway_http2::{Config, Observer, WindowTuning};
#[cfg(feature = "tls")]
use clearway_transport::tls::{ClientTlsConfig, Reload, TlsConnector};
use clearway_transport::{Address, DriverConfig, FirstOctets, PeerAddr, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::Channel;
use super::knobs::connections::Connections;
use super::knobs::{LoadBalancing, Repeats, Vigilance};
use crate::Error;
use crate::codec::CompressionEncoding;
use crate::codec::compression::Accepted;
use crate::intercept::Stack;
use crate::resolve::{Security, Target};

/// How long an attempt to connect may take unless chosen otherwise; longer after many failures, as gRPC's back-off page has it.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How many calls of one channel may wait.
pub const DEFAULT_MAX_QUEUED_CALLS: usize = 65_536;

/// `grpc-<language>-<variant>/<version>` (gRPC over HTTP/2, "User Agents").
const USER_AGENT: &str = concat!("grpc-rust-clearway/", env!("CARGO_PKG_VERSION"));

type ObserverFactory = Arc<dyn Fn(&PeerAddr) -> Box<dyn Observer + Send> + Send + Sync>;
pub(super) type Connecting = Pin<Box<dyn Future<Output = io::Result<Dialed>> + Send>>;

/// Bytes both ways.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connected stream.
pub(super) enum Dialed {
    Stream(Stream),
    Custom(Box<dyn Io>),
}

impl Dialed {
    pub(super) fn peer(&self) -> PeerAddr {
        match self {
            Self::Stream(stream) => stream.peer(),
            Self::Custom(_) => PeerAddr::InProcess,
        }
    }
}

/// A target and the knobs of the channel to it.
///
/// Targets are tonic's URIs and the names of gRPC's naming page: `http://host:port` is plaintext; `unix:/path` is a Unix
/// socket; `host:port`, `dns:///host:port`, `ipv4:10.0.0.1:5,10.0.0.2:5` and `ipv6:[::1]:5` mean TLS unless
/// [`Endpoint::plaintext`] says otherwise, as does `https://host`. TLS needs the cargo feature `tls`, and
/// `Endpoint::tls_config` to say whom to trust; without either, connecting to a target that wants it is an error.
#[derive(Clone)]
pub struct Endpoint {
    target: Target,
    plaintext: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConnector>,
    authority: Option<String>,
    user_agent: Option<String>,
    pub(super) timeout: Option<Duration>,
    /// None: [`DEFAULT_CONNECT_TIMEOUT`], or as long as the wait that would follow.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) max_queued_calls: usize,
    pub(super) connections: Connections,
    pub(super) send: Option<CompressionEncoding>,
    pub(super) accepted: Option<Arc<Accepted>>,
    pub(super) interceptors: Option<Stack>,
    pub(super) http2: Config,
    pub(super) driver: DriverConfig,
    pub(super) observe: Option<ObserverFactory>,
    pub(super) jitter: Option<f64>,
    pub(super) balancing: LoadBalancing,
    pub(super) repeats: Repeats,
    pub(super) vigilance: Vigilance,
    pub(super) connector: Option<Arc<dyn Fn() -> Connecting + Send + Sync>>,
}

impl Endpoint {
    /// The endpoint of a target.
    ///
    /// # Errors
    /// The target cannot be read; the error says what is wrong with it.
    pub fn new(target: impl AsRef<str>) -> Result<Self, Error> {
        let target = Target::parse(target.as_ref()).map_err(|error| Error::address(error.to_string()))?;
        Ok(Self::of(target))
    }

    /// As [`Endpoint::new`], under tonic's name.
    ///
    /// # Errors
    /// The target cannot be read.
    pub fn from_shared(target: impl Into<String>) -> Result<Self, Error> {
        Self::new(target.into())
    }

    /// The endpoint of a target that is part of the program.
    ///
    /// # Panics
    /// If the target cannot be read.
    #[must_use]
    pub fn from_static(target: &'static str) -> Self {
        match Self::new(target) {
            Ok(endpoint) => endpoint,
            #[allow(clippy::panic, reason = "documented, and part of the program's text")]
            Err(error) => panic!("{error}"),
        }
    }

    fn of(target: Target) -> Self {
        Self {
            target,
            plaintext: false,
            #[cfg(feature = "tls")]
            tls: None,
            authority: None,
            user_agent: None,
            timeout: None,
            connect_timeout: None,
            max_queued_calls: DEFAULT_MAX_QUEUED_CALLS,
            connections: Connections::default(),
            send: None,
            accepted: None,
            interceptors: None,
            http2: Config::default(),
            driver: DriverConfig::default(),
            observe: None,
            jitter: None,
            balancing: LoadBalancing::default(),
            repeats: Repeats::default(),
            vigilance: Vigilance::default(),
            connector: None,
        }
    }

    /// The endpoint of a channel in this process.
    pub(crate) fn in_process() -> Self {
        // There is one stream, and no other can be made.
        Self::of(Target::in_process()).max_connections_per_address(1).idle_timeout(Duration::MAX)
    }

    /// A deadline for every call, counted from its beginning.
    ///
    /// Default: none. The smaller of this and [`Request::set_timeout`](crate::Request::set_timeout) counts. Zero is not "none": every call ends
    /// at once, unsent.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long an attempt to connect may take: resolving the name, connecting to its first address, TLS and the peer's SETTINGS,
    /// all together; and each further address anew. The error names the step that was not done.
    ///
    /// Default: [`DEFAULT_CONNECT_TIMEOUT`], and after many failures as long as the wait between attempts has become (gRPC's
    /// connection back-off page). Zero is not "for ever", which [`Duration::MAX`] is: no attempt has any time then.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// What goes before this library's own name in `user-agent`: the name of the program.
    ///
    /// # Errors
    /// It is not visible ASCII and spaces.
    pub fn user_agent(mut self, prefix: impl AsRef<str>) -> Result<Self, Error> {
        let prefix = prefix.as_ref().trim();
        if !prefix.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
            return Err(Error::config(format!("bad user agent {prefix:?}: want visible ASCII")));
        }
        self.user_agent = Some(prefix.to_owned());
        Ok(self)
    }

    /// The name of the server as calls carry it in `:authority`, if it is not the target's.
    ///
    /// # Errors
    /// It is empty or not visible ASCII.
    pub fn origin(mut self, authority: impl AsRef<str>) -> Result<Self, Error> {
        let given = authority.as_ref();
        let bare = given.strip_prefix("http://").or_else(|| given.strip_prefix("https://")).unwrap_or(given);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.is_empty() || bare.contains('/') || !bare.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(Error::config(format!("bad authority {given:?}: want host or host:port")));
        }
        self.authority = Some(bare.to_owned());
        Ok(self)
    }

    /// Chooses plaintext for a target that does not say, such as `dns:///host:port`.
    #[must_use]
    pub fn plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// Speaks TLS, and says whom to trust. Certificates, keys and names are read here.
    ///
    /// The server must be the host of [`Endpoint::origin`], or else of the target, unless
    /// [`ClientTlsConfig::domain_name`] names another.
    ///
    /// # Errors
    /// The target says plaintext (`http://`, `unix:`); no roots were chosen; or something that was chosen cannot be read.
    ///
    /// ```
    /// use clearway::transport::{Certificate, ClientTlsConfig, Endpoint};
    ///
    /// # fn endpoint(pem: &str) -> Result<Endpoint, clearway::Error> {
    /// let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    /// Endpoint::from_static("https://greeter.example:50051").tls_config(trust)
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: ClientTlsConfig) -> Result<Self, Error> {
        if self.target.security() == Security::Plaintext {
            return Err(Error::config(format!(
                "{} says plaintext; with TLS it is https://host:port",
                self.target
            )));
        }
        let config = config.or_reload(|| crate::tls_reload::told_to_tracing(Reload::default()));
        self.tls = Some(TlsConnector::new(&config)?);
        Ok(self)
    }

    /// Compresses the requests of every client of the channel that says nothing else; see
    /// [`Grpc::send_compressed`](crate::client::Grpc::send_compressed). Default: none.
    #[must_use]
    pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.send = Some(encoding);
        self
    }

    /// Accepts responses compressed by `encoding`, too, in every client of the channel that says nothing else; see
    /// [`Grpc::accept_compressed`](crate::client::Grpc::accept_compressed). Default: none.
    #[must_use]
    pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.accepted = Some(Arc::new(Accepted::and(self.accepted.as_deref(), encoding)));
        self
    }

    /// How many calls may wait for a connection or for a free stream. One more is refused with RESOURCE_EXHAUSTED.
    ///
    /// Default: [`DEFAULT_MAX_QUEUED_CALLS`].
    #[must_use]
    pub fn max_queued_calls(mut self, calls: usize) -> Self {
        self.max_queued_calls = calls;
        self
    }

    /// Octets the server may send on one stream before it must wait for this program, for good: without it
    /// windows tune themselves ([`WindowTuning::Auto`]).
    ///
    /// Default, to start from: [`clearway_http2::config::defaults::STREAM_WINDOW`]; range: see [`Config::stream_window_octets`].
    #[must_use]
    pub fn initial_stream_window_size(mut self, octets: impl Into<Option<u32>>) -> Self {
        if let Some(octets) = octets.into() {
            self.http2.stream_window_octets = octets;
            self.http2.stream_tuning = WindowTuning::Fixed;
        }
        self
    }

    /// Octets the server may send on all streams of a connection before it must wait for this program, for good: without it
    /// the window tunes itself.
    ///
    /// Default, to start from: [`clearway_http2::config::defaults::CONNECTION_WINDOW`]; range: see
    /// [`Config::connection_window_octets`].
    #[must_use]
    pub fn initial_connection_window_size(mut self, octets: impl Into<Option<u32>>) -> Self {
        if let Some(octets) = octets.into() {
            self.http2.connection_window_octets = octets;
            self.http2.connection_tuning = WindowTuning::Fixed;
        }
        self
    }

    /// How long the server may take nothing from its socket while requests wait for it; then the connection is ended. Any progress
    /// starts it again.
    ///
    /// Default: [`DriverConfig::WRITE_TIMEOUT`], 30 s; less than a second is raised to it.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.driver = self.driver.write_timeout(timeout);
        self
    }

    /// Every knob of HTTP/2 at once. Default: [`Config::default`].
    #[must_use]
    pub fn http2_config(mut self, config: Config) -> Self {
        self.http2 = config;
        self
    }

    /// Watches every connection: `observer` is called once for each, and what it gives sees every frame.
    #[must_use]
    pub fn observe<F>(mut self, observer: F) -> Self
    where
        F: Fn(&PeerAddr) -> Box<dyn Observer + Send> + Send + Sync + 'static,
    {
        self.observe = Some(Arc::new(observer));
        self
    }

    /// Takes chance out of the waits between attempts to connect: each lies there in its range, from 0 to 1. For runs that must
    /// be the same again.
    #[doc(hidden)]
    #[must_use]
    pub fn fixed_jitter(mut self, place: f64) -> Self {
        self.jitter = Some(place.clamp(0.0, 1.0));
        self
    }

    /// Where connections come from instead of the target's address: a tunnel, a pipe, a test. Called for each connection;
    /// the target only names the server. Options of the socket, as keepalive and congestion control, are left as they are (those that
    /// this library connects use Reno instead of BBR to loopback addresses).
    #[must_use]
    pub fn connector<F, Fut, S>(mut self, connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.connector = Some(Arc::new(move || {
            let connecting = connect();
            Box::pin(async move {
                let io: Box<dyn Io> = Box::new(connecting.await?);
                Ok(Dialed::Custom(io))
            })
        }));
        self
    }

    /// One stream that is connected already, and none after it.
    pub(super) fn over(mut self, stream: Stream) -> Self {
        let only = Mutex::new(Some(stream));
        self.connector = Some(Arc::new(move || {
            let stream = only.lock().unwrap_or_else(PoisonError::into_inner).take();
            let ended = || io::Error::new(io::ErrorKind::NotConnected, "the only connection has ended");
            Box::pin(core::future::ready(stream.map(Dialed::Stream).ok_or_else(ended)))
        }));
        self
    }

    /// A channel that is connected. Each call of it makes a channel of its own.
    ///
    /// # Errors
    /// The first attempt failed; the error says at which step. Or the target wants TLS and it was not said whom to trust.
    ///
    /// # Cancel safety
    /// Dropping the future closes the channel.
    pub fn connect(&self) -> impl Future<Output = Result<Channel, Error>> + Send + use<> {
        // The future borrows nothing, so that it can be spawned.
        let endpoint = self.clone();
        async move {
            if let Some(why) = endpoint.refusal() {
                return Err(Error::config(why));
            }
            let channel = Channel::spawn(endpoint);
            channel.ready().await?;
            Ok(channel)
        }
    }

    /// A channel that connects when it is first used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn connect_lazy(&self) -> Channel {
        Channel::spawn(self.clone())
    }

    // What follows is for the channel.

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or_else(|| self.target.authority())
    }

    pub(super) fn user_agent_text(&self) -> String {
        match &self.user_agent {
            Some(prefix) if !prefix.is_empty() => format!("{prefix} {USER_AGENT}"),
            _ => USER_AGENT.to_owned(),
        }
    }

    /// What goes into `:scheme`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls() || self.target.security() == Security::Tls { "https" } else { "http" }
    }

    #[cfg(feature = "tls")]
    const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    const fn is_tls(&self) -> bool {
        false
    }

    /// The host whose certificate the server must have, unless the configuration names another.
    #[cfg(feature = "tls")]
    pub(super) fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            // The colons of a bare IPv6 address are not followed by a port.
            Some((host, port)) if !port.contains(']') && !host.ends_with(':') => host,
            _ => authority,
        }
    }

    /// Why no connection can be made at all.
    pub(super) fn refusal(&self) -> Option<String> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            if self.plaintext {
                return Some(format!(
                    "{}: Endpoint::plaintext and Endpoint::tls_config exclude each other",
                    self.target
                ));
            }
            return tls.check_host(self.host()).err().map(|error| error.to_string());
        }
        let remedy = match self.target.security() {
            _ if self.connector.is_some() => return None,
            Security::Plaintext => return None,
            Security::Unsaid if self.plaintext => return None,
            Security::Unsaid => "for plaintext say http://host:port, or choose Endpoint::plaintext()",
            Security::Tls => "for plaintext say http://host:port",
        };
        let wants = if cfg!(feature = "tls") {
            "choose whom to trust with Endpoint::tls_config"
        } else {
            "this build lacks it (cargo feature tls)"
        };
        Some(format!("{} wants TLS: {wants}; {remedy}", self.target))
    }

    /// A connected stream for the driver. A server that answers in another language is named, where none was agreed on.
    pub(super) fn watched<S>(&self, io: S) -> FirstOctets<S> {
        if self.is_tls() || self.target.is_in_process() {
            FirstOctets::known(io)
        } else {
            FirstOctets::of_cleartext(io)
        }
    }

    /// What stands for the address when connections come from a connector.
    pub(super) fn custom_address(&self) -> Option<Address> {
        self.connector.as_ref().map(|_| Address::Host { host: self.to_string(), port: 0 })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("target", &self.target.to_string())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(target: &str) -> Result<Self, Error> {
        Self::new(target)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(target: String) -> Result<Self, Error> {
        Self::new(target)
    }
}

impl core::str::FromStr for Endpoint {
    type Err = Error;

    fn from_str(target: &str) -> Result<Self, Error> {
        Self::new(target)
    }
}
