//! Words around the frames: titles, the line below each call, the table at the end, and how to go on.

use clearway::transport::Address;

use super::calls::About;
use super::services;
use crate::flags::Security;
use crate::wire::collect::{Entry, What};
use crate::wire::tally::{Tally, Traffic, saving};
use crate::wire::text::{Line, Role, grouped};

fn title(text: impl Into<String>) -> Line {
    Line::new().with(Role::Title, text)
}

fn quiet(text: impl Into<String>) -> Line {
    Line::indented(2).with(Role::Quiet, text)
}

/// What this is, and how to read it.
pub(crate) fn intro(address: &Address, security: Security) -> Vec<Line> {
    let (connection, note) = match security {
        Security::Plaintext => ("CONNECTION  HTTP/2 without TLS", None),
        Security::SelfSigned => (
            "CONNECTION  HTTP/2 over TLS",
            Some("The certificate was made for this run and signs itself; shown is what is inside of TLS."),
        ),
    };
    let mut lines = vec![
        title("clearway demo")
            .with(Role::Plain, ": a gRPC server and a client, one connection, every octet of it"),
        Line::new(),
        Line::indented(2).with(Role::Plain, format!("server   {address}  ({})", services::NAMES)),
        Line::indented(2)
            .with(Role::Plain, "client   in this process, over a real socket, as any other client"),
        Line::new(),
        quiet("->   from the client to the server        <-   from the server to the client"),
        quiet("n B  payload of a frame; each frame has 9 octets of header on top"),
        quiet("m -> n  a header field: octets of name and value -> octets on the wire"),
        Line::new(),
        title(connection),
    ];
    // Within 80 columns.
    lines.extend(note.into_iter().flat_map(|note| sentence(note, 80)));
    lines.push(quiet("Each side says what it accepts, and acknowledges what the other said."));
    lines.push(Line::new());
    lines
}

/// Above the frames of a call.
pub(crate) fn call_title(number: usize, about: &About, width: usize) -> Vec<Line> {
    let mut lines = vec![Line::new(), title(format!("CALL {number}  {}  {}", about.kind.name(), about.path))];
    lines.extend(sentence(about.remark, width));
    lines.push(Line::new());
    lines
}

/// Quiet text over as many lines as it takes.
fn sentence(text: &str, width: usize) -> Vec<Line> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() + 3 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(quiet).collect()
}

/// Below the frames of a call: how many, and how long it took.
pub(crate) fn call_end(entries: &[Entry], tally: &Tally) -> Line {
    let frame = |entry: &&Entry| matches!(entry.what, What::Frame { .. });
    let first = entries.iter().find(frame).map(|entry| entry.at);
    let last = entries.iter().rfind(frame).map(|entry| entry.at);
    let took = first.zip(last).map(|(first, last)| last - first).unwrap_or_default();
    let way = |traffic: &Traffic| {
        let plural = if traffic.frames == 1 { "" } else { "s" };
        format!("{} frame{plural}, {} B", traffic.frames, grouped(traffic.octets))
    };
    let (sent, received) = (way(&tally.sent), way(&tally.received));
    quiet(format!("sent {sent}; received {received}; {} us from first to last", grouped(took.as_micros())))
}

/// The table's columns before the numbers.
struct Columns {
    call: usize,
    /// Left out where there is no room.
    kind: usize,
}

/// Where the first column of the table starts.
const CALL: usize = 5;
/// Where each number ends, counted from where the words do: frames and octets each way, fields raw and on the wire, saving.
const NUMBERS: [usize; 7] = [4, 9, 17, 24, 32, 38, 45];

/// The service without its package, and the method.
fn short(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    let service = path.find('/').and_then(|end| path.get(..end)?.rfind('.'));
    service.and_then(|dot| path.get(dot + 1..)).unwrap_or(path)
}

/// Text without what does not fit.
fn cut(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        Some(_) => text.chars().take(columns.saturating_sub(2)).chain("..".chars()).collect(),
        None => text.to_owned(),
    }
}

impl Columns {
    fn new(calls: &[(About, Tally)], width: usize) -> Self {
        let widest =
            |text: fn(&About) -> usize| calls.iter().map(|(about, _)| text(about)).max().unwrap_or_default();
        let call = widest(|about| short(about.path).len()).max(16) + 2;
        let kind = widest(|about| about.kind.name().len()) + 1;
        let room = width.saturating_sub(CALL + NUMBERS.last().copied().unwrap_or_default());
        if call + kind <= room { Self { call, kind } } else { Self { call: call.min(room), kind: 0 } }
    }

    fn words(&self, number: &str, call: &str, kind: &str) -> Line {
        let call = cut(call, self.call.saturating_sub(1));
        let line = Line::indented(2).with(Role::Plain, number).up_to(CALL).with(Role::Plain, call);
        if self.kind == 0 { line } else { line.up_to(CALL + self.call).with(Role::Quiet, kind) }
    }

    fn row(&self, line: Line, numbers: [String; 7], role: Role) -> Line {
        let start = CALL + self.call + self.kind;
        let columns = NUMBERS.iter().zip(numbers).enumerate();
        columns.fold(line, |line, (at, (end, number))| {
            line.ending_at(start + end, if at >= 5 { role } else { Role::Plain }, number)
        })
    }

    /// A row of what was counted.
    fn counted(&self, line: Line, tally: &Tally) -> Line {
        let (sent, received) = (&tally.sent, &tally.received);
        let raw = sent.fields_raw + received.fields_raw;
        let wire = sent.fields_wire + received.fields_wire;
        let saved = saving(raw, wire).map_or(String::new(), |saving| saving.replace(" saved", ""));
        let counts = [sent.frames, received.frames, sent.octets, received.octets, raw, wire];
        let [a, b, c, d, e, f] = counts.map(grouped);
        self.row(line, [a, b, c, d, e, f, saved], Role::Good)
    }
}

