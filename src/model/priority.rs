//! How urgent an event is.

use serde::{Deserialize, Serialize};

/// Declared in rising order, so that `<` compares urgency. An Avro enum of the same symbols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Priority {
    /// May wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Goes to the urgent topics.
    High,
    /// Goes to the urgent topics.
    Critical,
}

impl Priority {
    /// Every priority in rising order.
    pub const ALL: &'static [Priority] = &[Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

    /// The symbol in records and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "LOW",
            Priority::Normal => "NORMAL",
            Priority::High => "HIGH",
            Priority::Critical => "CRITICAL",
        }
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Priority::ALL
            .iter()
            .copied()
            .find(|priority| priority.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is not one of LOW, NORMAL, HIGH, CRITICAL"))
    }
}
