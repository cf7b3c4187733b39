//! Roles to colours: where the escape sequences are, and the only place that has any.

use std::io::{self, IsTerminal, Write};

use super::text::{Line, Role};

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Colour {
    /// When standard output is a terminal and NO_COLOR is not set.
    #[default]
    Auto,
    Always,
    Never,
}

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Paint {
    colours: bool,
    /// Columns there are.
    pub(crate) width: usize,
}

/// Columns when nobody says.
const WIDTH: usize = 100;
/// Fewer make no table, more make long ways for the eye.
const WIDTHS: core::ops::RangeInclusive<usize> = 64..=100;

impl Paint {
    /// What standard output can show.
    pub(crate) fn for_stdout(colour: Colour) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colours = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self::new(colours, columns(terminal))
    }

    /// With or without colours, for a width that is moved into range.
    pub(crate) fn new(colours: bool, width: usize) -> Self {
        Self { colours, width: width.clamp(*WIDTHS.start(), *WIDTHS.end()) }
    }

    /// Writes lines.
    pub(crate) fn write(&self, lines: &[Line], out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        for line in lines {
            let text = self.render(line);
            writeln!(out, "{text}")?;
        }
        Ok(())
    }

    fn render(&self, line: &Line) -> String {
        let last = line.spans().iter().rposition(|(_, text)| !text.trim_end().is_empty());
        let spans = last.and_then(|last| line.spans().get(..=last)).unwrap_or_default();
        let mut out = String::new();
        for (at, (role, text)) in spans.iter().enumerate() {
            // Nothing invisible at the end of a line.
            let text = if Some(at) == last { text.trim_end() } else { text };
            match code(*role) {
                Some(code) if self.colours => {
                    out.push_str("\x1b[");
                    out.push_str(code);
                    out.push('m');
                    out.push_str(text);
                    out.push_str("\x1b[0m");
                }
                _ => out.push_str(text),
            }
        }
        out
    }
}

/// Columns of the terminal: what COLUMNS says, or else the terminal itself.
fn columns(terminal: bool) -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    let real = || {
        if terminal { terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)) } else { None }
    };
    said.or_else(real).unwrap_or(WIDTH)
}

/// SGR parameters from the sixteen colours every terminal has, so that its owner's palette decides.
const fn code(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::Plain => return None,
        Role::Title => "1",
        Role::Sent => "36",
        Role::Received => "35",
        Role::Name => "94",
        Role::Wire => "33",
        Role::Message => "1;32",
        Role::Quiet => "2",
        Role::Good => "32",
        Role::Bad => "31",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_surround_text_and_nothing_trails() {
        let line = Line::new().with(Role::Sent, "->").with(Role::Plain, " x").with(Role::Plain, "   ");
        assert_eq!(Paint::new(true, 80).render(&line), "\x1b[36m->\x1b[0m x");
        assert_eq!(Paint::new(false, 80).render(&line), "-> x");
        assert_eq!(Paint::new(true, 80).render(&Line::indented(4)), "");
    }

    #[test]
    fn widths_are_moved_into_range() {
        assert_eq!(Paint::new(false, 10).width, 64);
        assert_eq!(Paint::new(false, 1000).width, 100);
    }
}
