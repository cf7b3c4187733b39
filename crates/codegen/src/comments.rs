//! Comments of `.proto` files as Rust documentation that cannot break a build.
//!
//! Both become Markdown, but rustdoc *compiles* what it takes for code: an indented block or a bare fence in a `.proto`
//! comment would be a failing doctest of the crate that includes it. So such blocks are marked as text before prost or
//! our own generator sees them. Brackets and URLs are prost's business ([`prost_build::Comments`]).

use prost_types::FileDescriptorProto;

/// How far a line must be indented to be code in Markdown. A comment's text starts with one space more.
const CODE_INDENT: usize = 4;

/// Marks code in all comments of `file` as text.
pub(crate) fn mark_code_as_text(file: &mut FileDescriptorProto) {
    for location in file.source_code_info.iter_mut().flat_map(|info| &mut info.location) {
        for comment in [&mut location.leading_comments, &mut location.trailing_comments].into_iter().flatten()
        {
            *comment = mark(comment);
        }
    }
}

/// What the line before is, as far as it decides about an indented line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Nothing, or a blank line outside of a list: an indented line starts code.
    Blank,
    /// Text: an indented line continues it.
    Paragraph,
    /// Inside a list, until a line that is not indented: an indented line continues the item.
    List,
    /// Indented code, for which a fence was opened.
    Indented,
    /// Between the comment's own fences.
    Fenced,
}

fn mark(comment: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut block = Block::Blank;
    for line in comment.lines() {
        let text = line.trim();
        let code = line.strip_prefix(' ').unwrap_or(line).starts_with(&" ".repeat(CODE_INDENT));
        let next = match block {
            Block::Fenced if text.starts_with("```") => Block::Paragraph,
            Block::Fenced => Block::Fenced,
            Block::Indented if text.is_empty() || code => Block::Indented,
            _ if text.starts_with("```") => Block::Fenced,
            Block::List if text.is_empty() || line.starts_with("  ") => Block::List,
            _ if text.is_empty() => Block::Blank,
            Block::Blank if code => Block::Indented,
            _ if starts_list_item(text) => Block::List,
            _ => Block::Paragraph,
        };
        match (block, next) {
            (Block::Indented, Block::Indented) => {}
            (Block::Indented, _) => close(&mut out),
            (_, Block::Indented) => out.push(" ```text".to_owned()),
            _ => {}
        }
        // A fence without a language, or one that rustdoc would compile.
        let opens = block != Block::Fenced && next == Block::Fenced;
        out.push(if opens { line.replace(text, "```text") } else { line.to_owned() });
        block = next;
    }
    if matches!(block, Block::Indented | Block::Fenced) {
        close(&mut out);
    }
    out.join("\n")
}

/// Ends a block of code before the blank lines that follow it.
fn close(out: &mut Vec<String>) {
    let blank = out.iter().rev().take_while(|line| line.trim().is_empty()).count();
    out.insert(out.len() - blank, " ```".to_owned());
}

fn starts_list_item(text: &str) -> bool {
    let number = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    ["- ", "* ", "+ "].iter().any(|bullet| text.starts_with(bullet))
        || (number.len() < text.len() && (number.starts_with(". ") || number.starts_with(") ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indented_block_becomes_text() {
        assert_eq!(
            mark(" Usage:\n\n     let x = 1;\n\n     x + 1\n\n Done.\n"),
            " Usage:\n\n ```text\n     let x = 1;\n\n     x + 1\n ```\n\n Done."
        );
        assert_eq!(mark("     only code\n"), " ```text\n     only code\n ```");
    }

    #[test]
    fn fences_lose_their_language_and_are_closed() {
        assert_eq!(mark(" ```\n a();\n ```\n b\n"), " ```text\n a();\n ```\n b");
        assert_eq!(mark(" ```rust\n a();\n"), " ```text\n a();\n ```");
    }

    #[test]
    fn lists_and_running_text_stay_as_they_are() {
        for comment in [" - a\n\n     still a\n - b", " text\n      that goes on", " 1. one\n       more", ""]
        {
            assert_eq!(mark(comment), comment);
        }
    }
}
