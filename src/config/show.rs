//! The effective configuration as TOML, secrets as `***`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

use super::is_secret;
use super::load::Loaded;
use super::schema::{self, Key, ROOT, Shape};
use super::tree::{Kind, Node, text};

/// What stands for a value that is not shown.
const HIDDEN: &str = "\"***\"";

impl Loaded {
    /// As TOML; with `origins`, each value's line says where it came from.
    pub fn to_toml(&self, origins: bool) -> String {
        let mut out = String::new();
        if let Kind::Table(table) = &self.tree.kind {
            table_lines(&mut out, &[], table, Some(&ROOT), origins);
        }
        out.trim_start().to_owned()
    }
}

fn table_lines(
    out: &mut String,
    path: &[&str],
    table: &BTreeMap<String, Node>,
    shape: Option<&'static Shape>,
    origins: bool,
) {
    let kind = table.get("kind").and_then(text);
    let shape_of = |name: &str| shape_of(shape, kind, name);
    let is_empty = |node: &Node| matches!(&node.kind, Kind::Table(table) if table.is_empty());
    let (below, lines): (Vec<_>, Vec<_>) = table.iter().partition(|(name, node)| {
        let providers = matches!(shape_of(name), Some(Shape::Providers(_)));
        matches!(node.kind, Kind::Table(_)) || (providers && matches!(node.kind, Kind::List(_)))
    });
    for (name, node) in lines {
        let shape = shape_of(name);
        let hidden = matches!(shape, Some(Shape::Property)) && is_secret(name);
        let value = if hidden { HIDDEN.to_owned() } else { inline(node, shape) };
        let origin = if origins { format!("  # {}", node.origin) } else { String::new() };
        let _ = writeln!(out, "{} = {value}{origin}", key(name));
    }
    for (name, node) in below.into_iter().filter(|(_, node)| !is_empty(node)) {
        let path = [path, &[name.as_str()]].concat();
        let header = path.iter().map(|part| key(part)).collect::<Vec<_>>().join(".");
        let shape = shape_of(name);
        match &node.kind {
            Kind::Table(table) => {
                let _ = write!(out, "\n[{header}]\n");
                table_lines(out, &path, table, shape, origins);
            }
            Kind::List(list) => {
                for item in list {
                    let Kind::Table(table) = &item.kind else { continue };
                    let _ = write!(out, "\n[[{header}]]\n");
                    table_lines(out, &path, table, shape, origins);
                }
            }
            Kind::Scalar { .. } => {}
        }
    }
}

/// The shape of a key; `kind` is what its table's key of this name says.
fn shape_of(parent: Option<&'static Shape>, kind: Option<&str>, name: &str) -> Option<&'static Shape> {
    let shape = |key: &'static Key| &key.shape;
    match parent? {
        Shape::Section(keys) => schema::find(keys, name).map(shape),
        Shape::Providers(kinds) => {
            let own = schema::Kind::of(kinds, kind).map_or(&[] as &[Key], |kind| kind.keys);
            schema::find(own, name).or_else(|| schema::find(schema::COMMON, name)).map(shape)
        }
        Shape::Map { of, .. } | Shape::List { of, .. } => Some(of),
        _ => None,
    }
}

fn inline(node: &Node, shape: Option<&'static Shape>) -> String {
    match &node.kind {
        Kind::Scalar { hidden: true, .. } => HIDDEN.to_owned(),
        Kind::Scalar { .. } if matches!(shape, Some(Shape::Secret)) => HIDDEN.to_owned(),
        Kind::Scalar { value, .. } => value.to_string(),
        Kind::List(list) => {
            let of = shape_of(shape, None, "");
            format!("[{}]", list.iter().map(|item| inline(item, of)).collect::<Vec<_>>().join(", "))
        }
        Kind::Table(table) => {
            let entry = |(name, node): (&String, &Node)| {
                format!("{} = {}", key(name), inline(node, shape_of(shape, None, name)))
            };
            format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}
