//! From blocks and runs to the markup of a service.
//!
//! Sources: Slack, "Formatting message text" (docs.slack.dev/messaging/formatting-message-text); Discord, "Markdown Text
//! 101" and "Message formatting" (docs.discord.com/developers/reference); Mattermost, "Format messages"
//! (docs.mattermost.com); Telegram, "HTML style" (core.telegram.org/bots/api#html-style).

use super::{Block, Document, Kind, Run};

/// Whose markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::channel) enum Dialect {
    /// mrkdwn: `*bold*`, `<url|text>`; `&`, `<` and `>` are entities, nothing else can be escaped.
    Slack,
    /// Markdown with backslashes.
    Discord,
    /// Markdown with backslashes; Slack's `<…>` is understood, too, so these are entities.
    Mattermost,
    /// The HTML of Telegram's Bot API.
    Html,
}

/// What `write` makes of `document`, cut where it must be so that it `fits`.
pub(in crate::channel) fn fit<T>(document: &Document, write: impl Fn(&Document) -> T, fits: impl Fn(&T) -> bool) -> T {
    let whole = write(document);
    if fits(&whole) {
        return whole;
    }
    let (mut low, mut high) = (0, document.characters());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(&write(&document.shortened(middle))) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    write(&document.shortened(low))
}

impl Dialect {
    /// The whole document.
    pub(in crate::channel) fn write(self, document: &Document) -> String {
        let mut out = String::new();
        let mut before: Option<&Block> = None;
        for block in &document.blocks {
            if let Some(before) = before {
                let list = |block: &Block| matches!(block.kind, Kind::Item { .. });
                out.push_str(if list(before) && list(block) { "\n" } else { "\n\n" });
            }
            out.push_str(&self.block(block));
            before = Some(block);
        }
        out
    }

    fn block(self, block: &Block) -> String {
        let text = match block.kind {
            Kind::Code => self.preformatted(block),
            Kind::Heading => {
                let bold = |run: &Run| Run { style: super::Style { bold: true, ..run.style }, ..run.clone() };
                block.runs.iter().map(|run| self.run(&bold(run))).collect()
            }
            Kind::Paragraph | Kind::Item { .. } => block.runs.iter().map(|run| self.run(run)).collect::<String>(),
        };
        let text = match block.kind {
            Kind::Item { depth, number } => {
                let bullet = if matches!(self, Dialect::Slack | Dialect::Html) { "•" } else { "-" };
                let marker = number.map_or(bullet.to_owned(), |number| format!("{number}."));
                let indent = "    ".repeat(depth);
                let below = format!("\n{indent}{}", " ".repeat(marker.chars().count() + 1));
                format!("{indent}{marker} {}", text.replace('\n', &below))
            }
            _ => text,
        };
        match (block.quoted, self) {
            (false, _) => text,
            (true, Dialect::Html) => format!("<blockquote>{text}</blockquote>"),
            (true, _) => text.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n"),
        }
    }

    fn preformatted(self, block: &Block) -> String {
        let text: String = block.runs.iter().map(|run| run.text.as_str()).collect();
        match self {
            Dialect::Html => format!("<pre>{}</pre>", entities(&text, true)),
            Dialect::Slack => format!("```\n{}\n```", entities(&text, false)),
            // What would close the block is broken up.
            Dialect::Discord | Dialect::Mattermost => format!("```\n{}\n```", text.replace("```", "`\u{200b}``")),
        }
    }

    /// Line by line, and without the spaces at the ends: marks hold neither.
    fn run(self, run: &Run) -> String {
        let line = |line: &str| {
            let inner = line.trim();
            let start = line.len() - line.trim_start().len();
            let end = (start + inner.len()).min(line.len());
            if inner.is_empty() {
                return line.to_owned();
            }
            format!("{}{}{}", &line[..start], self.marked(inner, run), &line[end..])
        };
        run.text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }

    fn marked(self, text: &str, run: &Run) -> String {
        let mut out = if run.style.code { self.code(text) } else { self.escape(text) };
        if let Some(link) = &run.link {
            out = self.link(&out, link);
        }
        for (set, mark) in
            [(run.style.struck, Mark::Struck), (run.style.italic, Mark::Italic), (run.style.bold, Mark::Bold)]
        {
            if set {
                let (open, close) = self.mark(mark);
                out = format!("{open}{out}{close}");
            }
        }
        out
    }

    fn mark(self, mark: Mark) -> (&'static str, &'static str) {
        match (self, mark) {
            (Dialect::Slack, Mark::Bold) => ("*", "*"),
            (Dialect::Slack, Mark::Struck) => ("~", "~"),
            (Dialect::Slack, Mark::Italic) => ("_", "_"),
            (Dialect::Discord | Dialect::Mattermost, Mark::Bold) => ("**", "**"),
            (Dialect::Discord | Dialect::Mattermost, Mark::Italic) => ("*", "*"),
            (Dialect::Discord | Dialect::Mattermost, Mark::Struck) => ("~~", "~~"),
            (Dialect::Html, Mark::Bold) => ("<b>", "</b>"),
            (Dialect::Html, Mark::Italic) => ("<i>", "</i>"),
            (Dialect::Html, Mark::Struck) => ("<s>", "</s>"),
        }
    }

    fn link(self, text: &str, url: &str) -> String {
        match self {
            Dialect::Slack => format!("<{}|{text}>", entities(&url.replace('|', "%7C"), false)),
            Dialect::Discord | Dialect::Mattermost => {
                format!("[{text}]({})", url.replace('(', "%28").replace(')', "%29"))
            }
            Dialect::Html => format!("<a href=\"{}\">{text}</a>", entities(url, true)),
        }
    }

