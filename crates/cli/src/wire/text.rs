//! Lines of text whose parts know what they are, and the small arts of fitting octets into them.
//!
//! A [`Line`] has roles, not colours; [`super::paint`] turns roles into colours, or into nothing.

/// What a part of a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Plain,
    /// What starts a section.
    Title,
    /// Something a frame sent does.
    Sent,
    /// Something a frame received does.
    Received,
    /// A field's or a setting's name.
    Name,
    /// What the wire carried, next to what it stands for.
    Wire,
    /// A message of the application.
    Message,
    /// Said beside the point.
    Quiet,
    Good,
    Bad,
}

/// One line of output.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Line {
    spans: Vec<(Role, String)>,
    width: usize,
}

impl Line {
    /// A line with nothing on it.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A line that starts after so many spaces.
    pub(crate) fn indented(columns: usize) -> Self {
        Self::new().up_to(columns)
    }

    /// Appends text.
    pub(crate) fn with(mut self, role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        self.width += text.chars().count();
        self.spans.push((role, text));
        self
    }

    /// Appends spaces up to a column, one at least if there is text before it.
    pub(crate) fn up_to(self, column: usize) -> Self {
        let least = usize::from(self.width > 0);
        let spaces = column.saturating_sub(self.width).max(least);
        self.with(Role::Plain, " ".repeat(spaces))
    }

    /// Appends text that ends at a column, if the line is not longer already.
    pub(crate) fn ending_at(self, column: usize, role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        let start = column.saturating_sub(text.chars().count());
        self.up_to(start).with(role, text)
    }

    /// Columns taken.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The parts, in order.
    pub(crate) fn spans(&self) -> &[(Role, String)] {
        &self.spans
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Shortens text that has more than `columns` characters: its middle gives way to ` ... `, and `size` says how long it was.
pub(crate) fn elided(text: &str, columns: usize, size: &str) -> String {
    let count = text.chars().count();
    if count <= columns {
        return text.to_owned();
    }
    let note = format!(" ... ({size})");
    // Two thirds of what is left go to the beginning, where names usually differ.
    let room = columns.saturating_sub(note.chars().count() + 1).max(6);
    let head = room - room / 3;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - room / 3).collect();
    format!("{} ... {} ({size})", start.trim_end(), end.trim_start())
}

/// A field value as it may be shown: untrusted octets cannot move the cursor.
pub(crate) fn printable(octets: &[u8]) -> String {
    octets.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// Breaks text after commas, so that no line has more than `columns` characters unless a single part has.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.chars().count() + part.trim_end().chars().count() <= columns => {
                line.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The most octets a dump shows.
const DUMPED: usize = 16;

/// Octets in hexadecimal and, where they are printable, as text; as many as fit into `columns`, and how many more there are.
pub(crate) fn hex_dump(octets: &[u8], columns: usize) -> String {
    // Each octet takes three columns and one more as text; around the text there are two blanks and two bars.
    let fits = |columns: usize| (columns.saturating_sub(3) / 4).min(DUMPED);
    let shown = if octets.len() <= fits(columns) {
        octets.len()
    } else {
        fits(columns.saturating_sub("  +1,234 B".len()))
    };
    let shown = octets.get(..shown).unwrap_or(octets);
    let hex: Vec<_> = shown.iter().map(|octet| format!("{octet:02x}")).collect();
    let text: String = shown
        .iter()
        .map(|octet| if matches!(octet, b' '..=b'~') { char::from(*octet) } else { '.' })
        .collect();
    let more = octets.len() - shown.len();
    let rest = if more > 0 { format!("  +{} B", grouped(more)) } else { String::new() };
    format!("{}  |{text}|{rest}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0u64, "0"), (999, "999"), (1000, "1,000"), (1_048_576, "1,048,576")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn long_text_loses_its_middle_and_short_text_nothing() {
        assert_eq!(elided("short", 5, "5 B"), "short");
        let long = "abcdefghijklmnopqrstuvwxyz0123456789";
        let short = elided(long, 30, "36 B");
        assert_eq!(short, "abcdefghijkl ... 456789 (36 B)");
        assert!(short.chars().count() <= 30);
        assert_eq!(elided("äöüäöüäöüäöüäöüäöüäöü", 20, "42 B"), "äöüäöü ... öü (42 B)");
    }

    #[test]
    fn untrusted_octets_are_escaped() {
        assert_eq!(printable(b"a\x1b[2J\"\xff"), r#"a\x1b[2J"\xff"#);
    }

    #[test]
    fn text_is_broken_after_commas() {
        assert_eq!(wrapped("A { b: 1, c: 2 }", 40), ["A { b: 1, c: 2 }"]);
        assert_eq!(wrapped("A { b: 1, c: 2, d: 3 }", 15), ["A { b: 1, c: 2,", "d: 3 }"]);
    }

    #[test]
    fn a_dump_fits() {
        assert_eq!(hex_dump(b"\x0a\x02hi", 80), "0a 02 68 69  |..hi|");
        assert!(hex_dump(&[b'a'; 1040], 80).ends_with("|aaaaaaaaaaaaaaaa|  +1,024 B"));
        assert_eq!(hex_dump(b"", 80), "  ||");
        for columns in 20..80 {
            for octets in 0..30 {
                let dump = hex_dump(&vec![0; octets], columns);
                assert!(dump.len() <= columns, "{columns}: {dump}");
            }
        }
    }

    #[test]
    fn columns_are_kept() {
        let line = Line::indented(2).with(Role::Name, "ab").ending_at(10, Role::Wire, "123");
        let text: String = line.spans().iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!((text.as_str(), line.width()), ("  ab   123", 10));
    }
}
