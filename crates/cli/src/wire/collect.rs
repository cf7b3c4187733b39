//! From the events of a connection to entries that can be printed: frames with their meaning, in wire order.
//!
//! Fields join the section they belong to, pieces of DATA their frame. What a stream is about (its path, whether it
//! carries gRPC) is remembered until it closes. Nothing here knows of colours or columns.

use std::collections::HashMap;

use clearway_http2::frame::{self, Flags, FrameHeader, Kind, SettingId, Settings};
use clearway_http2::{Direction, ErrorCode, Instant, Reset};

use super::event::{Event, Field, Seen};
use super::message::{Assembler, Segment};

/// One thing on the wire, or the end of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    pub(crate) what: What,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The client's connection preface.
    Preface(Direction),
    /// A frame.
    Frame { direction: Direction, header: FrameHeader, content: Content },
    /// A stream is over.
    Closed { stream_id: u32, reset: Option<Reset> },
}

/// What a frame says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// HEADERS or CONTINUATION that ends a field section: all of the section is here.
    Section(Section),
    /// HEADERS or CONTINUATION with more of the block to come.
    Fragment,
    /// DATA of a gRPC call, cut into messages.
    Messages {
        path: String,
        segments: Vec<Segment>,
    },
    /// DATA of anything else: its first octets.
    Octets(Vec<u8>),
    Settings(Vec<(SettingId, u32)>),
    SettingsAck,
    Ping([u8; 8]),
    RstStream(ErrorCode),
    GoAway {
        last_stream_id: u32,
        code: ErrorCode,
        debug: Vec<u8>,
    },
    WindowUpdate(u32),
    /// A frame of a type this program has nothing to say about, or one it cannot read.
    Other(Vec<u8>),
}

/// A field section.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) fields: Vec<Field>,
    /// Octets of the field block, over all its frames.
    pub(crate) block_octets: usize,
}

impl Section {
    /// Octets of all names and values.
    pub(crate) fn raw_octets(&self) -> usize {
        self.fields.iter().map(|field| field.name.len().saturating_add(field.value.len())).sum()
    }

    /// True if it comes after the message: it has no pseudo-header fields (RFC 9113 §8.1).
    pub(crate) fn is_trailers(&self) -> bool {
        !self.fields.iter().any(|field| field.name.starts_with(b":"))
    }

    /// The value of the first field with this name.
    pub(crate) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value.as_slice())
    }
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Flow {
    is_grpc: bool,
    messages: Assembler,
}

/// What is remembered of a stream.
#[derive(Debug, Default)]
struct StreamView {
    path: String,
    sent: Flow,
    received: Flow,
}

impl StreamView {
    fn is_grpc(&self, direction: Direction) -> bool {
        match direction {
            Direction::Sent => self.sent.is_grpc,
            Direction::Received => self.received.is_grpc,
        }
    }

    fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

/// How much of a DATA frame that is not gRPC is kept.
const KEPT_OCTETS: usize = 1024;

/// Collects the entries of one connection.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    streams: HashMap<u32, StreamView>,
    entries: Vec<Entry>,
    /// Octets of the field blocks that are not complete, sent and received.
    open_sent: usize,
    open_received: usize,
}

impl Collector {
    /// Takes the next event.
    pub(crate) fn push(&mut self, seen: Seen) {
        let at = seen.at;
        match seen.event {
            Event::Preface { direction } => self.entries.push(Entry { at, what: What::Preface(direction) }),
            Event::Frame { direction, header, payload } => {
                let content = self.content(direction, header, &payload);
                self.entries.push(Entry { at, what: What::Frame { direction, header, content } });
            }
            Event::Field { direction, stream_id, field } => self.push_field(direction, stream_id, field),
            Event::Data { direction, stream_id, data } => self.push_data(direction, stream_id, &data),
            Event::Closed { stream_id, reset } => {
                self.streams.remove(&stream_id);
                self.entries.push(Entry { at, what: What::Closed { stream_id, reset } });
            }
        }
    }

