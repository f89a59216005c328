//! Holds a merged tree against the known keys: collects every problem and reads loose text as the type that belongs
//! there.

use std::collections::BTreeMap;

use toml::Value;

use super::interpolate::{Sources, interpolate};
use super::problem::{Origin, Problem};
use super::schema::{self, Key, ROOT, Shape};
use super::tree::{Kind, Node, text};
use crate::model::parse_delay;

/// All that is wrong with `root`.
pub(super) fn check(root: &mut Node, env: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut check = Check { sources: Sources { env }, path: Vec::new(), problems: Vec::new() };
    check.node(root, &ROOT);
    check.problems
}

/// A key's path as TOML writes it.
pub(super) fn dotted(path: &[String]) -> String {
    let bare = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let part = |part: &String| if bare(part) || part.starts_with('[') { part.clone() } else { format!("\"{part}\"") };
    path.iter().map(part).collect::<Vec<_>>().join(".").replace(".[", "[")
}

/// The known name that `wrong` was likely meant to be.
pub(super) fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name));
    near.filter(|(distance, name)| *distance <= 1 + name.len() / 4).min().map(|(_, name)| name)
}

struct Check<'a> {
    sources: Sources<'a>,
    path: Vec<String>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, origin: &Origin, message: impl Into<String>) {
        self.problems.push(Problem { origin: origin.clone(), key: dotted(&self.path), message: message.into() });
    }

    fn within(&mut self, part: &str, work: impl FnOnce(&mut Self)) {
        self.path.push(part.to_owned());
        work(self);
        self.path.pop();
    }

    fn node(&mut self, node: &mut Node, shape: &Shape) {
        let Node { origin, kind } = node;
        match (shape, kind) {
            (Shape::Section(keys), Kind::Table(table)) => self.section(table, &[keys], origin),
            (Shape::Map { of, check_key }, Kind::Table(table)) => {
                for (key, value) in table {
                    self.within(key, |check| match check_key(key) {
                        Ok(()) => check.node(value, of),
                        Err(message) => check.problem(&value.origin, message),
                    });
                }
            }
            (Shape::Providers(kinds), Kind::Table(table)) => self.provider(table, kinds, origin),
            (Shape::Providers(kinds), Kind::List(list)) => self.providers(list, kinds, origin),
            (Shape::List { of, min }, Kind::List(list)) => self.list(list, of, *min, origin),
            (Shape::Rising, Kind::List(list)) => {
                self.list(list, &Shape::Delay(1), 1, origin);
                self.rising(list);
            }
            (Shape::Section(_) | Shape::Map { .. } | Shape::Providers(_), _) => {
                self.problem(origin, "must be a table of keys")
            }
            (Shape::List { .. } | Shape::Rising, _) => self.problem(origin, "must be a list, as in `[\"a\", \"b\"]`"),
            (_, Kind::Table(_)) => self.problem(origin, format!("must be {}, not a table", wanted(shape))),
            (_, Kind::List(_)) => self.problem(origin, format!("must be {}, not a list", wanted(shape))),
            (_, Kind::Scalar { value, loose, hidden }) => {
                let origin = origin.clone();
                if self.interpolate(value, loose, hidden, &origin)
                    && let Err(message) = scalar(value, *loose, *hidden, shape)
                {
                    self.problem(&origin, message);
                }
            }
        }
    }

    /// A table whose keys are those of all `sections`.
    fn section(&mut self, table: &mut BTreeMap<String, Node>, sections: &[&'static [Key]], origin: &Origin) {
        for (name, value) in table.iter_mut() {
            self.within(name, |check| match sections.iter().find_map(|keys| schema::find(keys, name)) {
                Some(key) => check.node(value, &key.shape),
                None => check.unknown(name, sections, &value.origin),
            });
        }
        for key in sections.iter().copied().flatten().filter(|key| key.required && !table.contains_key(key.name)) {
            self.within(key.name, |check| check.problem(origin, "is missing"));
        }
    }

    fn providers(&mut self, list: &mut [Node], kinds: &'static [schema::Kind], origin: &Origin) {
        if list.is_empty() {
            self.problem(origin, "must not be empty; leave the channel out instead");
        }
        for (index, Node { origin, kind }) in list.iter_mut().enumerate() {
            self.within(&format!("[{index}]"), |check| match kind {
                Kind::Table(table) => check.provider(table, kinds, origin),
                _ => check.problem(origin, "must be a table of keys"),
            });
        }
    }

    fn provider(&mut self, table: &mut BTreeMap<String, Node>, kinds: &'static [schema::Kind], origin: &Origin) {
        let named = table.get("kind").and_then(text);
        if let Some(kind) = schema::Kind::of(kinds, named) {
            let own: &[Key] = if kinds.len() > 1 { schema::KIND } else { &[] };
            return self.section(table, &[kind.keys, schema::COMMON, own], origin);
        }
        let known: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        let (problem, at) = match (named, table.get("kind")) {
            (Some(word), Some(node)) => match suggestion(word, known.iter().copied()) {
                Some(near) => (format!("must be one of {}; did you mean `{near}`?", known.join(", ")), &node.origin),
                None => (format!("must be one of {}", known.join(", ")), &node.origin),
            },
            (_, Some(node)) => (format!("must be one of {}", known.join(", ")), &node.origin),
            (_, None) => (format!("is missing: one of {}", known.join(", ")), origin),
        };
        let at = at.clone();
        self.within("kind", |check| check.problem(&at, problem));
    }

    fn unknown(&mut self, name: &str, sections: &[&'static [Key]], origin: &Origin) {
        let keys = || sections.iter().copied().flatten().map(|key| key.name);
        let message = match suggestion(name, keys()) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None => match elsewhere(name) {
                Some(place) => format!("unknown key; did you mean `{place}`?"),
                None => format!("unknown key; known here: {}", keys().collect::<Vec<_>>().join(", ")),
            },
        };
        self.problem(origin, message);
    }

    fn list(&mut self, list: &mut [Node], of: &Shape, min: usize, origin: &Origin) {
        if list.len() < min {
            self.problem(origin, "must not be empty");
        }
        for (index, item) in list.iter_mut().enumerate() {
            self.within(&format!("[{index}]"), |check| check.node(item, of));
        }
    }

    fn rising(&mut self, list: &[Node]) {
        let delays: Vec<_> =
            list.iter().filter_map(|item| text(item).and_then(|text| parse_delay(text).ok())).collect();
        if delays.len() != list.len() {
            return;
        }
        let fall = delays.windows(2).position(|pair| pair[0] >= pair[1]);
        if let (Some(index), Some(origin)) = (fall, list.first().map(|item| item.origin.clone())) {
            let (one, next) = (&list[index], &list[index + 1]);
            let message =
                format!("must rise: `{}` comes after `{}`", text(next).unwrap_or(""), text(one).unwrap_or(""));
            self.problem(&origin, message);
        }
    }

    /// False when it failed and the value is not worth a further check.
    fn interpolate(&mut self, value: &mut Value, loose: &mut bool, hidden: &mut bool, origin: &Origin) -> bool {
        let Value::String(text) = value else { return true };
        match interpolate(text, &self.sources) {
            Ok(None) => true,
            Ok(Some(resolved)) => {
                *hidden = true;
                *loose = true;
                *text = resolved;
                true
            }
            Err(message) => {
                self.problem(origin, message);
                false
            }
        }
    }
}

