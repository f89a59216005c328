//! Refuses schemas of which a few bytes would mean much work: strangers may register what they like.

use hashbrown::HashMap;
use serde_avro_fast::schema::{RegularType, SchemaKey, SchemaMut};
use serde_json::Value;

/// Longer schemas are refused, in bytes; bounds every recursion over one, too.
const MAX_TEXT: usize = 128 * 1024;

/// The most ways from a record to those that are its fields, their fields, and so on: serde_avro_fast walks them
/// all when it looks for cycles.
const MAX_PATHS: usize = 4_096;

/// The most values without a byte of their own (nulls, empty fixed) that one record may hold.
const MAX_FREE: usize = 1_024;

/// Holds the texts of a schema against the bounds that must hold before it is parsed.
///
/// # Errors
/// A sentence on what is too much.
pub(super) fn check_texts<'a>(texts: impl Iterator<Item = &'a Value> + Clone, length: usize) -> Result<(), String> {
    if length > MAX_TEXT {
        return Err(format!("it has {length} bytes; at most {MAX_TEXT} are read"));
    }
    let mut records = Records::default();
    texts.for_each(|text| {
        records.collect(text, "");
    });
    let names: Vec<String> = records.fields.keys().cloned().collect();
    let mut paths = HashMap::new();
    names.iter().try_for_each(|name| match records.paths(name, &mut paths) {
        None => Err(format!("the record `{name}` always holds itself")),
        Some(count) if count > MAX_PATHS => Err(format!("the record `{name}` nests records in too many ways")),
        Some(_) => Ok(()),
    })
}

/// The records of a schema by full name, each with the names of its fields' types where they may be records.
#[derive(Default)]
struct Records {
    fields: HashMap<String, Vec<String>>,
}

impl Records {
    /// Collects the records in a type; gives the type's full name if it has one.
    fn collect(&mut self, type_: &Value, namespace: &str) -> Option<String> {
        match type_ {
            Value::String(name) => Some(full_name(name, namespace)),
            Value::Array(branches) => {
                // A union's value has a byte that says which: it ends a path.
                branches.iter().for_each(|branch| drop(self.collect(branch, namespace)));
                None
            }
            Value::Object(object) => {
                let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
                let name = object.get("name").and_then(Value::as_str).map(|name| full_name(name, own));
                // What stands within a named type is in that type's namespace.
                let inner = match &name {
                    Some(name) => name.rsplit_once('.').map_or("", |(inner, _)| inner),
                    None => namespace,
                };
                for key in ["items", "values"] {
                    object.get(key).into_iter().for_each(|element| drop(self.collect(element, inner)));
                }
                let fields = object.get("fields").and_then(Value::as_array);
                let types = fields.into_iter().flatten().filter_map(|field| field.get("type"));
                let direct: Vec<String> = types.filter_map(|type_| self.collect(type_, inner)).collect();
                if let (Some(name), Some(_)) = (&name, fields) {
                    self.fields.insert(name.clone(), direct);
                }
                name
            }
            _ => None,
        }
    }

    /// How many ways lead from a record to those within it; `None` when one leads back.
    fn paths(&self, name: &str, known: &mut HashMap<String, Option<usize>>) -> Option<usize> {
        let Some(fields) = self.fields.get(name) else { return Some(0) };
        if let Some(known) = known.get(name) {
            return *known;
        }
        // While it is looked at, a way back to it is a cycle.
        known.insert(name.to_owned(), None);
        let count =
            fields.iter().try_fold(1_usize, |count, field| Some(count.saturating_add(self.paths(field, known)?)));
        known.insert(name.to_owned(), count);
        count
    }
}

/// A leading dot means: in no namespace.
fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.strip_prefix('.').unwrap_or(name).to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

/// Holds a parsed schema against the bounds on what reading with it may cost.
///
/// # Errors
/// A sentence on what is too much.
pub(super) fn check_work(schema: &SchemaMut) -> Result<(), String> {
    let mut work = Work { known: vec![None; schema.nodes().len()] };
    for (index, node) in schema.nodes().iter().enumerate() {
        if work.of(schema, SchemaKey::from_idx(index)).free > MAX_FREE {
            return Err(format!("a record of it holds more than {MAX_FREE} values without a byte"));
        }
        let RegularType::Array(array) = &node.type_ else { continue };
        if work.of(schema, array.items).width == 0 {
            return Err("it has an array of items without a byte".to_owned());
        }
    }
    Ok(())
}

/// What reading one value costs.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Smallest encoding: 0 bytes, or more (1).
    width: usize,
    /// Values in it without a byte.
    free: usize,
}

/// The cost of each node, once known.
struct Work {
    known: Vec<Option<Cost>>,
}

impl Work {
    fn of(&mut self, schema: &SchemaMut, key: SchemaKey) -> Cost {
        if let Some(known) = self.known[key.idx()] {
            return known;
        }
        let cost = match &schema[key].type_ {
            RegularType::Null => Cost { width: 0, free: 1 },
            RegularType::Fixed(fixed) => Cost { width: fixed.size.min(1), free: usize::from(fixed.size == 0) },
            // Ends: a record that always holds itself was refused.
            RegularType::Record(record) => record.fields.iter().fold(Cost::default(), |sum, field| {
                let cost = self.of(schema, field.type_);
                Cost { width: sum.width.max(cost.width), free: sum.free.saturating_add(cost.free) }
            }),
            _ => Cost { width: 1, free: 0 },
        };
        self.known[key.idx()] = Some(cost);
        cost
    }
}
