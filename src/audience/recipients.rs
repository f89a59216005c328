//! The event's own list, each user once.

use std::collections::HashSet;

use crate::model::Event;

/// Up to this many recipients, looking back over the list is cheaper than a set.
const LOOK_BACK: usize = 16;

/// The users an event names, each once, with the place in the event's list where it stands first.
///
/// Allocates only for lists of more than 16.
pub fn recipients<'e, 'a>(event: &'e Event<'a>) -> impl Iterator<Item = (usize, &'a str)> + use<'e, 'a> {
    let list = event.recipients.as_slice();
    let mut seen = (list.len() > LOOK_BACK).then(|| HashSet::with_capacity(list.len()));
    list.iter().copied().enumerate().filter(move |(index, user)| match &mut seen {
        Some(seen) => seen.insert(*user),
        None => !list[..*index].contains(user),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Priority, Timestamp};

    fn event<'a>(recipients: Vec<&'a str>) -> Event<'a> {
        Event {
            id: "e-1",
            source: "shop/orders",
            kind: "order.shipped",
            time: Timestamp(0),
            tenant: "default",
            category: "orders",
            priority: Priority::Normal,
            recipients,
            audience: None,
            channels: None,
            template: None,
            data: "",
            locale: None,
            not_before: None,
            expires_at: None,
            collapse_key: None,
        }
    }

    #[test]
    fn someone_named_twice_is_told_once_at_the_first_place() {
        let event = event(vec!["ada", "bob", "ada", "eve", "bob"]);
        assert_eq!(recipients(&event).collect::<Vec<_>>(), [(0, "ada"), (1, "bob"), (3, "eve")]);
    }

    proptest! {
        #[test]
        fn short_and_long_lists_are_told_apart_by_length_alone(names in prop::collection::vec("[a-d]{1,2}", 0..60)) {
            let event = event(names.iter().map(String::as_str).collect());
            let mut expected: Vec<(usize, &str)> = Vec::new();
            for (index, name) in names.iter().enumerate() {
                if !expected.iter().any(|(_, known)| known == name) {
                    expected.push((index, name));
                }
            }
            prop_assert_eq!(recipients(&event).collect::<Vec<_>>(), expected);
        }
    }
}
