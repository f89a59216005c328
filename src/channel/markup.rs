//! Text with some formatting, apart from how any one service writes it: read from Markdown or plain text, written by
//! each channel in its own way (`write`).
//!
//! Invariant: pure. What came from an event's data is text, whatever it looks like: no value can begin a heading, close
//! a link or mention someone.

mod parse;
mod write;

pub(super) use parse::hide;
pub(super) use write::{Dialect, fit};

/// A message, block by block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    pub(super) blocks: Vec<Block>,
}

/// A paragraph, or what stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// It stands in a quotation.
    pub(super) quoted: bool,
    pub(super) runs: Vec<Run>,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Paragraph,
    Heading,
    /// An item of a list: how deep, 0 first, and its number where it has one.
    Item {
        depth: usize,
        number: Option<u64>,
    },
    /// Preformatted.
    Code,
}

/// Characters that look alike. May hold line breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) text: String,
    pub(super) style: Style,
    /// An absolute `http`, `https` or `mailto` URL.
    pub(super) link: Option<String>,
}

/// How characters look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four things that go together in any way")]
pub(super) struct Style {
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) struck: bool,
    pub(super) code: bool,
}

impl Document {
    /// Reads `CommonMark` with strikethrough; see `parse`.
    pub fn markdown(text: &str) -> Self {
        parse::markdown(text)
    }

    /// Text as it is: an empty line begins a paragraph.
    pub fn plain(text: &str) -> Self {
        let paragraphs = text.trim().split("\n\n").map(str::trim_end).filter(|paragraph| !paragraph.is_empty());
        let block = |text: &str| Block {
            kind: Kind::Paragraph,
            quoted: false,
            runs: vec![Run { text: text.to_owned(), style: Style::default(), link: None }],
        };
        Document { blocks: paragraphs.map(block).collect() }
    }

    /// Whether there is nothing to see.
    pub(super) fn is_blank(&self) -> bool {
        self.runs().all(|run| run.text.trim().is_empty())
    }

    /// How many characters there are to see.
    pub(super) fn characters(&self) -> usize {
        self.runs().map(|run| run.text.chars().count()).sum()
    }

    /// The first `limit` characters, and a sign that there were more.
    pub(super) fn shortened(&self, limit: usize) -> Document {
        let mut left = limit;
        let mut blocks = Vec::new();
        for block in &self.blocks {
            let mut runs = Vec::new();
            for run in &block.runs {
                let kept: String = run.text.chars().take(left).collect();
                left -= kept.chars().count();
                let whole = kept.len() == run.text.len();
                runs.push(Run { text: if whole { kept } else { format!("{}…", kept.trim_end()) }, ..run.clone() });
                if !whole {
                    blocks.push(Block { runs, ..block.clone() });
                    return Document { blocks };
                }
            }
            blocks.push(Block { runs, ..block.clone() });
        }
        Document { blocks }
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.blocks.iter().flat_map(|block| &block.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_with_a_sign_and_keeps_its_looks() {
        let document = Document::markdown("one **two three**\n\nfour");
        let texts = |document: &Document| document.runs().map(|run| run.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&document.shortened(8)), ["one ", "two…"]);
        assert!(document.shortened(8).blocks[0].runs[1].style.bold);
        assert_eq!(document.shortened(document.characters()), document);
        assert_eq!(texts(&document.shortened(0)), ["…"]);
    }

    #[test]
    fn plain_text_has_no_markup() {
        let document = Document::plain("# one *two*\n<x>\n\nthree\n");
        assert_eq!(document.blocks.len(), 2);
        assert_eq!(document.blocks[0].runs[0].text, "# one *two*\n<x>");
        assert!(Document::plain(" \n").is_blank() && Document::plain("").is_blank());
    }
}
