//! Avro's schema resolution, done once for each writer's schema and not for each record.
//!
//! serde_avro_fast decodes with the writer's schema and lets serde place the fields. What a resolving reader does
//! besides is done here, on the schema: what ours cannot be read from is found, and enum symbols that we do not
//! know are renamed to the default. Schemas of which a few bytes would mean much work are refused.

use serde_avro_fast::Schema;
use serde_avro_fast::schema::{LogicalType, RegularType, SchemaKey, SchemaMut};

use super::RecordType;
use crate::model::Priority;

/// Longer schemas are refused, in bytes.
const MAX_TEXT: usize = 256 * 1024;

/// The most values without a byte of their own (nulls, empty records) that one record may hold.
const MAX_FREE: usize = 1_024;

/// A writer's schema, ready to decode with.
pub(super) struct Resolved {
    /// The record's full name.
    pub name: String,
    /// What to decode with.
    pub schema: Schema,
    /// Why it cannot be read, when it is a record of ours by name only.
    pub incompatible: Option<String>,
}

/// Makes a writer's schema ready.
///
/// # Errors
/// A sentence, when it is not a schema of a record, or one that cannot be read with bounded work.
pub(super) fn resolve(text: &str, references: &[String]) -> Result<Resolved, String> {
    let mut writer = parse(text, references)?;
    let RegularType::Record(root) = &writer.root().type_ else {
        return Err(format!("it is {}, not a record", describe(&writer.root().type_)));
    };
    let name = root.name.fully_qualified_name().to_owned();
    Work::default().check(&writer)?;
    let mut renamed = Vec::new();
    let incompatible = RecordType::from_name(&name).and_then(|record| {
        let reader = parse(record.schema_text(), &[]).expect("the embedded schemas are parsed by every test run");
        let mut comparison = Comparison { reader: &reader, writer: &writer, renamed: &mut renamed };
        comparison.compare(SchemaKey::root(), SchemaKey::root(), "").err()
    });
    for (index, node) in writer.nodes_mut().iter_mut().enumerate() {
        // Only milliseconds mean something to the model; all else is read as the type beneath.
        node.logical_type = node.logical_type.take().filter(|logical| matches!(logical, LogicalType::TimestampMillis));
        if let (RegularType::Enum(symbols), Some((_, new))) =
            (&mut node.type_, renamed.iter_mut().find(|(key, _)| *key == index))
        {
            symbols.symbols = std::mem::take(new);
        }
    }
    let schema = writer.freeze().map_err(|error| error.to_string())?;
    Ok(Resolved { name, schema, incompatible })
}

fn parse(text: &str, references: &[String]) -> Result<SchemaMut, String> {
    let length = references.iter().map(String::len).sum::<usize>() + text.len();
    if length > MAX_TEXT {
        return Err(format!("it has {length} bytes; at most {MAX_TEXT} are read"));
    }
    let text = without_decimals(text)?;
    let references = references.iter().map(|text| without_decimals(text)).collect::<Result<Vec<_>, _>>()?;
    SchemaMut::from_schemata(&text, references).map_err(|error| error.to_string())
}

/// `decimal` may lack its scale, which the parser wants; nothing of ours is one.
fn without_decimals(text: &str) -> Result<String, String> {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                if object.get("logicalType").is_some_and(|logical| logical == "decimal") {
                    object.remove("logicalType");
                }
                object.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    strip(&mut value);
    Ok(value.to_string())
}

/// What reading one value costs that its bytes do not pay for.
#[derive(Default)]
struct Work {
    /// By node: smallest encoding in bytes (0 or 1), and values without a byte.
    known: Vec<Option<(usize, usize)>>,
}

impl Work {
    fn check(&mut self, schema: &SchemaMut) -> Result<(), String> {
        self.known = vec![None; schema.nodes().len()];
        for (index, node) in schema.nodes().iter().enumerate() {
            let (_, free) = self.of(schema, SchemaKey::from_idx(index));
            if free > MAX_FREE {
                return Err(format!("a record of it holds more than {MAX_FREE} values without a byte"));
            }
            let RegularType::Array(array) = &node.type_ else { continue };
            if self.of(schema, array.items).0 == 0 {
                return Err("it has an array of items without a byte".to_owned());
            }
        }
        Ok(())
    }

