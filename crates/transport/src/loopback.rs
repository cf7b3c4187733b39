//! Congestion control of connections that never leave the machine.
//!
//! BBR paces what it sends (draft-ietf-ccwg-bbr §4.5): in Linux a kernel timer holds back what comes sooner than its estimate of the path
//! allows. On loopback there is no path to spare, and the timers, one for every 64 KiB or so, cost much: a third of a server's CPU
//! time for messages of 64 KiB in a busy virtual machine (13.9 microseconds a message against 9.3), up to half in a quiet one, where each
//! is a way out to the hypervisor and back. So where the system's choice is BBR, sockets of loopback addresses take Reno (RFC 5681), which every Linux has
//! and leaves to everybody, unless its administrator took it off the allowed ones (`tcp_allowed_congestion_control`): then BBR stays.
//!
//! Invariant: only sockets this crate makes are told, and before they connect or accept: a socket that paced once goes on. Sockets
//! made elsewhere ([`crate::Listener::from_std`]) keep what they were given.
//!
//! Left out: connections that stay on the machine under another address: to a listener on every address, which accepts them from afar,
//! too, or to an address of a network card; other systems than Linux.

use std::net::SocketAddr;

use socket2::SockRef;

/// Tells a socket that has no connection yet, and is bound or about to connect to `address`. That it can't be told harms nobody.
#[cfg(target_os = "linux")]
pub(crate) fn do_not_pace<'s>(socket: impl Into<SockRef<'s>>, address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        return;
    }
    let socket = socket.into();
    if socket.tcp_congestion().is_ok_and(|name| paces(&name)) {
        let _ = socket.set_tcp_congestion(b"reno");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn do_not_pace<'s>(_: impl Into<SockRef<'s>>, _: SocketAddr) {}

/// True for BBR's versions. The kernel pads the name with zeros.
#[cfg(target_os = "linux")]
fn paces(name: &[u8]) -> bool {
    name.starts_with(b"bbr")
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use core::time::Duration;

    use tokio::net::TcpSocket;

    use super::*;
    use crate::Listener;

    fn congestion<'s>(socket: impl Into<SockRef<'s>>) -> String {
        let name = socket.into().tcp_congestion().unwrap();
        String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
    }

    /// A socket that uses BBR whatever the system's choice is; none on systems without it, and where users may not have it.
    fn with_bbr() -> Option<TcpSocket> {
        let socket = TcpSocket::new_v4().unwrap();
        let told = SockRef::from(&socket).set_tcp_congestion(b"bbr");
        if told.is_err() {
            println!("skipped: there is no BBR here");
        }
        told.ok().map(|()| socket)
    }

    #[test]
    fn on_loopback_reno_takes_the_place_of_bbr() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let Some(socket) = with_bbr() else { return };
            do_not_pace(&socket, address.parse().unwrap());
            assert_eq!(congestion(&socket), "reno", "{address}");
        }
    }

    #[test]
    fn elsewhere_it_stays() {
        for address in ["192.0.2.1:1", "0.0.0.0:1", "[::]:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            let Some(socket) = with_bbr() else { return };
            do_not_pace(&socket, address.parse().unwrap());
            assert_eq!(congestion(&socket), "bbr", "{address}");
        }
    }

    #[test]
    fn what_does_not_pace_stays() {
        let socket = TcpSocket::new_v4().unwrap();
        if SockRef::from(&socket).set_tcp_congestion(b"cubic").is_err() {
            println!("skipped: there is no CUBIC here");
            return;
        }
        do_not_pace(&socket, "127.0.0.1:1".parse().unwrap());
        assert_eq!(congestion(&socket), "cubic");
        assert!(paces(b"bbr\0\0\0") && paces(b"bbr3\0") && !paces(b"cubic\0"));
    }

    /// The algorithms of both ends of a connection.
    async fn ends(listener: &Listener) -> [String; 2] {
        let address = listener.local_addr().unwrap().into();
        let (accepted, connected) =
            tokio::join!(listener.accept(), crate::connect(&address, Duration::from_secs(5)));
        [accepted.unwrap(), connected.unwrap()].map(|stream| congestion(stream.tcp().unwrap()))
    }

    /// Both ends, each way of listening.
    #[tokio::test]
    async fn every_connection_over_loopback_is_told() {
        let mut listeners = vec![Listener::bind_shared("127.0.0.1:0".parse().unwrap()).unwrap()];
        for address in ["127.0.0.1:0", "localhost:0", "[::1]:0"] {
            match Listener::bind(&address.parse().unwrap()).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => println!("skipped {address}: {error}"),
            }
        }
        assert!(listeners.len() > 1);
        for listener in &listeners {
            for name in ends(listener).await {
                assert!(!paces(name.as_bytes()), "{name}");
            }
        }
    }

    /// A listener that somebody else made accepts connections with what it was given.
    #[tokio::test]
    async fn a_listener_that_is_given_keeps_its_own() {
        let Some(socket) = with_bbr() else { return };
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let given = socket.listen(1).unwrap().into_std().unwrap();
        let [accepted, connected] = ends(&Listener::from_std(given).unwrap()).await;
        assert_eq!(accepted, "bbr");
        assert!(!paces(connected.as_bytes()), "{connected}");
    }
}