/// The dotted path of the first known key of this name in any section.
fn elsewhere(name: &str) -> Option<String> {
    fn search(shape: &'static Shape, name: &str, path: &mut Vec<String>) -> bool {
        let sections: Vec<&'static [Key]> = match shape {
            Shape::Section(keys) => vec![keys],
            Shape::Providers(kinds) => kinds.iter().map(|kind| kind.keys).collect(),
            _ => return false,
        };
        sections.into_iter().flatten().any(|key| {
            path.push(key.name.to_owned());
            let found = key.name == name || search(&key.shape, name, path);
            if !found {
                path.pop();
            }
            found
        })
    }
    let mut path = Vec::new();
    search(&ROOT, name, &mut path).then(|| dotted(&path))
}

fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::Section(_) | Shape::Map { .. } | Shape::Providers(_) => "a table".to_owned(),
        Shape::List { .. } | Shape::Rising => "a list".to_owned(),
        Shape::Text(_) | Shape::Secret => "text in quotes".to_owned(),
        Shape::Property => "text, a number or true/false".to_owned(),
        Shape::Whole(min, max) => format!("a whole number from {min} to {max}"),
        Shape::Flag => "true or false".to_owned(),
        Shape::Delay(_) => "a duration in quotes, as in `\"10s\"`".to_owned(),
        Shape::Choice(words) => format!("one of {}", words().join(", ")),
    }
}

