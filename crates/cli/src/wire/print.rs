//! Entries to lines. One frame is one line, with what it says below it.
//!
//! ```text
//!   -> HEADERS        stream 1    END_HEADERS                                 46 B
//!        :method: POST                                              11 ->      1
//! ```
//!
//! Lengths of frames, as well as what fields took on the wire, end at the same column, so that a section can be added up.

use clearway_http2::frame::{FrameHeader, SettingId};
use clearway_http2::{Direction, ErrorCode, Reset};

use super::collect::{Content, Entry, Section, What};
use super::event::Field;
use super::message::{Prefix, Segment};
use super::tally::{PREFACE_OCTETS, saving};
use super::text::{Line, Role, elided, grouped, hex_dump, printable, wrapped};

/// Turns a message into text: the call's path, the way it went, its octets. None if it does not know.
pub(crate) type Describe = dyn Fn(&str, Direction, &[u8]) -> Option<String>;

/// Where what a frame says begins.
const INDENT: usize = 7;
/// Where the stream is named.
const STREAM: usize = 20;
/// Where the flags are.
const FLAGS: usize = 32;
/// The last column, where there is room.
const WIDEST: usize = 88;
/// Columns of `raw -> wire`, and of the blank before it.
const SIZES: usize = 18;

/// Prints entries.
pub(crate) struct Printer<'a> {
    /// Where numbers end.
    edge: usize,
    describe: &'a Describe,
}

impl<'a> Printer<'a> {
    /// For an output of so many columns.
    pub(crate) fn new(width: usize, describe: &'a Describe) -> Self {
        Self { edge: width.min(WIDEST), describe }
    }

    /// All lines of all entries.
    pub(crate) fn lines(&self, entries: &[Entry]) -> Vec<Line> {
        entries.iter().flat_map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, entry: &Entry) -> Vec<Line> {
        match &entry.what {
            What::Preface(direction) => {
                let line = start(*direction, "PREFACE")
                    .with(Role::Quiet, "\"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\"");
                vec![line.ending_at(self.edge, Role::Wire, format!("{PREFACE_OCTETS} B"))]
            }
            What::Frame { direction, header, content } => {
                let mut lines = vec![self.frame(*direction, *header)];
                self.content(*direction, *header, content, &mut lines);
                lines
            }
            What::Closed { stream_id, reset } => {
                reset.iter().map(|reset| closed(*stream_id, reset)).collect()
            }
        }
    }

    fn frame(&self, direction: Direction, header: FrameHeader) -> Line {
        let name = header.kind.to_string();
        let stream = if header.stream_id == 0 {
            "connection".to_owned()
        } else {
            format!("stream {}", header.stream_id)
        };
        let flags = header.flag_names();
        let mut line = start(direction, &name).with(Role::Plain, stream);
        if flags != "-" {
            line = line.up_to(FLAGS).with(Role::Plain, flags);
        }
        line.ending_at(self.edge, Role::Wire, format!("{} B", grouped(header.length)))
    }

    fn content(&self, direction: Direction, header: FrameHeader, content: &Content, lines: &mut Vec<Line>) {
        let say = |text: String| Line::indented(INDENT).with(Role::Plain, text);
        match content {
            Content::Section(section) => self.section(section, lines),
            Content::Fragment => lines.push(say("the field section goes on in the next frame".to_owned())),
            Content::Messages { path, segments } => {
                for segment in segments {
                    self.segment(path, direction, segment, lines);
                }
                if segments.is_empty() {
                    lines.push(say("no octets: only the end of the stream".to_owned()));
                }
            }
            Content::Octets(octets) => lines.push(say(hex_dump(octets, self.room()))),
            Content::Settings(values) => {
                lines.extend(values.iter().map(|(id, value)| self.setting(*id, *value)));
            }
            Content::SettingsAck => lines.push(say("the other side's SETTINGS are in force".to_owned())),
            Content::Ping(payload) => lines.push(say(hex_dump(payload, self.room()))),
            Content::RstStream(code) => lines.push(say(code_text(*code))),
            Content::WindowUpdate(increment) => {
                let whose = if header.stream_id == 0 { "on all streams together" } else { "on this stream" };
                lines.push(say(format!("+{} octets of DATA allowed {whose}", grouped(*increment))));
            }
            Content::GoAway { last_stream_id, code, debug } => {
                let debug =
                    if debug.is_empty() { String::new() } else { format!(", \"{}\"", printable(debug)) };
                let text = format!("{}, last stream {last_stream_id}{debug}", code_text(*code));
                lines.push(say(elided(&text, self.room(), &format!("{} B", text.len()))));
            }
            Content::Other(payload) => lines.push(say(hex_dump(payload, self.room()))),
        }
    }

