//! Who works with the topics, and so needs rights on them.

use std::fmt;
use std::str::FromStr;

use super::Channel;

/// A part that is played on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `notilog router`.
    Router,
    /// `notilog deliver`.
    Deliver,
    /// `notilog receipts`.
    Receipts,
    /// The command line.
    Operator,
    /// Services that write events.
    Producer,
    /// Readers of decisions and statuses.
    Analyst,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] =
        [Role::Router, Role::Deliver, Role::Receipts, Role::Operator, Role::Producer, Role::Analyst];

    /// As in `topics/acls.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::Deliver => "deliver",
            Role::Receipts => "receipts",
            Role::Operator => "operator",
            Role::Producer => "producer",
            Role::Analyst => "analyst",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role, or delivery by one channel: what a principal can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The role.
    pub role: Role,
    /// Only this channel's part; only of [`Role::Deliver`].
    pub channel: Option<Channel>,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.channel {
            None => self.role.fmt(f),
            Some(channel) => write!(f, "{}.{channel}", self.role),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, channel) = text.split_once('.').map_or((text, None), |(role, channel)| (role, Some(channel)));
        let wrong = || {
            let roles: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
            format!("`{text}` is no role; there are {} and deliver.<channel>", roles.join(", "))
        };
        let role = Role::ALL.into_iter().find(|known| known.as_str() == role).ok_or_else(wrong)?;
        let of_channel = |name| Channel::ALL.iter().copied().find(|known| known.as_str() == name).ok_or_else(wrong);
        match channel.map(of_channel).transpose()? {
            Some(_) if role != Role::Deliver => Err(wrong()),
            channel => Ok(Share { role, channel }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_as_it_is_written() {
        for text in ["router", "deliver", "deliver.email", "operator", "producer", "analyst"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["", "rooter", "router.email", "deliver.pigeon", "deliver."] {
            assert!(text.parse::<Share>().unwrap_err().contains("is no role"), "{text}");
        }
    }
}
