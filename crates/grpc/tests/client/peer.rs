//! A server played by hand over one half of an in-memory pipe, and what the tests share.

use std::future::ready;

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::transport::Endpoint;
use clearway::{Request, Response, Status, Streaming};
use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_http2::hpack::{Decoder, Encoder, FieldSection, HeaderField, Indexing, SectionLimits};
use clearway_http2::{ErrorCode, connection::PREFACE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) type Fields = Vec<(String, String)>;
pub(crate) const PATH: MethodPath = MethodPath::from_static("/test.Service/Method");
pub(crate) const OK_HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

/// Where the connections of an endpoint arrive.
pub(crate) struct Arrivals(mpsc::UnboundedReceiver<DuplexStream>);

/// An endpoint whose connections arrive in this test.
pub(crate) fn endpoint() -> (Endpoint, Arrivals) {
    let (tell, arrivals) = mpsc::unbounded_channel();
    let endpoint = Endpoint::from_static("http://test.example:50051").connector(move || {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let _ = tell.send(theirs);
        ready(Ok(ours))
    });
    (endpoint, Arrivals(arrivals))
}

/// A channel and the server it is connected to.
pub(crate) async fn connected() -> (Grpc, Peer) {
    connected_with(|endpoint| endpoint, &[]).await
}

/// The same, with knobs of the endpoint and settings of the server.
pub(crate) async fn connected_with(
    tune: impl FnOnce(Endpoint) -> Endpoint,
    settings: &[(u16, u32)],
) -> (Grpc, Peer) {
    let (endpoint, mut arrivals) = endpoint();
    let channel = tune(endpoint).connect_lazy();
    let waiting = channel.clone();
    // A call that is given up at once makes the channel connect.
    let nudge = call(&Grpc::new(waiting), b"nudge");
    let mut peer = arrivals.accept(settings).await;
    nudge.abort();
    let _ = nudge.await;
    peer.settle().await;
    (Grpc::new(channel), peer)
}

/// A unary call on a task of its own.
pub(crate) fn call(grpc: &Grpc, message: &'static [u8]) -> JoinHandle<Result<Response<Bytes>, Status>> {
    call_with(grpc, Request::new(Bytes::from_static(message)))
}

/// The same, with a request.
pub(crate) fn call_with(grpc: &Grpc, request: Request<Bytes>) -> JoinHandle<Result<Response<Bytes>, Status>> {
    let grpc = grpc.clone();
    tokio::spawn(async move { grpc.unary(request, PATH, BytesCodec).await })
}

/// A server-streaming call on a task of its own.
pub(crate) fn listen(grpc: &Grpc) -> JoinHandle<Result<Response<Streaming<Bytes>>, Status>> {
    let grpc = grpc.clone();
    tokio::spawn(async move { grpc.server_streaming(Request::new(Bytes::new()), PATH, BytesCodec).await })
}

/// A stream of messages that the test feeds; dropping the sender ends it.
pub(crate) struct Feed(pub(crate) mpsc::UnboundedReceiver<Bytes>);

pub(crate) fn feed() -> (mpsc::UnboundedSender<Bytes>, Feed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Feed(receiver))
}

impl clearway::codegen::Stream for Feed {
    type Item = Bytes;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

/// A bidirectional call on a task of its own.
pub(crate) fn chat(grpc: &Grpc, feed: Feed) -> JoinHandle<Result<Response<Streaming<Bytes>>, Status>> {
    let grpc = grpc.clone();
    tokio::spawn(async move { grpc.bidi_streaming(Request::new(feed), PATH, BytesCodec).await })
}

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut octets = vec![0];
    octets.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    octets.extend_from_slice(message);
    octets
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Headers {
        id: u32,
        fields: Fields,
        end: bool,
    },
    Data {
        id: u32,
        octets: Vec<u8>,
        end: bool,
    },
    Reset {
        id: u32,
        code: ErrorCode,
    },
    GoAway,
    Credit {
        id: u32,
        octets: u32,
    },
    /// The client closed the connection.
    Closed,
}

