//! Rust source under construction, formatted as it is written: no formatter runs later.

use prost_build::Comments;

/// Text and how deep the next line is indented.
#[derive(Default)]
pub(super) struct Source {
    text: String,
    depth: u8,
}

impl Source {
    /// Adds lines, indented by what is open now. A blank first line (templates start on a line of their own) is dropped.
    pub(super) fn add(&mut self, lines: &str) {
        for line in lines.strip_prefix('\n').unwrap_or(lines).lines() {
            if !line.is_empty() {
                self.text.push_str(&"    ".repeat(usize::from(self.depth)));
                self.text.push_str(line);
            }
            self.text.push('\n');
        }
    }

    /// Adds lines of which the last one opens a block, and what `body` writes into it.
    pub(super) fn block(&mut self, opening: &str, body: impl FnOnce(&mut Self)) {
        self.add(opening);
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.add("}");
    }

    /// Adds a comment of the `.proto` file as documentation. Comments detached from the item are left out.
    pub(super) fn docs(&mut self, comments: &Comments) {
        let attached = Comments { leading_detached: Vec::new(), ..comments.clone() };
        attached.append_with_indent(self.depth, &mut self.text);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}
