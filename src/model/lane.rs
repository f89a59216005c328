//! The records of `notify.lanes.<channel>`: which of a recipient's notifications of strict order wait in tiers. JSON
//! under the recipient's key, compacted; a tombstone says that none does.

use serde::{Deserialize, Serialize};

/// What waits of one recipient, by class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Of the main topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<WaitingLine>,
    /// Of the urgent topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgent: Option<WaitingLine>,
}

/// What waits of one recipient and class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingLine {
    /// Their `notify-lane-seq`, rising: the first is the lowest outstanding, which alone may be sent. Not empty.
    pub outstanding: Vec<u64>,
    /// When the first is due, in milliseconds since the epoch.
    pub due_ms: i64,
    /// There are more, all behind the last one that is named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_spells_the_record() {
        let line = WaitingLine { outstanding: vec![65_536, 131_073], due_ms: 1_700_000_000_000, more: false };
        let record = LaneRecord { main: Some(line), urgent: None };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"main":{"outstanding":[65536,131073],"due_ms":1700000000000}}"#);
        assert_eq!(serde_json::from_str::<LaneRecord>(&text).unwrap(), record);
    }
}
