//! What a producer may claim.

use super::{Event, Priority};

/// Binds input topics to what their producers may claim; without any rule everything is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule {
    /// Input topics without the installation's prefix, `*` matches any run of characters.
    pub topics: Vec<String>,
    /// Tenants; empty means any.
    pub tenants: Vec<String>,
    /// Categories; empty means any.
    pub categories: Vec<String>,
    /// The highest priority.
    pub max_priority: Priority,
}

impl SourceRule {
    /// Whether this rule speaks of `topic` and allows all that the event claims.
    pub fn allows(&self, topic: &str, event: &Event<'_>) -> bool {
        let listed = |list: &[String], word: &str| list.is_empty() || list.iter().any(|entry| entry == word);
        self.topics.iter().any(|pattern| glob_matches(pattern, topic))
            && listed(&self.tenants, event.tenant)
            && listed(&self.categories, event.category)
            && event.priority <= self.max_priority
    }
}

/// Whether `text` as a whole matches `pattern`, in which `*` stands for any run of characters. Goes back only to the
/// last `*`, so the time is at most the product of the lengths.
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("notify.events.orders", "notify.events.orders", true)]
    #[case("notify.events.orders", "notify.events.orders2", false)]
    #[case("notify.events.*", "notify.events.orders", true)]
    #[case("notify.events.*", "notify.events.", true)]
    #[case("notify.events.*", "notify.event", false)]
    #[case("*", "", true)]
    #[case("", "", true)]
    #[case("", "x", false)]
    #[case("*.orders", "notify.events.orders", true)]
    #[case("*.orders", "notify.events.orders.eu", false)]
    #[case("notify.*.orders.*", "notify.events.orders.orders.eu", true)]
    #[case("*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false)]
    fn a_star_stands_for_any_run_of_characters(#[case] pattern: &str, #[case] topic: &str, #[case] matches: bool) {
        assert_eq!(glob_matches(pattern, topic), matches);
    }
}