/// Checks a scalar and makes it the type that belongs there.
fn scalar(value: &mut Value, loose: bool, hidden: bool, shape: &Shape) -> Result<(), String> {
    let secret = matches!(shape, Shape::Secret | Shape::Property) || hidden;
    let shown = |value: &Value| match secret {
        true => String::new(),
        false if loose => format!(", not `{}`", plain(value)),
        false => format!(", not `{value}`"),
    };
    let mismatch = |value: &Value| Err(format!("must be {}{}", wanted(shape), shown(value)));
    match shape {
        Shape::Text(check) => match value {
            Value::String(text) => check(text).map_err(|message| worded(&message, secret)),
            other => mismatch(other),
        },
        Shape::Secret => match value {
            Value::String(text) if text.is_empty() => Err("is empty".to_owned()),
            Value::String(_) => Ok(()),
            other => mismatch(other),
        },
        Shape::Property => match value {
            Value::String(_) => Ok(()),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                *value = Value::String(plain(value));
                Ok(())
            }
            other => mismatch(other),
        },
        Shape::Delay(min) => match value {
            Value::String(text) => schema::delay(text, *min).map_err(|message| worded(&message, secret)),
            other => mismatch(other),
        },
        Shape::Choice(words) => match value {
            Value::String(text) => one_of(text, &words(), secret).map(|word| *text = word.to_owned()),
            other => mismatch(other),
        },
        Shape::Whole(min, max) => match whole(value, loose) {
            Some(number) if (*min..=*max).contains(&number) => {
                *value = Value::Integer(number);
                Ok(())
            }
            _ => mismatch(value),
        },
        Shape::Flag => match flag(value, loose) {
            Some(flag) => {
                *value = Value::Boolean(flag);
                Ok(())
            }
            None => mismatch(value),
        },
        Shape::Section(_) | Shape::Map { .. } | Shape::Providers(_) | Shape::List { .. } | Shape::Rising => {
            mismatch(value)
        }
    }
}

/// A check's message may quote the value.
fn worded(message: &str, secret: bool) -> String {
    if secret {
        "does not have the form that belongs here (the value is not shown)".to_owned()
    } else {
        message.to_owned()
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Words are taken in any case; the canonical spelling is kept.
fn one_of<'a>(text: &str, words: &[&'a str], secret: bool) -> Result<&'a str, String> {
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(word);
    }
    let shown = if secret { String::new() } else { format!(", not `{text}`") };
    let near = suggestion(text, words.iter().copied()).filter(|_| !secret);
    let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(format!("must be one of {}{shown}{hint}", words.join(", ")))
}

fn whole(value: &Value, loose: bool) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::String(text) if loose => text.trim().parse().ok(),
        _ => None,
    }
}

fn flag(value: &Value, loose: bool) -> Option<bool> {
    match value {
        Value::Boolean(flag) => Some(*flag),
        Value::String(text) if loose => text.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}
