//! Avro's schema resolution, done once for each writer's schema and not for each record.
//!
//! serde_avro_fast decodes with the writer's schema and lets serde place the fields. What a resolving reader does
//! besides is done here, on the schema: what ours cannot be read from is found, and enum symbols that we do not
//! know are renamed to the default.

use serde_avro_fast::Schema;
use serde_avro_fast::schema::{LogicalType, RegularType, SchemaKey, SchemaMut};
use serde_json::Value;

use super::RecordType;
use super::bounds::{check_texts, check_work};
use crate::model::Priority;

/// A writer's schema, ready to decode with.
pub(super) struct Resolved {
    /// The record's full name.
    pub name: String,
    /// What to decode with.
    pub schema: Schema,
    /// Why it cannot be read, when it is a record of ours by name only.
    pub incompatible: Option<String>,
    /// Whether its data are laid out as those of our own schema.
    pub own_layout: bool,
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
    check_work(&writer)?;
    let mut renamed = Vec::new();
    let own = |record: RecordType| {
        parse(record.schema_text(), &[]).expect("the embedded schemas are parsed by every test run")
    };
    let reader = RecordType::from_name(&name).map(own);
    let incompatible = reader.as_ref().and_then(|reader| {
        let mut comparison = Comparison { reader, writer: &writer, renamed: &mut renamed };
        comparison.compare(SchemaKey::root(), SchemaKey::root(), "").err()
    });
    let own_layout = incompatible.is_none()
        && reader.is_some_and(|reader| is_laid_out_alike(&reader, SchemaKey::root(), &writer, SchemaKey::root()));
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
    Ok(Resolved { name, schema, incompatible, own_layout })
}

fn parse(text: &str, references: &[String]) -> Result<SchemaMut, String> {
    let length = references.iter().map(String::len).sum::<usize>() + text.len();
    let text = without_decimals(text)?;
    let references = references.iter().map(|text| without_decimals(text)).collect::<Result<Vec<_>, _>>()?;
    check_texts(references.iter().chain([&text]), length)?;
    SchemaMut::from_schemata(&text.to_string(), references.iter().map(ToString::to_string))
        .map_err(|error| error.to_string())
}

/// `decimal` may lack its scale, which the parser wants; nothing of ours is one.
fn without_decimals(text: &str) -> Result<Value, String> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                if object.get("logicalType").is_some_and(|logical| logical == "decimal") {
                    object.remove("logicalType");
                }
                object.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    strip(&mut value);
    Ok(value)
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