    fn code(self, text: &str) -> String {
        match self {
            Dialect::Html => format!("<code>{}</code>", entities(text, true)),
            // There is no way to write a backtick in code.
            Dialect::Slack if text.contains('`') => entities(text, false),
            Dialect::Slack => format!("`{}`", entities(text, false)),
            Dialect::Discord | Dialect::Mattermost if text.contains('`') => format!("`` {text} ``"),
            Dialect::Discord | Dialect::Mattermost => format!("`{text}`"),
        }
    }

    fn escape(self, text: &str) -> String {
        match self {
            Dialect::Slack => entities(text, false),
            Dialect::Html => entities(text, true),
            Dialect::Discord => backslashes(text),
            Dialect::Mattermost => unmentioned(&backslashes(text).replace("\\<", "&lt;").replace("\\>", "&gt;")),
        }
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Bold,
    Italic,
    Struck,
}

fn entities(text: &str, quotes: bool) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if quotes { text.replace('"', "&quot;") } else { text }
}

/// A backslash before what Markdown could read. A bare URL is left as it is, or it would not be one any more.
fn backslashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for word in text.split_inclusive(char::is_whitespace) {
        let is_url = word.starts_with("https://") || word.starts_with("http://");
        for (index, c) in word.char_indices() {
            let always = matches!(c, '<' | '>');
            let in_text = matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '#');
            let at_start = out.is_empty() && index == 0 && matches!(c, '-' | '+');
            if always || (in_text && !is_url) || at_start {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

/// Mattermost tells everyone of `@all`, `@channel` and `@here`, escaped or not; a character of no width keeps it from
/// reading them.
fn unmentioned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let calls = |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if ["all", "channel", "here"].into_iter().any(calls) {
            out.push('\u{200b}');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::channel::markup::hide;

    const ALL: &str = "# Order *A-1*\n\nHello **Ada & co**, see [it](https://example.org/a_(b)?x=1&y=2):\n\n- one `x<y`\n- two ~~old~~\n  more\n  1. deep\n\n> said *she*\n\n```\nlet a = \"<&>\";\n```";

    #[test]
    fn slack() {
        insta::assert_snapshot!(Dialect::Slack.write(&Document::markdown(ALL)), @r#"
        *Order* *_A-1_*

        Hello *Ada &amp; co*, see <https://example.org/a_(b)?x=1&amp;y=2|it>:

        • one `x&lt;y`
        • two ~old~
          more
            1. deep

        > said _she_

        ```
        let a = "&lt;&amp;&gt;";
        ```
        "#);
    }

    #[test]
    fn discord() {
        insta::assert_snapshot!(Dialect::Discord.write(&Document::markdown(ALL)), @r#"
        **Order** ***A-1***

        Hello **Ada & co**, see [it](https://example.org/a_%28b%29?x=1&y=2):

        - one `x<y`
        - two ~~old~~
          more
            1. deep

        > said *she*

        ```
        let a = "<&>";
        ```
        "#);
    }

    #[test]
    fn html() {
        insta::assert_snapshot!(Dialect::Html.write(&Document::markdown(ALL)), @r#"
        <b>Order</b> <b><i>A-1</i></b>

        Hello <b>Ada &amp; co</b>, see <a href="https://example.org/a_(b)?x=1&amp;y=2">it</a>:

        • one <code>x&lt;y</code>
        • two <s>old</s>
          more
            1. deep

        <blockquote>said <i>she</i></blockquote>

        <pre>let a = &quot;&lt;&amp;&gt;&quot;;</pre>
        "#);
    }

    #[rstest]
    #[case(Dialect::Slack, "<!channel> & <@U1|x>", "&lt;!channel&gt; &amp; &lt;@U1|x&gt;")]
    #[case(Dialect::Discord, "@everyone <@1> *x* a_b [c](d)", "@everyone \\<@1\\> \\*x\\* a\\_b \\[c\\](d)")]
    #[case(Dialect::Discord, "- x", "\\- x")]
    #[case(Dialect::Discord, "https://example.org/a_b*c", "https://example.org/a_b*c")]
    #[case(Dialect::Mattermost, "@all @Here <!channel> @ada", "@\u{200b}all @\u{200b}Here &lt;!channel&gt; @ada")]
    #[case(Dialect::Html, "<b>\"x\"</b>", "&lt;b&gt;&quot;x&quot;&lt;/b&gt;")]
    fn a_value_calls_nobody_and_formats_nothing(#[case] dialect: Dialect, #[case] value: &str, #[case] expected: &str) {
        assert_eq!(dialect.write(&Document::markdown(&hide(value))), expected);
    }

    #[test]
    fn marks_hold_neither_spaces_nor_line_breaks() {
        let document = Document::markdown(&format!("a**{}**b", hide(" x\ny ")));
        assert_eq!(Dialect::Discord.write(&document), "a **x**\n**y** b");
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_begins_as_the_whole_does(text in "(\\PC{0,30}\n?){0,20}", limit in 1usize..200) {
            let document = Document::plain(&text);
            let fits = |text: &String| text.chars().count() <= limit;
            let cut = fit(&document, |document| Dialect::Html.write(document), fits);
            prop_assert!(cut.chars().count() <= limit, "{}", cut);
            let whole = Dialect::Html.write(&document);
            prop_assert!(cut == whole || whole.starts_with(cut.trim_end_matches('…')), "{} / {}", cut, whole);
        }
    }
}
