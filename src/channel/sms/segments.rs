//! How a text becomes short messages: the alphabet it needs and where it is cut (3GPP TS 23.038 and 23.040).
//!
//! Invariant: pure. The parts joined again are the text; none is longer than a short message holds, and no character
//! is cut in two.

use std::borrow::Cow;

use rusmpp::extra::encoding::gsm7bit::Gsm7BitUnpacked;

/// Septets of one message, and of one part: its header takes 6 octets, which are 7 septets (TS 23.040, 9.2.3.24.1).
const GSM: (usize, usize) = (160, 153);
/// Octets of one message, and of one part.
const UCS2: (usize, usize) = (140, 134);
/// Precedes a character of the extension table (TS 23.038, 6.2.1.1).
const ESCAPE: u8 = 0x1b;

/// What a text is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// The GSM default alphabet with its extension table, a septet in each octet.
    Gsm7,
    /// UTF-16, big-endian: the standard says UCS-2, and handsets read pairs of surrogates.
    Ucs2,
}

/// A text, cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    /// What the parts are written in.
    pub coding: Coding,
    /// The parts, without headers; one when it fits in one.
    pub parts: Vec<Vec<u8>>,
}

impl Segments {
    /// Cuts a text, in the GSM alphabet if all of it is there.
    pub fn of(text: &str) -> Segments {
        match Gsm7BitUnpacked::new().encode_to_vec(text) {
            Ok(septets) => Segments { coding: Coding::Gsm7, parts: cut(&septets, GSM, |at| septets[at - 1] != ESCAPE) },
            Err(_) => {
                let octets: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
                let whole = |at: usize| at.is_multiple_of(2) && !matches!(octets[at - 2], 0xd8..=0xdb);
                Segments { coding: Coding::Ucs2, parts: cut(&octets, UCS2, whole) }
            }
        }
    }
}

/// The text with typographic blanks, quotes, dashes and ellipses made plain, where that alone brings it into the GSM
/// alphabet: one `’` would otherwise more than double the parts. Any other text stays as it is.
pub fn simplified(text: &str) -> Cow<'_, str> {
    let fits = |text: &str| Gsm7BitUnpacked::new().encode_to_vec(text).is_ok();
    if fits(text) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{a0}' | '\u{2009}' | '\u{202f}' => plain.push(' '),
            '‘' | '’' | '‚' => plain.push('\''),
            '“' | '”' | '„' | '«' | '»' => plain.push('"'),
            '–' | '—' | '\u{2011}' => plain.push('-'),
            '…' => plain.push_str("..."),
            other => plain.push(other),
        }
    }
    if fits(&plain) { Cow::Owned(plain) } else { Cow::Borrowed(text) }
}

/// Cuts at the last place within the limit that `may_end` a part: it is handed how much comes before.
fn cut(units: &[u8], (alone, part): (usize, usize), may_end: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
    if units.len() <= alone {
        return vec![units.to_vec()];
    }
    let mut parts = Vec::new();
    let mut start = 0;
    while units.len() - start > part {
        let mut end = start + part;
        while !may_end(end) {
            end -= 1;
        }
        parts.push(units[start..end].to_vec());
        start = end;
    }
    parts.push(units[start..].to_vec());
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn shape(text: &str) -> (Coding, Vec<usize>) {
        let segments = Segments::of(text);
        (segments.coding, segments.parts.iter().map(Vec::len).collect())
    }

    #[rstest]
    #[case::one("Grüße!", Coding::Gsm7, &[6])]
    #[case::a_full_one(&"a".repeat(160), Coding::Gsm7, &[160])]
    #[case::one_too_many(&"a".repeat(161), Coding::Gsm7, &[153, 8])]
    #[case::two_full_ones(&"a".repeat(306), Coding::Gsm7, &[153, 153])]
    #[case::the_extension_table_counts_twice(&"€".repeat(80), Coding::Gsm7, &[160])]
    #[case::an_escape_stays_with_its_character(&"€".repeat(81), Coding::Gsm7, &[152, 10])]
    #[case::every_bracket("^{}\\[~]|€", Coding::Gsm7, &[18])]
    #[case::an_accent_that_gsm_lacks("ç", Coding::Ucs2, &[2])]
    #[case::a_full_ucs2_one(&"ж".repeat(70), Coding::Ucs2, &[140])]
    #[case::one_too_many_ucs2(&"ж".repeat(71), Coding::Ucs2, &[134, 8])]
    #[case::emoji_take_two(&"😀".repeat(35), Coding::Ucs2, &[140])]
    #[case::a_pair_stays_whole(&"😀".repeat(36), Coding::Ucs2, &[132, 12])]
    #[case::nothing("", Coding::Gsm7, &[0])]
    fn a_text_takes(#[case] text: &str, #[case] coding: Coding, #[case] parts: &[usize]) {
        assert_eq!(shape(text), (coding, parts.to_vec()));
    }

    #[rstest]
    #[case("1.234,50\u{a0}€ – „Tee“ …", "1.234,50 € - \"Tee\" ...")]
    #[case("l’été à 5\u{202f}h", "l'été à 5 h")]
    #[case("Привет – “x”", "Привет – “x”")] // would not fit all the same
    #[case("plain", "plain")]
    fn typography_that_costs_parts_is_made_plain(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(simplified(text), expected);
    }

    #[test]
    fn the_alphabet_is_the_standards() {
        // TS 23.038, 6.2.1: the ends of the table's columns, where mistakes are made.
        let octets = |text: &str| Segments::of(text).parts.concat();
        assert_eq!(octets("@Δ¡Pp¿"), [0x00, 0x10, 0x40, 0x50, 0x70, 0x60]);
        assert_eq!(octets("€"), [0x1b, 0x65]);
        assert_eq!(octets("Ç"), [0x09]);
        assert_eq!(octets("😀é"), [0xd8, 0x3d, 0xde, 0x00, 0x00, 0xe9]);
    }

    proptest! {
        #[test]
        fn parts_joined_are_the_text_and_none_is_too_long(text in "[a-z€{ж😀 ]{0,600}") {
            let segments = Segments::of(&text);
            let (alone, part) = if segments.coding == Coding::Gsm7 { GSM } else { UCS2 };
            let limit = if segments.parts.len() == 1 { alone } else { part };
            prop_assert!(segments.parts.iter().all(|part| part.len() <= limit));
            for part in &segments.parts {
                match segments.coding {
                    Coding::Gsm7 => prop_assert_ne!(part.last(), Some(&ESCAPE)),
                    Coding::Ucs2 => {
                        let units: Vec<u16> = part.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                        prop_assert!(String::from_utf16(&units).is_ok());
                    }
                }
            }
            if segments.coding == Coding::Ucs2 {
                let joined = segments.parts.concat();
                let units: Vec<u16> = joined.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                prop_assert_eq!(String::from_utf16(&units).unwrap(), text);
            } else {
                prop_assert_eq!(segments.parts.concat(), Gsm7BitUnpacked::new().encode_to_vec(&text).unwrap());
            }
        }
    }
}
