//! The effective configuration as TOML, secrets as `***`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

use super::is_secret;
use super::load::Loaded;
use super::schema::{self, Key, ROOT, Shape};
use super::tree::{Kind, Node};

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
    let is_table = |node: &Node| matches!(node.kind, Kind::Table(_));
    let is_empty = |node: &Node| matches!(&node.kind, Kind::Table(table) if table.is_empty());
    for (name, node) in table.iter().filter(|(_, node)| !is_table(node)) {
        let shape = shape_of(shape, name);
        let hidden =
            matches!(shape, Some(Shape::Secret)) || (matches!(shape, Some(Shape::Property)) && is_secret(name));
        let value = if hidden { HIDDEN.to_owned() } else { inline(node) };
        let origin = if origins { format!("  # {}", node.origin) } else { String::new() };
        let _ = writeln!(out, "{} = {value}{origin}", key(name));
    }
    for (name, node) in table.iter().filter(|(_, node)| is_table(node) && !is_empty(node)) {
        let Kind::Table(table) = &node.kind else { continue };
        let path = [path, &[name.as_str()]].concat();
        let header: Vec<String> = path.iter().map(|part| key(part)).collect();
        let _ = write!(out, "\n[{}]\n", header.join("."));
        table_lines(out, &path, table, shape_of(shape, name), origins);
    }
}

fn shape_of(parent: Option<&'static Shape>, name: &str) -> Option<&'static Shape> {
    match parent? {
        Shape::Section(keys) => schema::find(keys, name).map(|key: &'static Key| &key.shape),
        Shape::Map { of, .. } => Some(of),
        _ => None,
    }
}

fn inline(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { hidden: true, .. } => HIDDEN.to_owned(),
        Kind::Scalar { value, .. } => value.to_string(),
        Kind::List(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Kind::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(name, node)| format!("{} = {}", key(name), inline(node))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}
