//! Configuration before it is typed: values with where each came from, and how layers merge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) kind: Kind,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Scalar {
        value: Value,
        /// Text from the environment, a flag or an interpolation, to be read as whatever type belongs there.
        loose: bool,
        /// It came by an interpolation and is not shown.
        hidden: bool,
    },
}

impl Node {
    pub(super) fn table(origin: Origin) -> Node {
        Node { origin, kind: Kind::Table(BTreeMap::new()) }
    }

    /// Text from outside of a file.
    pub(super) fn loose(origin: Origin, text: &str) -> Node {
        Node { origin, kind: Kind::Scalar { value: Value::String(text.to_owned()), loose: true, hidden: false } }
    }

    /// Lays `over` on top: tables merge, everything else is replaced.
    pub(super) fn merge(&mut self, over: Node) {
        match (&mut self.kind, over.kind) {
            (Kind::Table(under), Kind::Table(over_table)) => {
                if over.origin != Origin::Default {
                    self.origin = over.origin;
                }
                for (key, node) in over_table {
                    match under.get_mut(&key) {
                        Some(present) => present.merge(node),
                        None => {
                            under.insert(key, node);
                        }
                    }
                }
            }
            (_, kind) => *self = Node { origin: over.origin, kind },
        }
    }

    /// Puts `node` at `path`, making tables on the way; a number in the path is a place in a list.
    pub(super) fn put(&mut self, path: &[String], node: Node) -> Option<Problem> {
        self.put_below(&[], path, node)
    }

    fn put_below(&mut self, above: &[String], path: &[String], node: Node) -> Option<Problem> {
        let Some((first, rest)) = path.split_first() else {
            self.merge(node);
            return None;
        };
        let here = [above, std::slice::from_ref(first)].concat();
        if let Kind::List(list) = &mut self.kind {
            let count = list.len();
            let Some(item) = first.parse::<usize>().ok().and_then(|index| list.get_mut(index)) else {
                let message = format!("there are {count} of them: name one by its number, from 0 on");
                return Some(Problem { origin: node.origin, key: here.join("."), message });
            };
            return item.put_below(&here, rest, node);
        }
        if is_index(first) && !rest.is_empty() {
            // What stands here alone is the first.
            let message = "there is only one, and it has no number".to_owned();
            let problem = Problem { origin: node.origin.clone(), key: here.join("."), message };
            return if first == "0" { self.put_below(&here, rest, node) } else { Some(problem) };
        }
        if !matches!(self.kind, Kind::Table(_)) {
            self.kind = Kind::Table(BTreeMap::new());
        }
        let Kind::Table(table) = &mut self.kind else { return None };
        let entry = table.entry(first.clone()).or_insert_with(|| Node::table(node.origin.clone()));
        entry.put_below(&here, rest, node)
    }

    /// Without origins, for serde.
    pub(super) fn into_value(self) -> Value {
        match self.kind {
            Kind::Table(table) => Value::Table(table.into_iter().map(|(key, node)| (key, node.into_value())).collect()),
            Kind::List(list) => Value::Array(list.into_iter().map(Node::into_value).collect()),
            Kind::Scalar { value, .. } => value,
        }
    }
}

/// A value that is text.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar { value: Value::String(text), .. } => Some(text),
        _ => None,
    }
}

/// Whether a part of a path names a place in a list. No key is a number.
pub(super) fn is_index(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where the text being parsed stands.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A file: values get their lines.
    File(Arc<PathBuf>),
    /// Anything else: all values share the origin.
    Whole(Origin),
}

impl Place {
    pub(super) fn file(path: &Path) -> Place {
        Place::File(Arc::new(path.to_owned()))
    }

    fn at(&self, text: &str, offset: usize) -> Origin {
        match self {
            Place::Whole(origin) => origin.clone(),
            Place::File(path) => {
                let before = text.as_bytes().get(..offset).unwrap_or_default();
                Origin::File { path: path.clone(), line: 1 + before.iter().filter(|byte| **byte == b'\n').count() }
            }
        }
    }
}

/// Parses a TOML document; all syntax errors at once.
pub(super) fn parse(text: &str, place: &Place) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(from_table(table.get_ref(), text, place, place.at(text, 0)));
    }
    let problem = |error: &toml::de::Error| Problem {
        origin: place.at(text, error.span().map_or(0, |span| span.start)),
        key: String::new(),
        message: format!("not TOML: {}", error.message()),
    };
    Err(errors.iter().map(problem).collect())
}

/// Parses one TOML value, as in `["a", "b"]`.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Result<Node, String> {
    let value = DeValue::parse(text).map_err(|error| format!("not a TOML value: {}", error.message()))?;
    Ok(from_value(value.get_ref(), text, &Place::Whole(origin.clone()), origin.clone()))
}

fn from_table(table: &DeTable<'_>, text: &str, place: &Place, origin: Origin) -> Node {
    let entries = table.iter().map(|(key, value)| {
        let origin = place.at(text, key.span().start);
        (key.get_ref().clone().into_owned(), from_value(value.get_ref(), text, place, origin))
    });
    Node { origin, kind: Kind::Table(entries.collect()) }
}

fn from_value(value: &DeValue<'_>, text: &str, place: &Place, origin: Origin) -> Node {
    let scalar = |value| Kind::Scalar { value, loose: false, hidden: false };
    let kind = match value {
        DeValue::Table(table) => return from_table(table, text, place, origin),
        DeValue::Array(array) => {
            let node = |item: &toml::Spanned<DeValue<'_>>| {
                from_value(item.get_ref(), text, place, place.at(text, item.span().start))
            };
            Kind::List(array.iter().map(node).collect())
        }
        DeValue::String(text) => scalar(Value::String(text.clone().into_owned())),
        DeValue::Boolean(flag) => scalar(Value::Boolean(*flag)),
        DeValue::Datetime(at) => scalar(Value::Datetime(*at)),
        DeValue::Integer(number) => {
            // A number that does not fit in 64 bits stays text and is refused as such.
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            scalar(parsed.map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Integer))
        }
        DeValue::Float(number) => {
            scalar(number.as_str().parse().map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Float))
        }
    };
    Node { origin, kind }
}
