//! From the name of a server to addresses: targets as gRPC's naming page defines them, and tonic's URIs.
//!
//! | Target | Means | Security |
//! |---|---|---|
//! | `http://host[:port]` | a name or address, port 80 | plaintext |
//! | `https://host[:port]` | a name or address, port 443 | TLS |
//! | `host[:port]`, `dns:host[:port]`, `dns:///host[:port]` | a name, port 443 | TLS unless plaintext is chosen |
//! | `ipv4:a:p,b:p`, `ipv6:[a]:p,[b]:p` | these addresses, port 443 | TLS unless plaintext is chosen |
//! | `unix:path`, `unix:///absolute` | a Unix socket | plaintext |
//!
//! Left out: `unix-abstract:`, `vsock:`, `xds:`, a name server of the
//! target's own (`dns://server/host`), service configuration from TXT records, and resolving again on a timer.

use core::fmt;
use std::io;

use clearway_transport::{Address, ConnectError, ConnectPhase};

/// Whether a connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    Plaintext,
    Tls,
    /// The target does not say; TLS is meant unless plaintext is chosen.
    Unsaid,
}

/// Where a target leads.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Route {
    Addresses(Vec<Address>),
    Name { host: String, port: u16 },
}

/// A server, as it was named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    text: String,
    route: Route,
    /// What goes into `:authority`.
    authority: String,
    security: Security,
}