/// The server.
pub(crate) struct Peer {
    /// When each PING was read.
    pub(crate) pings: Vec<tokio::time::Instant>,
    io: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl Arrivals {
    /// The next connection, before a word was said.
    pub(crate) async fn raw(&mut self) -> DuplexStream {
        let patience = std::time::Duration::from_secs(24 * 3600);
        let next = tokio::time::timeout(patience, self.0.recv()).await;
        next.expect("nobody connects any more").expect("the endpoint is gone")
    }

    /// The next connection, after the handshake.
    pub(crate) async fn accept(&mut self, settings: &[(u16, u32)]) -> Peer {
        Peer::shake_hands(self.raw().await, settings).await
    }

    /// True if nobody is connecting.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

impl Peer {
    pub(crate) async fn shake_hands(mut io: DuplexStream, settings: &[(u16, u32)]) -> Self {
        let mut preface = [0; 24];
        io.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, PREFACE);
        let mut peer =
            Self { pings: Vec::new(), io, encoder: Encoder::new(4096), decoder: Decoder::new(4096) };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        peer.frame(Kind::SETTINGS, Flags::default(), 0, &payload).await;
        peer.frame(Kind::SETTINGS, Flags::ACK, 0, &[]).await;
        peer
    }

    async fn frame(&mut self, kind: Kind, flags: Flags, stream_id: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap();
        let mut octets = length.to_be_bytes()[1..].to_vec();
        octets.extend_from_slice(&[kind.0, flags.0]);
        octets.extend_from_slice(&stream_id.to_be_bytes());
        octets.extend_from_slice(payload);
        // A client that closed the connection meanwhile is seen when reading.
        let _ = self.io.write_all(&octets).await;
    }

    pub(crate) async fn headers(&mut self, id: u32, fields: &[(&str, &str)], end: bool) {
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        for (name, value) in fields {
            let field =
                HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Without };
            self.encoder.encode(field, &mut block);
        }
        let flags = if end { Flags::END_HEADERS | Flags::END_STREAM } else { Flags::END_HEADERS };
        self.frame(Kind::HEADERS, flags, id, &block).await;
    }

    pub(crate) async fn data(&mut self, id: u32, octets: &[u8], end: bool) {
        let flags = if end { Flags::END_STREAM } else { Flags::default() };
        self.frame(Kind::DATA, flags, id, octets).await;
    }

    pub(crate) async fn trailers(&mut self, id: u32, fields: &[(&str, &str)]) {
        self.headers(id, fields, true).await;
    }

    pub(crate) async fn reset(&mut self, id: u32, code: ErrorCode) {
        self.frame(Kind::RST_STREAM, Flags::default(), id, &code.0.to_be_bytes()).await;
    }

    pub(crate) async fn credit(&mut self, id: u32, octets: u32) {
        self.frame(Kind::WINDOW_UPDATE, Flags::default(), id, &octets.to_be_bytes()).await;
    }

    pub(crate) async fn goaway(&mut self, last: u32, code: ErrorCode, debug: &str) {
        let payload = [&last.to_be_bytes()[..], &code.0.to_be_bytes(), debug.as_bytes()].concat();
        self.frame(Kind::GOAWAY, Flags::default(), 0, &payload).await;
    }

    pub(crate) async fn limit_streams(&mut self, streams: u32) {
        let payload = [&3u16.to_be_bytes()[..], &streams.to_be_bytes()].concat();
        self.frame(Kind::SETTINGS, Flags::default(), 0, &payload).await;
    }

    /// A whole answer: head, one message, OK.
    pub(crate) async fn answer(&mut self, id: u32, message: &[u8]) {
        self.headers(id, &OK_HEAD, false).await;
        self.data(id, &framed(message), false).await;
        self.trailers(id, &[("grpc-status", "0")]).await;
    }

