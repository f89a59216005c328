//! Which locales to try, and how each writes dates and numbers.

/// `locale` and what is left when subtags are cut off from its end, lower case; after RFC 4647, section 3.4: a
/// single-letter subtag goes together with the one behind it.
pub(super) fn fallbacks(locale: &str) -> impl Iterator<Item = String> {
    let mut rest = normal(locale);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let current = rest.clone();
        rest.truncate(rest.rfind('-').unwrap_or(0));
        if rest.len() >= 2 && rest.as_bytes()[rest.len() - 2] == b'-' {
            rest.truncate(rest.len() - 2);
        }
        Some(current)
    })
}

/// The locale that dates and numbers are written in: the recipient's, if the text is in its language, else the text's.
pub(super) fn of_text<'a>(wanted: &'a str, found: &'a str) -> &'a str {
    let language = |locale: &str| normal(locale).split('-').next().map(str::to_owned);
    if language(wanted) == language(found) { wanted } else { found }
}

/// Lower case, with `-` between the subtags.
pub(super) fn normal(locale: &str) -> String {
    locale.trim().replace('_', "-").to_ascii_lowercase()
}

/// Whether a folder's name can be a language tag: letters and digits in runs of 1 to 8, the first of 2 to 3 or 5 to
/// 8 letters (RFC 5646, section 2.1, without its registry).
pub(super) fn is_tag(name: &str) -> bool {
    let mut subtags = name.split('-');
    let first = subtags.next().unwrap_or_default();
    let language = matches!(first.len(), 2 | 3 | 5..=8) && first.bytes().all(|byte| byte.is_ascii_alphabetic());
    language && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// How a language writes dates and numbers; a small table, not CLDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Customs {
    /// strftime pattern of date, time and zone.
    pub(super) datetime: &'static str,
    /// Between groups of three digits.
    pub(super) group: &'static str,
    /// Before the fraction.
    pub(super) decimal: &'static str,
    /// Whether the currency stands before the amount.
    pub(super) currency_first: bool,
}

/// The customs of a locale's language; ISO dates and English numbers for those not in the table.
pub(super) fn customs(locale: &str) -> Customs {
    let locale = normal(locale);
    let (datetime, group, decimal, currency_first) = match locale.split('-').next().unwrap_or_default() {
        "en" if locale == "en-us" => ("%b %-d, %Y, %-I:%M %p %Z", ",", ".", true),
        "en" => ("%-d %b %Y, %H:%M %Z", ",", ".", true),
        "de" if locale == "de-ch" || locale == "de-li" => ("%d.%m.%Y, %H:%M Uhr (%Z)", "’", ".", true),
        "de" => ("%d.%m.%Y, %H:%M Uhr (%Z)", ".", ",", false),
        "fr" => ("%d/%m/%Y %H:%M (%Z)", "\u{202f}", ",", false),
        "es" | "it" | "pt" => ("%d/%m/%Y, %H:%M (%Z)", ".", ",", false),
        "pl" | "cs" | "sk" | "fi" | "nb" | "no" | "ru" | "uk" => ("%d.%m.%Y, %H:%M (%Z)", "\u{a0}", ",", false),
        "tr" | "da" => ("%d.%m.%Y %H:%M (%Z)", ".", ",", false),
        "nl" => ("%d-%m-%Y %H:%M (%Z)", ".", ",", true),
        _ => ("%Y-%m-%d %H:%M %Z", ",", ".", true),
    };
    Customs { datetime, group, decimal, currency_first }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("de-AT", &["de-at", "de"])]
    #[case("de_AT", &["de-at", "de"])]
    #[case("zh-Hant-x-a", &["zh-hant-x-a", "zh-hant", "zh"])]
    #[case("en", &["en"])]
    #[case("", &[])]
    fn subtags_are_cut_off_from_the_end(#[case] locale: &str, #[case] expected: &[&str]) {
        assert_eq!(fallbacks(locale).collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case("en", true)]
    #[case("pt-BR", true)]
    #[case("zh-Hant-TW", true)]
    #[case("email", true)]
    #[case("e", false)]
    #[case("en-", false)]
    #[case("de_AT", false)]
    #[case(".git", false)]
    fn folder_names_are_language_tags(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_tag(name), expected);
    }
}