    fn setting(&self, id: SettingId, value: u32) -> Line {
        let line = Line::indented(INDENT)
            .with(Role::Name, id.to_string())
            .with(Role::Plain, format!(" = {}", grouped(value)))
            .up_to(INDENT + 33);
        let meaning = meaning(id, value);
        if line.width() + meaning.len() > self.edge { line } else { line.with(Role::Quiet, meaning) }
    }

    /// Columns for what a frame says.
    fn room(&self) -> usize {
        self.edge.saturating_sub(INDENT)
    }

    fn section(&self, section: &Section, lines: &mut Vec<Line>) {
        lines.extend(section.fields.iter().map(|field| self.field(field)));
        let (raw, wire) = (section.raw_octets(), section.block_octets);
        let of_fields: usize = section.fields.iter().map(|field| field.wire_octets as usize).sum();
        // The encoder may start a block with a change of its table's size (RFC 7541 §6.3).
        if let Some(update) = wire.checked_sub(of_fields).filter(|octets| *octets > 0) {
            let line = Line::indented(INDENT).with(Role::Quiet, "(HPACK table size update)");
            lines.push(line.ending_at(self.edge.saturating_sub(2), Role::Wire, grouped(update)));
        }
        let name = if section.is_trailers() { "trailers" } else { "headers" };
        let line = Line::indented(INDENT).with(Role::Plain, format!("{name}: {} B raw -> ", grouped(raw)));
        let line = line.with(Role::Wire, format!("{} B on the wire", grouped(wire)));
        let line = match saving(raw, wire) {
            Some(saving) => line.with(Role::Good, format!(" ({saving})")),
            None => line,
        };
        let trailers_only = !section.is_trailers() && section.value(b"grpc-status").is_some();
        lines.push(if trailers_only { line.with(Role::Quiet, ", Trailers-Only") } else { line });
    }

    fn field(&self, field: &Field) -> Line {
        let name = printable(&field.name);
        let value = printable(&field.value);
        let note = note(field);
        let taken =
            INDENT + name.chars().count() + 2 + note.as_ref().map_or(0, |(_, note)| note.chars().count());
        let room = self.edge.saturating_sub(SIZES + taken).max(16);
        let value = elided(&value, room, &format!("{} B", grouped(field.value.len())));
        let mut line = Line::indented(INDENT).with(Role::Name, name).with(Role::Plain, format!(": {value}"));
        if let Some((role, note)) = note {
            line = line.with(role, note);
        }
        let raw = field.name.len() + field.value.len();
        line.ending_at(self.edge.saturating_sub(8), Role::Quiet, format!("{} ->", grouped(raw))).ending_at(
            self.edge.saturating_sub(2),
            Role::Wire,
            grouped(field.wire_octets),
        )
    }