    /// The next frame that means something; acknowledgements are dropped.
    pub(crate) async fn next_with_credit(&mut self) -> Frame {
        loop {
            let mut head = [0; FrameHeader::OCTETS];
            // Virtual time: a frame that never comes fails the test at once.
            let patience = std::time::Duration::from_secs(24 * 3600);
            let read = tokio::time::timeout(patience, self.io.read_exact(&mut head)).await;
            if read.expect("no frame comes any more").is_err() {
                return Frame::Closed;
            }
            let header = FrameHeader::decode(head);
            let mut payload = vec![0; header.length as usize];
            if self.io.read_exact(&mut payload).await.is_err() {
                return Frame::Closed;
            }
            let (id, end) = (header.stream_id, header.flags.contains(Flags::END_STREAM));
            let number = |payload: &[u8]| u32::from_be_bytes(payload[..4].try_into().unwrap());
            match header.kind {
                Kind::HEADERS => {
                    assert!(header.flags.contains(Flags::END_HEADERS));
                    return Frame::Headers { id, fields: self.decode(&payload), end };
                }
                Kind::DATA => return Frame::Data { id, octets: payload, end },
                Kind::RST_STREAM => return Frame::Reset { id, code: ErrorCode(number(&payload)) },
                Kind::GOAWAY => return Frame::GoAway,
                Kind::WINDOW_UPDATE => return Frame::Credit { id, octets: number(&payload) },
                Kind::PING if !header.flags.contains(Flags::ACK) => {
                    self.pings.push(tokio::time::Instant::now());
                    self.frame(Kind::PING, Flags::ACK, 0, &payload).await;
                }
                _ => {}
            }
        }
    }

    /// The next frame but WINDOW_UPDATE.
    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            match self.next_with_credit().await {
                Frame::Credit { .. } => {}
                frame => return frame,
            }
        }
    }

    /// Reads until a PING has come, and answers it.
    pub(crate) async fn next_ping(&mut self) {
        let before = self.pings.len();
        while self.pings.len() == before {
            let wait = std::time::Duration::from_millis(10);
            if let Ok(frame) = tokio::time::timeout(wait, self.next()).await {
                panic!("want a PING, got {frame:?}");
            }
        }
    }

    fn decode(&mut self, block: &[u8]) -> Fields {
        let mut section = FieldSection::default();
        let limits = SectionLimits { list_octets: 1 << 20, fields: 1000 };
        self.decoder.decode(block, &limits, &mut section).unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        section.iter().map(|field| (text(field.name), text(field.value))).collect()
    }

    /// A whole request: its stream, its fields, its octets.
    #[track_caller]
    pub(crate) fn request(&mut self) -> impl Future<Output = (u32, Fields, Vec<u8>)> {
        let at = std::panic::Location::caller();
        async move {
            let (id, fields, mut end) = match self.next().await {
                Frame::Headers { id, fields, end } => (id, fields, end),
                other => panic!("want a request at {at}, got {other:?}"),
            };
            let mut body = Vec::new();
            while !end {
                match self.next().await {
                    Frame::Data { id: on, octets, end: ends } if on == id => {
                        body.extend_from_slice(&octets);
                        end = ends;
                    }
                    other => panic!("want the rest of request {id} at {at}, got {other:?}"),
                }
            }
            (id, fields, body)
        }
    }

    /// The head of a request whose body follows.
    #[track_caller]
    pub(crate) fn head(&mut self) -> impl Future<Output = (u32, Fields)> {
        let at = std::panic::Location::caller();
        async move {
            match self.next().await {
                Frame::Headers { id, fields, end: false } => (id, fields),
                other => panic!("want the head of a request at {at}, got {other:?}"),
            }
        }
    }

    /// Reads what the nudge of [`connected`] left behind: nothing, or a request and its cancellation.
    async fn settle(&mut self) {
        let nudge = std::time::Duration::from_millis(1);
        while tokio::time::timeout(nudge, self.next()).await.is_ok() {}
    }

    /// Nothing comes for a while (of virtual time).
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let wait = std::time::Duration::from_millis(50);
            if let Ok(frame) = tokio::time::timeout(wait, self.next()).await {
                panic!("want silence at {at}, got {frame:?}");
            }
        }
    }
}