/// The calls side by side, and what they amount to.
pub(crate) fn summary(
    setup: &Tally,
    calls: &[(About, Tally)],
    connections: usize,
    width: usize,
) -> Vec<Line> {
    let columns = Columns::new(calls, width);
    let mut total = *setup;
    let connections =
        if connections == 1 { "one connection".to_owned() } else { format!("{connections} connections") };
    let heads = ["->", "<-", "->", "<-", "raw", "wire", "saved"].map(str::to_owned);
    let groups = ["", "frames", "", "octets", "", "fields", ""].map(str::to_owned);
    let mut lines = vec![
        Line::new(),
        title(format!("SUMMARY  {} calls of all four kinds over {connections}", calls.len())),
        Line::new(),
        columns.row(columns.words("", "", ""), groups, Role::Plain),
        columns.row(columns.words("#", "call", "kind"), heads, Role::Plain),
        columns.counted(columns.words("", "connection setup", ""), setup),
    ];
    for (number, (about, tally)) in (1..).zip(calls) {
        total.add(tally);
        let words = columns.words(&format!("{number}"), short(about.path), about.kind.name());
        lines.push(columns.counted(words, tally));
    }
    lines.push(columns.counted(columns.words("", "total", ""), &total));
    lines.extend(repetition(calls));
    lines
}

/// What became of the fields of the first call when it was made again.
fn repetition(calls: &[(About, Tally)]) -> Vec<Line> {
    let Some(((first, before), others)) = calls.split_first() else { return Vec::new() };
    let again = others.iter().enumerate().find(|(_, (about, _))| about.path == first.path);
    let Some((at, (_, after))) = again else { return Vec::new() };
    let (before, after) = (before.sent, after.sent);
    let line = Line::indented(2)
        .with(Role::Plain, format!("Request fields, {} octets: ", grouped(before.fields_raw)))
        .with(Role::Wire, grouped(before.fields_wire))
        .with(Role::Plain, " sent in call 1, ")
        .with(Role::Good, grouped(after.fields_wire))
        .with(Role::Plain, format!(" in call {}", at + 2));
    vec![Line::new(), line]
}

/// How to go on while the server runs.
pub(crate) fn serving(address: &Address, security: Security) -> Vec<Line> {
    let trust = match security {
        Security::Plaintext => "-plaintext",
        Security::SelfSigned => "-insecure",
    };
    let target = match address {
        Address::Unix(path) => format!("unix://{}", path.display()),
        _ => address.to_string(),
    };
    let call = |proto: &str, data: &str, method: &str| {
        let command = format!("grpcurl {trust} -import-path proto -proto {proto} \\");
        let rest = format!("-d '{data}' {target} {method}");
        [Line::indented(4).with(Role::Message, command), Line::indented(8).with(Role::Message, rest)]
    };
    let head = [
        Line::new(),
        title(format!("SERVING on {address} until Ctrl-C")),
        quiet("Call it with any gRPC client. From the root of the repository, for example:"),
        Line::new(),
    ];
    let hello = call("helloworld.proto", "{\"name\": \"you\"}", "hello.Greeter/SayHello");
    let echo = call("demo/echo.proto", "{\"text\": \"one two three\"}", "demo.Echo/ServerStream");
    head.into_iter().chain(hello).chain(echo).chain([Line::new()]).collect()
}

#[cfg(test)]
mod tests {
    use clearway::Code;

    use super::*;
    use crate::demo::calls::Kind;
    use crate::wire::paint::Paint;

    fn text(lines: &[Line]) -> String {
        let mut out = Vec::new();
        Paint::new(false, 100).write(lines, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn calls() -> Vec<(About, Tally)> {
        let traffic =
            |frames, octets, fields_raw, fields_wire| Traffic { frames, octets, fields_raw, fields_wire };
        let about = About { kind: Kind::Unary, path: "/a.b.Service/Method", remark: "", ends: Code::Ok };
        let first = Tally { sent: traffic(2, 1_216, 187, 121), received: traffic(3, 110, 80, 60) };
        let second = Tally { sent: traffic(2, 40, 187, 9), received: traffic(3, 50, 80, 5) };
        vec![(about, first), (about, second)]
    }

    #[test]
    fn the_table_adds_up() {
        let setup =
            Tally { sent: Traffic { frames: 3, octets: 85, ..Traffic::default() }, ..Tally::default() };
        let expected = "
SUMMARY  2 calls of all four kinds over one connection

                                  frames       octets         fields
  #  call              kind    ->   <-      ->     <-     raw  wire  saved
     connection setup           3    0      85      0       0     0
  1  Service/Method    unary    2    3   1,216    110     267   181   32 %
  2  Service/Method    unary    2    3      40     50     267    14   95 %
     total                      7    6   1,341    160     534   195   63 %

  Request fields, 187 octets: 121 sent in call 1, 9 in call 2
";
        assert_eq!(text(&summary(&setup, &calls(), 1, 100)), expected);
        assert!(text(&summary(&setup, &calls(), 2, 100)).contains("over 2 connections"));
    }

    #[test]
    fn a_narrow_table_has_fewer_words() {
        for width in [64, 80, 100] {
            let lines = summary(&Tally::default(), &calls(), 1, width);
            assert!(lines.iter().all(|line| line.width() <= width), "{}", text(&lines));
        }
    }
}
