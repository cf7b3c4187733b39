//! Counts what goes over one connection, by standing between a load generator and a server.
//!
//! For once before a measurement, never during one.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use crate::Outcome;

/// Octets that went each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// From the client.
    pub(crate) up: u64,
    /// From the server.
    pub(crate) down: u64,
}

/// Runs `load` against a port that leads to the server on `port`, and says what went through its one connection.
pub(crate) fn count(port: u16, load: impl FnOnce(u16) -> Outcome<()>) -> Outcome<Counted> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::scope(|scope| {
        let relay = scope.spawn(move || relay_one(&listener, port));
        let outcome = load(address.port());
        // Should the load have failed before it connected, this is the connection that the relay waits for.
        drop(TcpStream::connect(address));
        let counted = relay.join().map_err(|_| "the relay panicked")?;
        outcome?;
        Ok(counted?)
    })
}

fn relay_one(listener: &TcpListener, port: u16) -> io::Result<Counted> {
    let (client, _) = listener.accept()?;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    std::thread::scope(|scope| {
        let up = scope.spawn(|| copy(&client, &server));
        let down = copy(&server, &client)?;
        let up = up.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Counted { up, down })
    })
}

/// Until `from` ends, which ends `to` in both directions: who is gone needs no answer.
fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<u64> {
    let mut scratch = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        // A load generator that is done may reset the connection instead of closing it.
        let read = from.read(&mut scratch).unwrap_or(0);
        let part = scratch.get(..read).unwrap_or_default();
        if part.is_empty() || to.write_all(part).is_err() {
            drop(to.shutdown(Shutdown::Both));
            return Ok(total);
        }
        total += u64::try_from(read).map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each octet with two, for one connection.
    fn doubling_server(listener: &TcpListener) -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut octet = [0];
        while stream.read(&mut octet)? > 0 {
            stream.write_all(&[octet[0], octet[0]])?;
        }
        Ok(())
    }

    #[test]
    fn both_directions_are_counted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || doubling_server(&listener));
        let counted = count(port, |relay| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, relay))?;
            stream.write_all(b"12345")?;
            let mut answer = [0; 10];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"1122334455");
            Ok(())
        });
        assert_eq!(counted.unwrap(), Counted { up: 5, down: 10 });
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_load_that_fails_is_reported_and_nothing_hangs() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = count(port, |_| Err("no load".into())).unwrap_err();
        assert_eq!(error.to_string(), "no load");
    }
}
