//! From Markdown to blocks and runs.
//!
//! Values are put into a template's Markdown as [`hide`] leaves them: punctuation and white space that Markdown could
//! read are moved to characters that mean nothing to it, and moved back in what was parsed. So a value is text wherever
//! it stands, in code and in the target of a link as well, where backslashes would show.

use std::borrow::Cow;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Block, Document, Kind, Run, Style};

/// Where hidden characters go: the last private-use plane's end, which no script or icon font is known to use.
const HIDDEN: u32 = 0x0010_ff00;

/// A value with whatever Markdown could read hidden.
pub(in crate::channel) fn hide(value: &str) -> Cow<'_, str> {
    let meant = |c: char| c.is_ascii_punctuation() || c.is_ascii_whitespace();
    if !value.contains(meant) {
        return Cow::Borrowed(value);
    }
    let hide = |c: char| if meant(c) { char::from_u32(HIDDEN + u32::from(c)).unwrap_or(c) } else { c };
    Cow::Owned(value.chars().map(hide).collect())
}

fn reveal(text: &str) -> String {
    let reveal = |c: char| match u32::from(c).checked_sub(HIDDEN) {
        Some(code @ 0..=0x7f) => char::from_u32(code).unwrap_or(c),
        _ => c,
    };
    text.chars().map(reveal).collect()
}

pub(super) fn markdown(text: &str) -> Document {
    let mut reader = Reader::default();
    for event in Parser::new_ext(text, Options::ENABLE_STRIKETHROUGH) {
        reader.read(event);
    }
    reader.close();
    Document { blocks: reader.blocks }
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    open: Option<Block>,
    style: Style,
    link: Option<String>,
    quotes: usize,
    /// The next number of each list that is open, where it has numbers.
    lists: Vec<Option<u64>>,
    /// An item began and has no block yet.
    item: Option<Kind>,
}