/// Whether the data of both nodes are the same bytes for the same fields. Ends because our schemas do, whatever theirs
/// refer to.
fn is_laid_out_alike(one: &SchemaMut, at: SchemaKey, other: &SchemaMut, there: SchemaKey) -> bool {
    let alike = |at, there| is_laid_out_alike(one, at, other, there);
    match (&one[at].type_, &other[there].type_) {
        (RegularType::Null, RegularType::Null)
        | (RegularType::Boolean, RegularType::Boolean)
        | (RegularType::Int, RegularType::Int)
        | (RegularType::Long, RegularType::Long)
        | (RegularType::String, RegularType::String) => true,
        (RegularType::Array(one), RegularType::Array(other)) => alike(one.items, other.items),
        (RegularType::Map(one), RegularType::Map(other)) => alike(one.values, other.values),
        (RegularType::Enum(one), RegularType::Enum(other)) => one.symbols == other.symbols,
        (RegularType::Union(one), RegularType::Union(other)) => {
            let mut variants = one.variants.iter().zip(&other.variants);
            one.variants.len() == other.variants.len() && variants.all(|(at, there)| alike(*at, *there))
        }
        (RegularType::Record(one), RegularType::Record(other)) => {
            let mut fields = one.fields.iter().zip(&other.fields);
            one.fields.len() == other.fields.len()
                && fields.all(|(one, other)| one.name == other.name && alike(one.type_, other.type_))
        }
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, Event, Open, Outbound, Timestamp};
    use crate::wire::{WireError, WriterSchema};
    use apache_avro::types::Value as Avro;
    use rstest::rstest;

    /// An event's schema whose fields are replaced or added by name.
    fn event_schema(changes: &[(&str, &str)]) -> String {
        let mut schema: serde_json::Value = serde_json::from_str(RecordType::Event.schema_text()).unwrap();
        let fields = schema["fields"].as_array_mut().unwrap();
        for (name, type_) in changes {
            let type_: serde_json::Value = serde_json::from_str(type_).unwrap();
            let new = serde_json::json!({ "name": name, "type": type_ });
            match fields.iter_mut().find(|field| field["name"] == *name) {
                Some(field) => *field = new,
                None => fields.push(new),
            }
        }
        schema.to_string()
    }

    #[rstest]
    #[case::ours(&[], true)]
    #[case::without_docs_and_defaults(&[("id", r#""string""#), ("template", r#"["null", "string"]"#)], true)]
    #[case::another_order_of_a_union(&[("template", r#"["string", "null"]"#)], false)]
    #[case::no_union(&[("template", r#""string""#)], false)]
    #[case::a_union_where_we_have_none(&[("id", r#"["null", "string"]"#)], false)]
    #[case::int_for_long(&[("time", r#""int""#)], false)]
    #[case::bytes_for_text(&[("data", r#""bytes""#)], false)]
    #[case::other_items(&[("recipients", r#"{"type": "array", "items": "bytes"}"#)], false)]
    #[case::another_field(&[("more", r#""string""#)], false)]
    #[case::other_symbols(
        &[("priority", r#"{"type": "enum", "name": "Priority", "symbols": ["NORMAL", "LOW", "HIGH", "CRITICAL"]}"#)],
        false
    )]
    #[case::one_more_symbol(
        &[("priority", r#"{"type": "enum", "name": "P", "symbols": ["LOW", "NORMAL", "HIGH", "CRITICAL", "X"]}"#)],
        false
    )]
    fn only_data_that_are_laid_out_as_ours_are_read_without_their_schema(
        #[case] changes: &[(&str, &str)],
        #[case] own_layout: bool,
    ) {
        assert_eq!(resolve(&event_schema(changes), &[]).unwrap().own_layout, own_layout);
    }

    /// A datum of four required fields and the given ones.
    fn least(schema: &str, values: Vec<(&str, Avro)>) -> Vec<u8> {
        let schema = apache_avro::Schema::parse_str(schema).unwrap();
        let text = |text: &str| Avro::String(text.to_owned());
        let mut fields = vec![("id", text("e")), ("source", text("s")), ("type", text("t")), ("time", Avro::Long(5))];
        fields.retain(|(name, _)| !values.iter().any(|(other, _)| other == name));
        fields.extend(values);
        let record = Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        crate::wire::samples::apache_write(&schema, record)
    }

    fn minimal(fields: &str) -> String {
        format!(
            r#"{{"type":"record","name":"Event","namespace":"notilog.v1","fields":[
            {{"name":"id","type":"string"}},{{"name":"source","type":"string"}},{{"name":"type","type":"string"}},
            {{"name":"time","type":{{"type":"long","logicalType":"timestamp-millis"}}}}{fields}]}}"#
        )
    }

    fn parse_ok(text: &str) -> WriterSchema {
        WriterSchema::parse(text, &[]).unwrap()
    }

    #[test]
    fn a_writer_without_a_category_gives_an_event_without_one() {
        let text = minimal("");
        let datum = least(&text, vec![]);
        let event: Event<'_> = parse_ok(&text).read(&datum).unwrap();
        assert_eq!((event.category, event.tenant, event.data), ("", "default", ""));
    }

    #[test]
    fn a_writer_that_leaves_things_null_gives_the_defaults() {
        let text = minimal(
            r#",{"name":"tenant","type":["null","string"]},{"name":"category","type":["null","string"]},
            {"name":"recipients","type":["null",{"type":"array","items":"string"}]},
            {"name":"data","type":["string","null"]},
            {"name":"priority","type":["null",{"type":"enum","name":"P","symbols":["HIGH"]}]}"#,
        );
        let null = |branch| Avro::Union(branch, Box::new(Avro::Null));
        let names = ["tenant", "category", "recipients", "priority"];
        let mut values: Vec<_> = names.into_iter().map(|name| (name, null(0))).collect();
        values.insert(3, ("data", null(1)));
        let datum = least(&text, values);
        let event: Event<'_> = parse_ok(&text).read(&datum).unwrap();
        assert_eq!((event.category, event.tenant, event.data), ("", "default", ""));
        assert_eq!((event.recipients.len(), event.priority), (0, Priority::Normal));
    }

    #[test]
    fn promotions_of_avro_are_read() {
        let text = r#"{"type":"record","name":"Event","namespace":"notilog.v1","fields":[
            {"name":"time","type":"int"},{"name":"id","type":"bytes"},
            {"name":"source","type":{"type":"string","logicalType":"uuid"}},{"name":"type","type":["string","bytes"]},
            {"name":"audience","type":"string"},{"name":"expires_at","type":["null","int"]}]}"#;
        let datum = least(
            text,
            vec![
                ("time", Avro::Int(7)),
                ("id", Avro::Bytes(b"e".to_vec())),
                ("source", Avro::String("8b1a9953-c461-1296-a827-abf8c47804d7".into())),
                ("type", Avro::Union(1, Box::new(Avro::Bytes(b"t".to_vec())))),
                ("audience", Avro::String("all".into())),
                ("expires_at", Avro::Union(1, Box::new(Avro::Int(9)))),
            ],
        );
        let event: Event<'_> = parse_ok(text).read(&datum).unwrap();
        assert_eq!((event.time, event.id, event.kind), (Timestamp(7), "e", "t"));
        assert_eq!((event.audience, event.expires_at), (Some("all"), Some(Timestamp(9))));
    }

    #[test]
    fn a_priority_that_we_do_not_know_reads_as_normal() {
        let symbols = r#"{"type":"enum","name":"Priority","symbols":["APOCALYPTIC","LOW","CRITICAL"]}"#;
        let text = minimal(&format!(r#",{{"name":"priority","type":{symbols}}}"#));
        let schema = parse_ok(&text);
        for (index, symbol, read) in
            [(0, "APOCALYPTIC", Priority::Normal), (1, "LOW", Priority::Low), (2, "CRITICAL", Priority::Critical)]
        {
            let datum = least(&text, vec![("priority", Avro::Enum(index, symbol.into()))]);
            assert_eq!(schema.read::<Event<'_>>(&datum).unwrap().priority, read, "{symbol}");
        }
        let datum =
            least(&minimal(r#",{"name":"priority","type":"string"}"#), vec![("priority", Avro::String("HIGH".into()))]);
        let as_text = parse_ok(&minimal(r#",{"name":"priority","type":"string"}"#));
        assert_eq!(as_text.read::<Event<'_>>(&datum).unwrap().priority, Priority::High);
    }

    #[test]
    fn fields_of_a_newer_writer_are_passed_over_whatever_they_are() {
        let text = minimal(
            r#",{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9}},
            {"name":"when","type":{"type":"long","logicalType":"timestamp-nanos"}},
            {"name":"tree","type":{"type":"record","name":"Tree","fields":[
                {"name":"leaves","type":{"type":"array","items":"Tree"}},{"name":"hash","type":
                {"type":"fixed","name":"Hash","size":4}}]}},
            {"name":"nothing","type":"null"},{"name":"odds","type":{"type":"map","values":["null","double"]}},
            {"name":"channels","type":{"type":"array","items":"string"}}"#,
        );
        let tree = |leaves| {
            Avro::Record(vec![("leaves".into(), Avro::Array(leaves)), ("hash".into(), Avro::Fixed(4, vec![1; 4]))])
        };
        let odds = [("x".to_owned(), Avro::Union(1, Box::new(Avro::Double(0.5))))];
        let schema_without_decimal = text.replace(r#","logicalType":"decimal","precision":9"#, "");
        let datum = least(
            &schema_without_decimal,
            vec![
                ("amount", Avro::Bytes(vec![1, 2, 3])),
                ("when", Avro::TimestampNanos(1)),
                ("tree", tree(vec![tree(vec![]), tree(vec![])])),
                ("nothing", Avro::Null),
                ("odds", Avro::Map(odds.into_iter().collect())),
                ("channels", Avro::Array(vec![Avro::String("email".into()), Avro::String("owl".into())])),
            ],
        );
        let event: Event<'_> = parse_ok(&text).read(&datum).unwrap();
        assert_eq!(event.channels, Some(vec![Open::Known(Channel::Email), Open::Other("owl")]));
    }

    #[rstest]
    #[case(
        "time",
        r#"{"type":"long","logicalType":"timestamp-micros"}"#,
        "`time` is TimestampMicros, where timestamp-millis is read"
    )]
    #[case(
        "time",
        r#"{"type":"long","logicalType":"local-timestamp-millis"}"#,
        "`time` is Unknown(UnknownLogicalType { logical_type_name: \"local-timestamp-millis\" }), where timestamp-millis is read"
    )]
    #[case("time", r#"{"type":"int","logicalType":"date"}"#, "`time` is Date, where timestamp-millis is read")]
    #[case("time", r#""string""#, "`time` is a string, where a long is read")]
    #[case("expires_at", r#"["null","double"]"#, "`expires_at` is a double, where a long is read")]
    #[case("recipients", r#""string""#, "`recipients` is a string, where an array is read")]
    #[case("recipients", r#"{"type":"array","items":"long"}"#, "`recipients` is a long, where a string is read")]
    #[case(
        "channels",
        r#"["null",{"type":"enum","name":"C","symbols":["email"]}]"#,
        "`channels` is an enum, where an array is read"
    )]
    #[case("id", r#"["null","string","int"]"#, "`id` is an int, where a string is read")]
    fn what_ours_cannot_be_read_from_is_named(#[case] field: &str, #[case] type_: &str, #[case] why: &str) {
        let schema = parse_ok(&event_schema(&[(field, type_)]));
        let expected = WireError::Incompatible { record: RecordType::Event, why: why.to_owned() };
        assert_eq!(schema.read::<Event<'_>>(b"").unwrap_err(), expected);
    }

    #[test]
    fn a_record_of_another_name_is_told_from_ours() {
        let schema = parse_ok(&RecordType::Event.schema_text().replace("notilog.v1", "shop"));
        assert_eq!(schema.name(), "shop.Event");
        assert_eq!(
            schema.read::<Event<'_>>(b"").unwrap_err().to_string(),
            "the value is a `shop.Event`, not a `notilog.v1.Event`"
        );
        assert_eq!(
            WriterSchema::own(RecordType::Event).read::<Outbound<'_>>(b"").unwrap_err().to_string(),
            "the value is a `notilog.v1.Event`, not a `notilog.v1.Outbound`"
        );
    }

    #[test]
    fn nested_types_may_be_schemas_of_their_own() {
        let text = RecordType::Event.schema_text();
        let start = text.find(r#"{"type": "enum""#).unwrap();
        let end = start + text[start..].find('}').unwrap() + 1;
        let priority = text[start..end].replacen('{', r#"{"namespace": "notilog.v1", "#, 1);
        let split = format!(r#"{}"notilog.v1.Priority"{}"#, &text[..start], &text[end..]);
        assert!(WriterSchema::parse(&split, &[]).unwrap_err().contains("Priority"));
        let schema = WriterSchema::parse(&split, &[priority]).unwrap();
        let event = crate::wire::samples::full_event();
        let mut encoders = crate::wire::Encoders::new(crate::wire::WriterIds::same(crate::wire::SchemaId(1)));
        let framed = encoders.to_vec(&event).unwrap();
        assert_eq!(schema.read::<Event<'_>>(&framed[5..]).unwrap(), event);
    }

    #[rstest]
    #[case::no_json("{", "it is not JSON")]
    #[case::no_schema(r#"{"type":"recrod"}"#, "")]
    #[case::no_record(r#""string""#, "it is a string, not a record")]
    #[case::endless(r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#, "`A` always holds itself")]
    #[case::endless_by_names(
        r#"{"type":"record","name":"A","namespace":"n","fields":[{"name":"a","type":
        {"type":"record","name":"m.B","fields":[{"name":"b","type":"n.A"}]}}]}"#,
        "` always holds itself"
    )]
    #[case::nulls(&many_nulls(), "a record of it holds more than 1024 values without a byte")]
    #[case::free_items(
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#,
        "it has an array of items without a byte"
    )]
    #[case::free_records(
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"array","items":
        {"type":"record","name":"B","fields":[{"name":"b","type":{"type":"fixed","name":"F","size":0}}]}}}]}"#,
        "it has an array of items without a byte"
    )]
    fn schemas_that_cannot_be_used_are_refused(#[case] text: &str, #[case] why: &str) {
        let error = WriterSchema::parse(text, &[]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    fn many_nulls() -> String {
        let fields: Vec<String> = (0..2_000).map(|n| format!(r#"{{"name":"f{n}","type":"null"}}"#)).collect();
        format!(r#"{{"type":"record","name":"A","fields":[{}]}}"#, fields.join(","))
    }

    #[test]
    fn a_record_may_hold_itself_where_it_need_not() {
        let list = r#",{"name":"list","type":{"type":"record","name":"Node","fields":[
            {"name":"next","type":["null","Node"]},{"name":"many","type":{"type":"array","items":"Node"}}]}}"#;
        assert!(WriterSchema::parse(&minimal(list), &[]).is_ok());
    }

    #[test]
    fn a_schema_that_doubles_at_every_level_is_refused() {
        let levels: String = (1..64)
            .rev()
            .map(|level| {
                let next = level + 1;
                format!(
                    r#",{{"name":"f{level}","type":{{"type":"record","name":"R{level}","fields":[
                    {{"name":"a","type":"R{next}"}},{{"name":"b","type":"R{next}"}}]}}}}"#
                )
            })
            .collect();
        let leaf = r#",{"name":"leaf","type":{"type":"record","name":"R64","fields":[{"name":"n","type":"null"}]}}"#;
        let error = WriterSchema::parse(&minimal(&format!("{leaf}{levels}")), &[]).unwrap_err();
        assert!(error.contains("nests records in too many ways"), "{error}");
    }

    #[test]
    fn a_schema_of_unreasonable_length_is_refused() {
        let long = minimal(&format!(r#",{{"name":"x","doc":"{}","type":"null"}}"#, "y".repeat(128 * 1024)));
        assert!(WriterSchema::parse(&long, &[]).unwrap_err().contains("at most 131072"));
    }
}