/// Why a target cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, BadTarget> {
        let bad = |why: &str| BadTarget(format!("bad target {text:?}: {why}"));
        let parsed = if let Some(rest) = strip_scheme(text, "http://") {
            Self::uri(rest, HTTP, Security::Plaintext)
        } else if let Some(rest) = strip_scheme(text, "https://") {
            Self::uri(rest, HTTPS, Security::Tls)
        } else if let Some(rest) = strip_scheme(text, "unix:") {
            Self::unix(rest)
        } else if let Some(rest) = strip_scheme(text, "dns:") {
            Self::dns(rest)
        } else if let Some(rest) = strip_scheme(text, "ipv4:") {
            Self::addresses(rest, |address| matches!(address, Address::Tcp(socket) if socket.is_ipv4()))
        } else if let Some(rest) = strip_scheme(text, "ipv6:") {
            Self::addresses(rest, |address| matches!(address, Address::Tcp(socket) if socket.is_ipv6()))
        } else if let Some((scheme, _)) = text.split_once("://") {
            Err(format!("scheme {scheme:?} is not supported; want http, https, dns, unix, ipv4 or ipv6"))
        } else if text.starts_with("unix-abstract:") || text.starts_with("vsock:") || text.starts_with("xds:")
        {
            Err("this scheme is not supported; want http, https, dns, unix, ipv4 or ipv6".to_owned())
        } else {
            Self::name(text, HTTPS, Security::Unsaid)
        };
        parsed.map(|target| Self { text: text.to_owned(), ..target }).map_err(|why| bad(&why))
    }

    /// What stands in for a target when streams come from somewhere else.
    pub(crate) fn in_process() -> Self {
        let target = Self::of(Route::Addresses(Vec::new()), "localhost".to_owned(), Security::Plaintext);
        Self { text: "in-process server".to_owned(), ..target }
    }

    const fn of(route: Route, authority: String, security: Security) -> Self {
        Self { text: String::new(), route, authority, security }
    }

    fn uri(rest: &str, port: u16, security: Security) -> Result<Self, String> {
        let (authority, path) = rest.split_once(['/', '?', '#']).unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err("it has a path; the path of a call is its method's".to_owned());
        }
        if authority.contains('@') {
            return Err("it names a user; send credentials as metadata".to_owned());
        }
        Self::name(authority, port, security)
    }

    fn dns(rest: &str) -> Result<Self, String> {
        let name = match rest.strip_prefix("//") {
            None => rest,
            Some(rest) => match rest.split_once('/') {
                Some(("", name)) => name,
                Some(_) => {
                    return Err("a name server of its own is not supported; want dns:///host".to_owned());
                }
                None => return Err("want dns:///host".to_owned()),
            },
        };
        Self::name(name, HTTPS, Security::Unsaid)
    }

    fn unix(rest: &str) -> Result<Self, String> {
        let path = match rest.strip_prefix("//") {
            None => rest,
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err("want unix:path or unix:///absolute/path".to_owned()),
        };
        if path.is_empty() {
            return Err("it has no path".to_owned());
        }
        let route = Route::Addresses(vec![Address::Unix(path.into())]);
        Ok(Self::of(route, "localhost".to_owned(), Security::Plaintext))
    }

    fn addresses(rest: &str, of_family: fn(&Address) -> bool) -> Result<Self, String> {
        let mut addresses = Vec::new();
        for one in rest.split(',') {
            let address = address(one, HTTPS).filter(of_family);
            addresses.push(address.ok_or_else(|| format!("{one:?} is no address of this family"))?);
        }
        let authority = rest.split(',').next().unwrap_or_default().to_owned();
        Ok(Self::of(Route::Addresses(addresses), authority, Security::Unsaid))
    }

    fn name(text: &str, default_port: u16, security: Security) -> Result<Self, String> {
        let route = match address(text, default_port) {
            Some(Address::Host { host, port }) => Route::Name { host, port },
            Some(address) => Route::Addresses(vec![address]),
            None => {
                return Err(
                    "want host:port, [ipv6]:port or a name, with http:// before it for plaintext".to_owned()
                );
            }
        };
        if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("a host is ASCII; write other names in their xn-- form".to_owned());
        }
        Ok(Self::of(route, text.to_owned(), security))
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// True for a channel that has its stream from inside the program.
    pub(crate) fn is_in_process(&self) -> bool {
        self.route == Route::Addresses(Vec::new())
    }

    pub(crate) const fn security(&self) -> Security {
        self.security
    }

    /// The addresses to try, in order.
    pub(crate) async fn resolve(&self) -> Result<Vec<Address>, ConnectError> {
        match &self.route {
            Route::Addresses(addresses) => Ok(addresses.clone()),
            Route::Name { host, port } => {
                let fail = |source| ConnectError {
                    phase: ConnectPhase::Resolve,
                    address: Address::Host { host: host.clone(), port: *port },
                    source,
                };
                let found = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(fail)?;
                let mut addresses: Vec<_> = found.map(Address::Tcp).collect();
                addresses.dedup();
                if addresses.is_empty() {
                    return Err(fail(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
                }
                Ok(addresses)
            }
        }
    }
}

/// The rest of `text` after a scheme, which is not case-sensitive (RFC 3986 §3.1).
fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// `host`, `host:port`, `1.2.3.4`, `[::1]`, `[::1]:port`.
fn address(text: &str, default_port: u16) -> Option<Address> {
    if let Ok(socket) = text.parse() {
        return Some(Address::Tcp(socket));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<std::net::IpAddr>() {
        return Some(Address::Tcp((ip, default_port).into()));
    }
    match text.parse() {
        Ok(Address::Unix(_)) | Err(_) if !text.contains(':') => format!("{text}:{default_port}")
            .parse()
            .ok()
            .filter(|address| matches!(address, Address::Host { .. })),
        Ok(address @ Address::Host { .. }) => Some(address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> (String, String, Security) {
        let target = Target::parse(text).unwrap();
        let route = match &target.route {
            Route::Addresses(addresses) => {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            Route::Name { host, port } => format!("name {host} {port}"),
        };
        (route, target.authority().to_owned(), target.security())
    }

    #[test]
    fn every_form_of_target_is_read() {
        use Security::{Plaintext, Tls, Unsaid};
        for (text, expected, authority, security) in [
            ("http://127.0.0.1:50051", "127.0.0.1:50051", "127.0.0.1:50051", Plaintext),
            ("HTTP://localhost:1/", "name localhost 1", "localhost:1", Plaintext),
            ("http://a", "name a 80", "a", Plaintext),
            ("http://[::1]:5", "[::1]:5", "[::1]:5", Plaintext),
            ("http://[::1]", "[::1]:80", "[::1]", Plaintext),
            ("https://a.example", "name a.example 443", "a.example", Tls),
            ("a.example:50051", "name a.example 50051", "a.example:50051", Unsaid),
            ("a.example", "name a.example 443", "a.example", Unsaid),
            ("10.0.0.1", "10.0.0.1:443", "10.0.0.1", Unsaid),
            ("dns:///a:1", "name a 1", "a:1", Unsaid),
            ("dns:a", "name a 443", "a", Unsaid),
            ("unix:rel/a.sock", "unix:rel/a.sock", "localhost", Plaintext),
            ("unix:///run/a.sock", "unix:/run/a.sock", "localhost", Plaintext),
            ("unix:/run/a.sock", "unix:/run/a.sock", "localhost", Plaintext),
            ("ipv4:10.0.0.1:5,10.0.0.2", "10.0.0.1:5,10.0.0.2:443", "10.0.0.1:5", Unsaid),
            ("ipv6:[::1]:5,[::2]:6", "[::1]:5,[::2]:6", "[::1]:5", Unsaid),
        ] {
            assert_eq!(route(text), (expected.to_owned(), authority.to_owned(), security), "{text}");
        }
    }

    #[test]
    fn a_target_that_makes_no_sense_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "want host:port"),
            ("http://", "want host:port"),
            ("http://a/b", "path"),
            ("http://u@a", "user"),
            ("http://a:99999", "want host:port"),
            ("dns://8.8.8.8/a", "name server"),
            ("unix:", "no path"),
            ("unix://a/b", "absolute"),
            ("ipv4:[::1]:5", "family"),
            ("ipv4:a:5", "family"),
            ("ipv6:10.0.0.1:5", "family"),
            ("ftp://a", "not supported"),
            ("xds:///a", "not supported"),
            ("unix-abstract:a", "not supported"),
            ("b\u{fc}cher:1", "ASCII"),
        ] {
            let error = Target::parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(&format!("{text:?}")), "{text}: {error}");
        }
    }
}
