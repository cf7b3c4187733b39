//! Raw frames to a server in memory, for what no engine would send.

use std::net::SocketAddr;
use std::time::Duration;

use clearway::transport::{Router, Stream, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A frame's octets.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a call, which may end the request.
pub(crate) fn call(stream: u32, path: &str, end_stream: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in
        [(":path", path), (":authority", "t"), ("te", "trailers"), ("content-type", "application/grpc")]
    {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    frame(1, 4 | u8::from(end_stream), stream, &block)
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &[0, 0, 0, 8])
}

/// The client's end of a connection.
pub(crate) struct Wire(Stream);

impl Wire {
    /// A connection to `router` in memory, after the handshake.
    pub(crate) async fn to(router: Router) -> Self {
        let (ours, theirs) = pair();
        tokio::spawn(router.serve_connection(theirs));
        Self::over(ours).await
    }

    /// A connection to a listener.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        Self::over(Stream::Tcp(stream)).await
    }

    async fn over(stream: Stream) -> Self {
        let mut wire = Self(stream);
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(4, 1, 0, &[])];
        wire.send(&hello.concat()).await;
        wire
    }

    /// Writes; what is not taken any more is dropped.
    pub(crate) async fn send(&mut self, octets: &[u8]) {
        let _ = self.0.write_all(octets).await;
    }

    /// The next frame's type, flags, stream and payload; none at the end.
    pub(crate) async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload))
    }

    /// Reads to the end of the connection, which must come; the code and the text of the last GOAWAY.
    pub(crate) async fn goaway(mut self) -> (u32, String) {
        let mut last = None;
        let reading = async {
            while let Some((kind, _, _, payload)) = self.next().await {
                if kind == 7 {
                    let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                    last = Some((code, String::from_utf8(payload[8..].to_vec()).unwrap()));
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("the connection goes on");
        last.expect("no GOAWAY")
    }
}
