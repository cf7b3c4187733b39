//! A connection played frame by frame over a loopback socket: what is written is raw, what comes back is read by a thread of
//! its own, unless the attack is not to read.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clearway_http2::ErrorCode;
use clearway_http2::hpack::{Decoder, FieldSection, SectionLimits};

/// Frame types (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW: u16 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A victim that takes nothing for so long has stopped reading.
const STOPPED_READING: Duration = Duration::from_secs(2);

/// A frame's octets.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut octets = Vec::with_capacity(payload.len().saturating_add(9));
    octets.extend(length.iter().skip(1));
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()))
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: ErrorCode) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

/// A length of HPACK's with a prefix of 7 bits (RFC 7541 §5.1).
fn length(octets: usize, out: &mut Vec<u8>) {
    let mut rest = octets;
    if rest < 127 {
        out.push(u8::try_from(rest).unwrap_or(127));
        return;
    }
    out.push(127);
    rest = rest.saturating_sub(127);
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}

/// A literal field that touches no table.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    length(name.len(), &mut out);
    out.extend(name);
    length(value.len(), &mut out);
    out.extend(value);
    out
}

/// A literal field that goes into the table.
pub(crate) fn indexed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = field(name, value);
    if let Some(first) = out.first_mut() {
        *first = 0x40;
    }
    out
}

/// The header section of a gRPC call.
pub(crate) fn call(path: &str) -> Vec<u8> {
    [
        vec![0x83, 0x86],
        field(b":path", path.as_bytes()),
        field(b":authority", b"victim"),
        field(b"te", b"trailers"),
        field(b"content-type", b"application/grpc"),
    ]
    .concat()
}

/// HEADERS that end here.
pub(crate) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block)
}

/// A gRPC message with its prefix.
pub(crate) fn message(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), octets].concat()
}

/// A frame that came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// Of HEADERS.
    pub(crate) fields: Vec<(String, String)>,
}

impl Frame {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// The error code at this place of the payload.
    fn code_at(&self, at: usize) -> Option<ErrorCode> {
        let octets = self.payload.get(at..at.saturating_add(4))?;
        Some(ErrorCode(u32::from_be_bytes(octets.try_into().ok()?)))
    }
}

/// How a connection was ended by the victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// GOAWAY with a code and a debug text.
    GoAway(ErrorCode, String),
    /// Closed without a word, as far as we read.
    Closed,
    /// It goes on.
    Open,
}

/// One connection.
pub(crate) struct Conn {
    stream: TcpStream,
    frames: Option<Receiver<Frame>>,
    pub(crate) local: SocketAddr,
    /// Frames and octets that the socket took.
    pub(crate) sent_frames: u64,
    pub(crate) sent_octets: u64,
    /// The victim does not take more, or the connection is gone.
    pub(crate) stuck: bool,
}

impl Conn {
    /// Connects; `receive_buffer` makes our side's buffer small, and then nothing is read until [`Conn::read_on`].
    pub(crate) fn open(port: u16, receive_buffer: Option<u32>) -> Result<Self, String> {
        let connected =
            tokio::runtime::Builder::new_current_thread().enable_io().build().and_then(|runtime| {
                runtime.block_on(async {
                    let socket = tokio::net::TcpSocket::new_v4()?;
                    if let Some(octets) = receive_buffer {
                        socket.set_recv_buffer_size(octets)?;
                    }
                    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?.into_std()
                })
            });
        let stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
        Self::over(stream, receive_buffer.is_none()).map_err(|error| error.to_string())
    }

