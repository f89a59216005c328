//! The rules of all time zones, read once, so that the chain neither locks nor reads files.

use hashbrown::HashMap;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Every IANA time zone by name. Built at start (a few milliseconds, about 2 MB); a process sees new rules when it
/// is started anew.
#[derive(Debug, Clone)]
pub struct Zones {
    by_name: HashMap<Box<str>, TimeZone>,
}

impl Zones {
    /// The system's zones, or the built-in ones where the system has none (a minimal container image).
    pub fn load() -> Self {
        let zones = Zones::read(&TimeZoneDatabase::from_env());
        if zones.by_name.is_empty() { Zones::bundled() } else { zones }
    }

    /// The zones built into this program, the same on every machine.
    pub fn bundled() -> Self {
        Zones::read(&TimeZoneDatabase::bundled())
    }

    fn read(database: &TimeZoneDatabase) -> Self {
        // `posix/…` and `right/…` are the same zones again on some systems, the latter with leap seconds.
        let by_name = database
            .available()
            .filter(|name| !name.as_str().starts_with("posix/") && !name.as_str().starts_with("right/"))
            .filter_map(|name| Some((name.as_str().into(), database.get(name.as_str()).ok()?)))
            .collect();
        Zones { by_name }
    }

    /// The zone of a name, whatever its case; the empty name is UTC.
    pub fn get(&self, name: &str) -> Option<&TimeZone> {
        if name.is_empty() {
            return Some(const { &TimeZone::UTC });
        }
        self.by_name.get(name).or_else(|| {
            let found = self.by_name.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, zone)| zone)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_name_in_any_case_and_the_empty_name_is_utc() {
        for zones in [Zones::load(), Zones::bundled()] {
            assert_eq!(zones.get("Europe/Berlin").and_then(TimeZone::iana_name), Some("Europe/Berlin"));
            assert_eq!(zones.get("europe/berlin"), zones.get("Europe/Berlin"));
            assert_eq!(zones.get(""), Some(&TimeZone::UTC));
            assert_eq!(zones.get("Mars/Olympus"), None);
        }
    }
}