    /// What has not been taken yet.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Takes everything collected so far.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        core::mem::take(&mut self.entries)
    }

    fn content(&mut self, direction: Direction, header: FrameHeader, payload: &[u8]) -> Content {
        if header.kind == Kind::DATA {
            return match self.streams.get_mut(&header.stream_id) {
                Some(view) if view.is_grpc(direction) => {
                    Content::Messages { path: view.path.clone(), segments: Vec::new() }
                }
                _ => Content::Octets(Vec::new()),
            };
        }
        match frame::Frame::decode(header, payload) {
            Ok(frame::Frame::Headers(frame)) => self.block(direction, header, frame.fragment.len()),
            Ok(frame::Frame::Continuation(frame)) => self.block(direction, header, frame.fragment.len()),
            Ok(frame::Frame::Settings(Settings::Ack)) => Content::SettingsAck,
            Ok(frame::Frame::Settings(Settings::Values(values))) => Content::Settings(values.collect()),
            Ok(frame::Frame::Ping(ping)) => Content::Ping(ping.payload),
            Ok(frame::Frame::RstStream(reset)) => Content::RstStream(reset.code),
            Ok(frame::Frame::WindowUpdate(update)) => Content::WindowUpdate(update.increment),
            Ok(frame::Frame::GoAway(goaway)) => Content::GoAway {
                last_stream_id: goaway.last_stream_id,
                code: goaway.code,
                debug: goaway.debug.to_vec(),
            },
            _ => Content::Other(payload.to_vec()),
        }
    }

    /// A part of a field block; its fields follow as events of their own once the block is complete.
    fn block(&mut self, direction: Direction, header: FrameHeader, octets: usize) -> Content {
        let open = match direction {
            Direction::Sent => &mut self.open_sent,
            Direction::Received => &mut self.open_received,
        };
        *open = open.saturating_add(octets);
        if header.flags.contains(Flags::END_HEADERS) {
            let block_octets = core::mem::take(open);
            Content::Section(Section { fields: Vec::new(), block_octets })
        } else {
            Content::Fragment
        }
    }

    fn push_field(&mut self, direction: Direction, stream_id: u32, field: Field) {
        match field.name.as_slice() {
            // Only a request makes a view, so that what comes late for a closed stream leaves nothing behind.
            b":path" => {
                self.streams.entry(stream_id).or_default().path =
                    String::from_utf8_lossy(&field.value).into_owned();
            }
            b"content-type" => {
                if let Some(view) = self.streams.get_mut(&stream_id) {
                    view.flow(direction).is_grpc = field.value.starts_with(b"application/grpc");
                }
            }
            _ => {}
        }
        if let Some(Content::Section(section)) = last_content(&mut self.entries, direction, stream_id) {
            section.fields.push(field);
        }
    }

    fn push_data(&mut self, direction: Direction, stream_id: u32, data: &[u8]) {
        match last_content(&mut self.entries, direction, stream_id) {
            Some(Content::Messages { segments, .. }) => {
                if let Some(view) = self.streams.get_mut(&stream_id) {
                    view.flow(direction).messages.push(data, segments);
                }
            }
            Some(Content::Octets(kept)) => {
                let room = KEPT_OCTETS.saturating_sub(kept.len());
                kept.extend(data.iter().take(room));
            }
            _ => {}
        }
    }
}

/// The latest field section or DATA of a stream in one direction: what fields and data that come next belong to.
fn last_content(entries: &mut [Entry], wanted: Direction, id: u32) -> Option<&mut Content> {
    entries.iter_mut().rev().find_map(|entry| {
        let What::Frame { direction, header, content } = &mut entry.what else { return None };
        let takes_more =
            matches!(content, Content::Section(_) | Content::Messages { .. } | Content::Octets(_));
        (*direction == wanted && header.stream_id == id && takes_more).then_some(content)
    })
}
