//! A mail's header and body as DKIM sees them: "relaxed" (RFC 6376, sections 3.4.2 and 3.4.4), which relays that touch
//! nothing but white space do not break.
//!
//! Invariant: pure; no bytes are looked at but line ends, spaces and tabs.

/// One field of a header, its value still folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Field<'_> {
    /// Whether it has this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a mail's header, and its body.
pub(super) fn split(mail: &[u8]) -> (Vec<Field<'_>>, &[u8]) {
    let (mut fields, mut rest) = (Vec::new(), mail);
    while !rest.is_empty() {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return (fields, body);
        }
        let (field, after) = rest.split_at(end_of_field(rest));
        if let Some(colon) = field.iter().position(|byte| *byte == b':') {
            fields.push(Field { name: &field[..colon], value: &field[colon + 1..] });
        }
        rest = after;
    }
    (fields, rest)
}

/// Where the next field begins: after a line end that no white space follows.
fn end_of_field(text: &[u8]) -> usize {
    let ends = text.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 2);
    ends.into_iter().find(|end| !matches!(text.get(*end), Some(b' ' | b'\t'))).unwrap_or(text.len())
}

/// Appends a field: its name in lower case, its value on one line, white space as one space and none at the ends.
pub(super) fn relaxed_field(text: &mut Vec<u8>, field: &Field<'_>) {
    text.extend(field.name.trim_ascii_end().to_ascii_lowercase());
    text.push(b':');
    // Every line end within a field is a fold.
    let words = field.value.split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

/// A body: white space within a line as one space, none at its end, and no empty lines at the end. One that has
/// anything ends with a line end.
pub(super) fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len() + 2);
    let mut empty_lines = 0;
    for line in lines(body) {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            text.extend_from_slice(b"\r\n");
        }
        let mut in_space = false;
        for byte in line {
            let space = matches!(byte, b' ' | b'\t');
            if !(space && in_space) {
                text.push(if space { b' ' } else { *byte });
            }
            in_space = space;
        }
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// The lines of a body without their CRLF.
fn lines(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let end = body.windows(2).position(|pair| pair == b"\r\n");
        let (line, rest) = end.map_or((body, &[][..]), |end| (&body[..end], &body[end + 2..]));
        body = rest;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn header(mail: &str) -> String {
        let mut text = Vec::new();
        for field in split(mail.as_bytes()).0 {
            relaxed_field(&mut text, &field);
            text.extend_from_slice(b"\r\n");
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_example_of_the_standard_comes_out_as_it_says() {
        // RFC 6376, section 3.4.5.
        let mail = "A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(header(mail), "a:X\r\nb:Y Z\r\n");
        assert_eq!(relaxed_body(split(mail.as_bytes()).1), b" C\r\nD E\r\n");
    }

    #[rstest]
    #[case::nothing("", "")]
    #[case::only_empty_lines("\r\n\r\n", "")]
    #[case::only_spaces(" \t\r\n  ", "")]
    #[case::no_line_end("a", "a\r\n")]
    #[case::empty_lines_between("a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n")]
    #[case::a_line_of_spaces_between("a\r\n \r\nb", "a\r\n\r\nb\r\n")]
    #[case::space_before("\t a", " a\r\n")]
    fn a_body_ends_once_and_has_no_space_to_spare(#[case] body: &str, #[case] expected: &str) {
        assert_eq!(String::from_utf8(relaxed_body(body.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn a_header_without_a_body_is_all_header() {
        let (fields, body) = split(b"From: a\r\n b\r\nTo: c");
        assert_eq!((fields.len(), body), (2, &b""[..]));
        assert!(fields[0].is("from") && !fields[0].is("to"));
    }

    proptest! {
        #[test]
        fn what_is_relaxed_stays_as_it_is(body in "([ \t.a]{0,4}\r\n){0,6}[ a]{0,2}") {
            let once = relaxed_body(body.as_bytes());
            prop_assert_eq!(relaxed_body(&once), once.clone());
        }

        #[test]
        fn no_field_gets_lost_or_swallows_another(values in prop::collection::vec("[a-z :]{0,8}(\r\n [a-z]{1,3}){0,2}", 0..6)) {
            let mail: String = values.iter().enumerate().map(|(n, value)| format!("X-{n}: {value}\r\n")).collect();
            let text = format!("{mail}\r\nX-body: 1\r\n");
            let (fields, body) = split(text.as_bytes());
            prop_assert_eq!(fields.len(), values.len());
            prop_assert_eq!(body, b"X-body: 1\r\n");
        }
    }
}