    pub(crate) fn over(stream: TcpStream, reads: bool) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(STOPPED_READING))?;
        let local = stream.local_addr()?;
        let mut conn = Self { stream, frames: None, local, sent_frames: 0, sent_octets: 0, stuck: false };
        if reads {
            conn.read_on()?;
        }
        Ok(conn)
    }

    /// Reads from here on.
    pub(crate) fn read_on(&mut self) -> io::Result<()> {
        let stream = self.stream.try_clone()?;
        let (tell, frames) = mpsc::channel();
        thread::spawn(move || read_frames(stream, &tell));
        self.frames = Some(frames);
        Ok(())
    }

    /// Preface, SETTINGS, and the acknowledgement of the victim's.
    pub(crate) fn start(&mut self, values: &[(u16, u32)]) -> Result<(), String> {
        let hello = [PREFACE.to_vec(), settings(values), frame(SETTINGS, ACK, 0, &[])].concat();
        self.send(&hello, 2);
        if self.stuck { Err("the handshake was not taken".into()) } else { Ok(()) }
    }

    /// Writes; false once nothing more is taken.
    pub(crate) fn send(&mut self, octets: &[u8], frames: u64) -> bool {
        if self.stuck {
            return false;
        }
        let mut rest = octets;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(taken) if taken > 0 => {
                    rest = rest.get(taken..).unwrap_or_default();
                    self.sent_octets = self.sent_octets.saturating_add(taken as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    self.stuck = true;
                    return false;
                }
            }
        }
        self.sent_frames = self.sent_frames.saturating_add(frames);
        true
    }

    /// Sends frames made by number, some 16 KiB at a time, until so many were sent or nothing more is taken.
    pub(crate) fn flood(&mut self, count: u32, mut make: impl FnMut(u32) -> Vec<u8>) {
        let mut batch = Vec::new();
        let mut frames = 0u64;
        for n in 0..count {
            batch.extend(make(n));
            frames = frames.saturating_add(1);
            if batch.len() >= 16 * 1024 || n.saturating_add(1) == count {
                if !self.send(&batch, frames) {
                    return;
                }
                batch.clear();
                frames = 0;
            }
        }
    }

    /// The next frame, if one comes in time.
    pub(crate) fn next(&self, limit: Duration) -> Option<Frame> {
        self.frames.as_ref()?.recv_timeout(limit).ok()
    }

    /// The first frame of this kind (on this stream, if it is not 0) that comes in time.
    pub(crate) fn find(&self, kind: u8, stream: u32, limit: Duration) -> Option<Frame> {
        let until = Instant::now() + limit;
        loop {
            let frame = self.next(until.saturating_duration_since(Instant::now()))?;
            if frame.kind == kind && (stream == 0 || frame.stream == stream) {
                return Some(frame);
            }
        }
    }

    /// How the victim ends the connection within `limit`.
    pub(crate) fn ending(&self, limit: Duration) -> Ending {
        let until = Instant::now() + limit;
        let Some(frames) = &self.frames else { return Ending::Open };
        loop {
            match frames.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(frame) if frame.kind == GOAWAY => {
                    let text =
                        String::from_utf8_lossy(frame.payload.get(8..).unwrap_or_default()).into_owned();
                    return Ending::GoAway(frame.code_at(4).unwrap_or(ErrorCode::NO_ERROR), text);
                }
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => return Ending::Open,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ending::Closed,
            }
        }
    }

    /// The victim must go away with this code, and its text must hold `text`.
    pub(crate) fn expect_goaway(&self, code: ErrorCode, text: &str) -> Result<String, String> {
        match self.ending(Duration::from_secs(5)) {
            Ending::GoAway(found, debug) if found == code && debug.contains(text) => {
                Ok(format!("GOAWAY {found}: {debug}"))
            }
            other => Err(format!("want GOAWAY {code} ({text}), got {other:?}")),
        }
    }

    /// The victim must reset this stream with this code, and the connection must go on.
    pub(crate) fn expect_reset(&mut self, stream: u32, code: ErrorCode) -> Result<String, String> {
        let frame = self.find(RST_STREAM, stream, Duration::from_secs(5));
        let found = frame.as_ref().and_then(|frame| frame.code_at(0));
        if found != Some(code) {
            return Err(format!("want RST_STREAM {code} on {stream}, got {frame:?}"));
        }
        self.expect_alive()?;
        Ok(format!("RST_STREAM {code}"))
    }

    /// The head of an answer on this stream.
    pub(crate) fn expect_answer(&self, stream: u32) -> Result<Frame, String> {
        self.find(HEADERS, stream, Duration::from_secs(5)).ok_or(format!("no answer on stream {stream}"))
    }

    /// The connection must answer. It is asked by SETTINGS, as PINGs are counted; twice, as the acknowledgement of the handshake's may
    /// still be on its way.
    pub(crate) fn expect_alive(&mut self) -> Result<(), String> {
        self.send(&settings(&[]).repeat(2), 0);
        let mut answers = 0;
        let limit = Instant::now() + Duration::from_secs(5);
        loop {
            match self.next(limit.saturating_duration_since(Instant::now())) {
                Some(frame) if frame.kind == SETTINGS && frame.flags == ACK => {
                    answers += 1;
                    if answers == 2 {
                        return Ok(());
                    }
                }
                Some(frame) if frame.kind == GOAWAY => {
                    return Err(format!("GOAWAY: {}", String::from_utf8_lossy(&frame.payload)));
                }
                Some(_) => {}
                None => return Err("the connection does not answer SETTINGS".into()),
            }
        }
    }

    /// Shuts the socket.
    pub(crate) fn close(&self) {
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads frames until the end of the stream.
fn read_frames(mut stream: TcpStream, tell: &Sender<Frame>) {
    let mut decoder = Decoder::new(4096);
    let mut head = [0; 9];
    // An error is the end, too.
    while stream.read_exact(&mut head).is_ok() {
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if stream.read_exact(&mut payload).is_err() {
            return;
        }
        let fields = if kind == HEADERS { decode(&mut decoder, &payload) } else { Vec::new() };
        let frame = Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload, fields };
        if tell.send(frame).is_err() {
            return;
        }
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let mut section = FieldSection::default();
    let limits = SectionLimits { list_octets: 1 << 20, fields: 1 << 12 };
    if decoder.decode(block, &limits, &mut section).is_err() {
        return Vec::new();
    }
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    section.iter().map(|field| (text(field.name), text(field.value))).collect()
}
