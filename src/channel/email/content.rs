//! What follows DATA: the message as it goes over the wire.

use std::fmt;

/// A message with its dots doubled (RFC 5321, section 4.5.2) and the line that ends it, to be written at once.
///
/// lettre writes that line by itself. TCP then holds it back until the server has acknowledged the rest, which a
/// server with nothing to say yet does 40 ms later (Nagle's algorithm, RFC 896, against delayed acknowledgements,
/// RFC 1122, section 4.2.3.2): 25 mails a second and connection at best.
pub(super) struct WholeContent(String);

impl WholeContent {
    /// `None` for a message that is not UTF-8, which lettre's commands cannot carry.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let message = std::str::from_utf8(message).ok()?;
        let mut text = String::with_capacity(message.len() + 64);
        if message.starts_with('.') {
            text.push('.');
        }
        for (index, part) in message.split("\r\n.").enumerate() {
            text.push_str(if index == 0 { "" } else { "\r\n.." });
            text.push_str(part);
        }
        text.push_str(if text.ends_with("\r\n") { ".\r\n" } else { "\r\n.\r\n" });
        Some(WholeContent(text))
    }
}

impl fmt::Display for WholeContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("", "\r\n.\r\n")]
    #[case::lines("a\r\nb\r\n", "a\r\nb\r\n.\r\n")]
    #[case::no_end_of_line("a", "a\r\n.\r\n")]
    #[case::a_dot_first(".a\r\n", "..a\r\n.\r\n")]
    #[case::a_line_of_one_dot("a\r\n.\r\nQUIT\r\n", "a\r\n..\r\nQUIT\r\n.\r\n")]
    #[case::dots_in_a_row("\r\n.\r\n..\r\n", "\r\n..\r\n...\r\n.\r\n")]
    #[case::dots_elsewhere("a.b\r\nc.\r\n", "a.b\r\nc.\r\n.\r\n")]
    fn dots_are_doubled_and_the_end_is_marked_once(#[case] message: &str, #[case] sent: &str) {
        assert_eq!(WholeContent::of(message.as_bytes()).unwrap().to_string(), sent);
    }

    #[test]
    fn bytes_that_are_no_text_are_left_to_others() {
        assert!(WholeContent::of(b"\xff").is_none());
    }

    proptest! {
        #[test]
        fn a_server_reads_the_message_and_nothing_after_it(lines in prop::collection::vec("[.a]{0,3}", 0..8)) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let sent = WholeContent::of(message.as_bytes()).unwrap().to_string();
            let mut read = String::new();
            let mut rest = sent.split_inclusive("\r\n");
            for line in rest.by_ref().take_while(|line| *line != ".\r\n") {
                read.push_str(line.strip_prefix('.').unwrap_or(line));
            }
            prop_assert_eq!(rest.next(), None);
            // An empty message needs a line of its own before the end.
            prop_assert_eq!(read.as_str(), if message.is_empty() { "\r\n" } else { message.as_str() });
        }
    }
}