impl Reader {
    fn read(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.push(&text),
            Event::Code(text) => {
                let style = self.style;
                self.style.code = true;
                self.push(&text);
                self.style = style;
            }
            // Messages are read as they were written: a line is a line.
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            Event::Rule => {
                self.open(Kind::Paragraph);
                self.push("———");
                self.close();
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.open(Kind::Paragraph),
            Tag::Heading { .. } => self.open(Kind::Heading),
            Tag::CodeBlock(_) => self.open(Kind::Code),
            Tag::BlockQuote(_) => {
                self.close();
                self.quotes += 1;
            }
            Tag::List(first) => {
                self.close();
                self.lists.push(first);
            }
            Tag::Item => {
                let depth = self.lists.len().saturating_sub(1);
                let number = self.lists.last_mut().and_then(|next| next.as_mut()).map(|next| {
                    *next += 1;
                    *next - 1
                });
                self.item = Some(Kind::Item { depth, number });
            }
            Tag::Strong => self.style.bold = true,
            Tag::Emphasis => self.style.italic = true,
            Tag::Strikethrough => self.style.struck = true,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.link = target(&reveal(&dest_url)),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong => self.style.bold = false,
            TagEnd::Emphasis => self.style.italic = false,
            TagEnd::Strikethrough => self.style.struck = false,
            TagEnd::Link | TagEnd::Image => self.link = None,
            TagEnd::BlockQuote(_) => {
                self.close();
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::List(_) => {
                self.close();
                self.lists.pop();
            }
            TagEnd::Item => {
                self.close();
                self.item = None;
            }
            TagEnd::Paragraph | TagEnd::HtmlBlock | TagEnd::Heading(_) | TagEnd::CodeBlock => self.close(),
            _ => {}
        }
    }

    /// Begins a block; the first one of an item is the item.
    fn open(&mut self, kind: Kind) {
        self.close();
        let kind = self.item.take().unwrap_or(kind);
        self.open = Some(Block { kind, quoted: self.quotes > 0, runs: Vec::new() });
    }

    fn close(&mut self) {
        let Some(mut block) = self.open.take() else { return };
        // A block of code ends with a line break, and so may HTML.
        if let Some(last) = block.runs.last_mut() {
            last.text.truncate(last.text.trim_end_matches('\n').len());
        }
        block.runs.retain(|run| !run.text.is_empty());
        if !block.runs.is_empty() {
            self.blocks.push(block);
        }
    }

    fn push(&mut self, text: &str) {
        if self.open.is_none() {
            self.open(Kind::Paragraph);
        }
        let (style, link) = (self.style, self.link.clone());
        let Some(block) = &mut self.open else { return };
        let text = reveal(text);
        match block.runs.last_mut() {
            Some(last) if last.style == style && last.link == link => last.text.push_str(&text),
            _ => block.runs.push(Run { text, style, link }),
        }
    }
}

/// A link's target, if it leads where a message may lead; else the text stands alone.
fn target(url: &str) -> Option<String> {
    let url: url::Url = url.trim().parse().ok()?;
    matches!(url.scheme(), "http" | "https" | "mailto").then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// One line a block, one pair of brackets a run.
    fn shown(document: &Document) -> String {
        let run = |run: &Run| {
            let Style { bold, italic, struck, code } = run.style;
            let mut marks = String::new();
            for (mark, set) in [('b', bold), ('i', italic), ('s', struck), ('c', code)] {
                marks.extend(set.then_some(mark));
            }
            let link = run.link.as_ref().map(|link| format!("→{link}")).unwrap_or_default();
            format!("[{marks}:{}{link}]", run.text.replace('\n', "⏎"))
        };
        let block = |block: &Block| {
            let kind = match block.kind {
                Kind::Paragraph => "p".to_owned(),
                Kind::Heading => "h".to_owned(),
                Kind::Code => "pre".to_owned(),
                Kind::Item { depth, number } => {
                    format!("{depth}{}", number.map_or("•".to_owned(), |n| format!("#{n}")))
                }
            };
            let quoted = if block.quoted { "> " } else { "" };
            format!("{quoted}{kind}{}", block.runs.iter().map(run).collect::<String>())
        };
        document.blocks.iter().map(block).collect::<Vec<_>>().join("\n")
    }

    #[rstest]
    #[case::styles("a **b** _c_ ~~d~~ `e`", "p[:a ][b:b][: ][i:c][: ][s:d][: ][c:e]")]
    #[case::both("***x***", "p[bi:x]")]
    #[case::heading("# One\ntext", "h[:One]\np[:text]")]
    #[case::lines("a\nb  \nc", "p[:a⏎b⏎c]")]
    #[case::link("[x](https://example.org/a b)", "p[:[x](https://example.org/a b)]")]
    #[case::link_that_is_one("[x](<https://example.org/a b>)", "p[:x→https://example.org/a%20b]")]
    #[case::no_scripts("[x](javascript:alert(1)) [y](/relative)", "p[:x y]")]
    #[case::image("![logo](https://example.org/l.png)", "p[:logo→https://example.org/l.png]")]
    #[case::list("- a\n- b\n  1. c\n  2. d\n- e", "0•[:a]\n0•[:b]\n1#1[:c]\n1#2[:d]\n0•[:e]")]
    #[case::loose_list("- a\n\n  more\n\n- b", "0•[:a]\np[:more]\n0•[:b]")]
    #[case::quote("> a\n> b\n\nc", "> p[:a⏎b]\np[:c]")]
    #[case::code("```\nlet x;\n\ny\n```", "pre[:let x;⏎⏎y]")]
    #[case::rule("a\n\n---\n\nb", "p[:a]\np[:———]\np[:b]")]
    #[case::html_is_text("<b>a</b> <!-- c -->", "p[:<b>a</b> <!-- c -->]")]
    #[case::escaped("\\*a\\* &amp; \\<b\\>", "p[:*a* & <b>]")]
    #[case::nothing("", "")]
    fn markdown_is_read(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(&markdown(text)), expected);
    }

    #[test]
    fn a_value_is_text_wherever_it_stands() {
        let value = hide("**x** [y](z)\n\n# `-` 1. <i>");
        let text = format!("# {value}\n\n- **{value}** `{value}`\n\n```\n{value}\n```");
        let x = "**x** [y](z)⏎⏎# `-` 1. <i>";
        assert_eq!(shown(&markdown(&text)), format!("h[:{x}]\n0•[b:{x}][: ][c:{x}]\npre[:{x}]"));
    }

    #[test]
    fn a_value_can_be_the_target_of_a_link_and_no_more() {
        let linked = |value: &str| shown(&markdown(&format!("[go]({}) on", hide(value))));
        assert_eq!(linked("https://example.org/?a=1&b=(2)"), "p[:go→https://example.org/?a=1&b=(2)][: on]");
        assert_eq!(linked("javascript:alert(1)"), "p[:go on]");
        assert_eq!(linked("x) **bold** ("), "p[:go on]");
    }

    proptest! {
        #[test]
        fn no_value_changes_what_stands_around_it(value in "\\PC{0,40}|[\\s#*_`>\\[\\]()!|~\\-+.0-9\\\\<>&:;@]{0,40}") {
            let value = format!("a{value}b");
            let document = markdown(&format!("one {} two\n\n- three", hide(&value)));
            let plain = |document: &Document| document.blocks.iter().map(|block| block.kind).collect::<Vec<_>>();
            prop_assert_eq!(plain(&document), [Kind::Paragraph, Kind::Item { depth: 0, number: None }]);
            prop_assert_eq!(&document.blocks[0].runs[0].text, &format!("one {value} two"));
        }
    }
}