    fn segment(&self, path: &str, direction: Direction, segment: &Segment, lines: &mut Vec<Line>) {
        if segment.shows_prefix {
            lines.push(prefix_line(segment.prefix));
        }
        let number = segment.number;
        let Some(body) = &segment.body else {
            if let Some(prefix) = segment.prefix {
                let (here, so_far, of) =
                    (grouped(segment.here), grouped(segment.so_far), grouped(prefix.length));
                let text = format!("message {number}: {here} octets here, {so_far} of {of} so far");
                lines.push(Line::indented(INDENT).with(Role::Quiet, text));
            }
            return;
        };
        let whole =
            segment.prefix.is_some_and(|prefix| prefix.flag == 0 && prefix.length as usize == body.len());
        let text = if whole { (self.describe)(path, direction, body) } else { None };
        let label = format!("message {number}: ");
        let hanging = INDENT + label.len();
        if let Some(text) = text {
            for (at, part) in wrapped(&text, self.edge.saturating_sub(hanging)).into_iter().enumerate() {
                let line = Line::indented(INDENT);
                let line = if at == 0 { line.with(Role::Plain, label.clone()) } else { line.up_to(hanging) };
                let room = self.edge.saturating_sub(hanging);
                let part = elided(&part, room, &format!("{} characters", grouped(part.chars().count())));
                lines.push(line.with(Role::Message, part));
            }
        } else {
            let text = format!("{label}{} octets", grouped(segment.so_far));
            lines.push(Line::indented(INDENT).with(Role::Plain, text));
        }
        if !body.is_empty() {
            lines.push(
                Line::indented(hanging).with(Role::Quiet, hex_dump(body, self.edge.saturating_sub(hanging))),
            );
        }
    }
}

/// Direction and frame type, up to where the stream is named.
fn start(direction: Direction, name: &str) -> Line {
    let (role, arrow) = match direction {
        Direction::Sent => (Role::Sent, "->"),
        Direction::Received => (Role::Received, "<-"),
    };
    Line::indented(2).with(role, format!("{arrow} {name}")).up_to(STREAM)
}

/// What a field's value means, where a number hides it.
fn note(field: &Field) -> Option<(Role, String)> {
    if field.name == b"grpc-status" {
        let code = clearway::Code::from_bytes(&field.value);
        let role = if code == clearway::Code::Ok { Role::Good } else { Role::Bad };
        return Some((role, format!(" ({})", code.name())));
    }
    field.sensitive.then(|| (Role::Quiet, " (never indexed)".to_owned()))
}

fn prefix_line(prefix: Option<Prefix>) -> Line {
    let line = Line::indented(INDENT);
    let Some(prefix) = prefix else {
        return line.with(Role::Quiet, "prefix: goes on in the next frame");
    };
    let [l0, l1, l2, l3] = prefix.length.to_be_bytes();
    let octets = format!("prefix {:02x} {l0:02x} {l1:02x} {l2:02x} {l3:02x}: ", prefix.flag);
    let compressed = match prefix.flag {
        0 => "not compressed",
        1 => "compressed",
        _ => "bad compressed-flag",
    };
    line.with(Role::Quiet, format!("{octets}{compressed}, {} octets", grouped(prefix.length)))
}

/// A setting in the words of the side that sends it.
fn meaning(id: SettingId, value: u32) -> &'static str {
    match id {
        SettingId::HEADER_TABLE_SIZE => "octets of HPACK table you may use",
        SettingId::ENABLE_PUSH if value == 0 => "push me nothing",
        SettingId::MAX_CONCURRENT_STREAMS => "streams you may have open at once",
        SettingId::INITIAL_WINDOW_SIZE => "octets of DATA you may send on a stream",
        SettingId::MAX_FRAME_SIZE => "octets of payload in a frame I read",
        SettingId::MAX_HEADER_LIST_SIZE => "octets of a header section I accept",
        _ => "",
    }
}

fn code_text(code: ErrorCode) -> String {
    match code.name() {
        Some(name) => format!("{name} ({:#x})", code.0),
        None => format!("unknown code {:#x}", code.0),
    }
}

/// The end of a stream that was not the usual one.
fn closed(stream_id: u32, reset: &Reset) -> Line {
    let by = match reset.by {
        clearway_http2::By::Us => "this side, because the other broke a rule",
        clearway_http2::By::Peer => "the other side",
        clearway_http2::By::Application => "the program",
    };
    let why = reset.violation.map_or(String::new(), |violation| format!(": {violation}"));
    let text = format!("stream {stream_id} was reset by {by}{why}, {}", code_text(reset.code));
    Line::indented(2).with(Role::Bad, text)
}