    fn of(&mut self, schema: &SchemaMut, key: SchemaKey) -> (usize, usize) {
        if let Some(known) = self.known[key.idx()] {
            return known;
        }
        let work = match &schema[key].type_ {
            RegularType::Null => (0, 1),
            RegularType::Fixed(fixed) => (fixed.size.min(1), usize::from(fixed.size == 0)),
            // Ends: the parser refuses records that always hold themselves.
            RegularType::Record(record) => record.fields.iter().fold((0, 1_usize), |(width, free), field| {
                let (field_width, field_free) = self.of(schema, field.type_);
                (width.max(field_width), free.saturating_add(field_free))
            }),
            _ => (1, 0),
        };
        self.known[key.idx()] = Some(work);
        work
    }
}

/// Holds a writer's schema against ours.
struct Comparison<'a> {
    reader: &'a SchemaMut,
    writer: &'a SchemaMut,
    /// Writer's enums by node, with the symbols that we know them by.
    renamed: &'a mut Vec<(usize, Vec<String>)>,
}

impl Comparison<'_> {
    /// Whether the reader's node can be read from the writer's. A null where none is read, and a missing field
    /// without a default, show themselves record by record.
    fn compare(&mut self, reader: SchemaKey, writer: SchemaKey, path: &str) -> Result<(), String> {
        let (ours, theirs) = (&self.reader[reader], &self.writer[writer]);
        match (&ours.type_, &theirs.type_) {
            (_, RegularType::Union(union)) => {
                union.variants.iter().try_for_each(|variant| match self.writer[*variant].type_ {
                    RegularType::Null => Ok(()),
                    _ => self.compare(reader, *variant, path),
                })
            }
            (RegularType::Union(_), RegularType::Null) => Ok(()),
            (RegularType::Union(union), _) => union
                .variants
                .iter()
                .filter(|variant| !matches!(self.reader[**variant].type_, RegularType::Null))
                .try_for_each(|variant| self.compare(*variant, writer, path)),
            (RegularType::Long, RegularType::Int | RegularType::Long) if ours.logical_type.is_some() => {
                milliseconds(theirs.logical_type.as_ref(), path)
            }
            (RegularType::Long, RegularType::Int | RegularType::Long)
            | (RegularType::Int, RegularType::Int)
            | (RegularType::Boolean, RegularType::Boolean)
            | (RegularType::String, RegularType::String | RegularType::Bytes)
            | (RegularType::Enum(_), RegularType::String) => Ok(()),
            (RegularType::Array(ours), RegularType::Array(theirs)) => self.compare(ours.items, theirs.items, path),
            (RegularType::Map(ours), RegularType::Map(theirs)) => self.compare(ours.values, theirs.values, path),
            (RegularType::Enum(ours), RegularType::Enum(theirs)) => {
                let known = |symbol: &String| ours.symbols.contains(symbol).then(|| symbol.clone());
                // Avro: a symbol that the reader lacks reads as the reader's default.
                let symbols = theirs.symbols.iter().map(|symbol| known(symbol).unwrap_or_else(default_symbol));
                self.renamed.push((writer.idx(), symbols.collect()));
                Ok(())
            }
            (RegularType::Record(ours), RegularType::Record(theirs)) => ours.fields.iter().try_for_each(|field| {
                let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
                match theirs.fields.iter().find(|other| other.name == field.name) {
                    Some(other) => self.compare(field.type_, other.type_, &path),
                    None => Ok(()),
                }
            }),
            (ours, theirs) => Err(format!("`{path}` is {}, where {} is read", describe(theirs), describe(ours))),
        }
    }
}

/// Priority is the only enum of the contract.
fn default_symbol() -> String {
    Priority::default().as_str().to_owned()
}

/// A moment in other units, or without a zone, must not be taken for milliseconds UTC.
fn milliseconds(theirs: Option<&LogicalType>, path: &str) -> Result<(), String> {
    match theirs {
        None | Some(LogicalType::TimestampMillis) => Ok(()),
        Some(other) => Err(format!("`{path}` is {other:?}, where timestamp-millis is read")),
    }
}

fn describe(type_: &RegularType) -> &'static str {
    match type_ {
        RegularType::Null => "null",
        RegularType::Boolean => "a boolean",
        RegularType::Int => "an int",
        RegularType::Long => "a long",
        RegularType::Float => "a float",
        RegularType::Double => "a double",
        RegularType::Bytes => "bytes",
        RegularType::String => "a string",
        RegularType::Array(_) => "an array",
        RegularType::Map(_) => "a map",
        RegularType::Union(_) => "a union",
        RegularType::Record(_) => "a record",
        RegularType::Enum(_) => "an enum",
        RegularType::Fixed(_) => "a fixed",
    }
}
