//! The record types and their own schemas, embedded from `schemas/*.avsc`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;

use super::Direct;
use crate::model::{
    Decision, DeliveryStatus, Event, InboxItem, InboxState, Outbound, Preferences, Receipt, SentMessage, Suppression,
};

/// The records of the contract, all in the namespace `notilog.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordType {
    /// Something happened.
    Event,
    /// What a recipient chose.
    Preferences,
    /// A notification waiting to be delivered.
    Outbound,
    /// What the router concluded.
    Decision,
    /// What was observed about a notification.
    DeliveryStatus,
    /// An address that nothing is sent to.
    Suppression,
    /// What a user has in the app.
    InboxItem,
    /// What became of it.
    InboxState,
    /// Which notification a provider's message stands for.
    SentMessage,
    /// What a provider says became of a message.
    Receipt,
}

impl RecordType {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// Every record type.
    pub const ALL: [RecordType; RecordType::COUNT] = [
        RecordType::Event,
        RecordType::Preferences,
        RecordType::Outbound,
        RecordType::Decision,
        RecordType::DeliveryStatus,
        RecordType::Suppression,
        RecordType::InboxItem,
        RecordType::InboxState,
        RecordType::SentMessage,
        RecordType::Receipt,
    ];

    /// The record's full name.
    pub const fn name(self) -> &'static str {
        match self {
            RecordType::Event => "notilog.v1.Event",
            RecordType::Preferences => "notilog.v1.Preferences",
            RecordType::Outbound => "notilog.v1.Outbound",
            RecordType::Decision => "notilog.v1.Decision",
            RecordType::DeliveryStatus => "notilog.v1.DeliveryStatus",
            RecordType::Suppression => "notilog.v1.Suppression",
            RecordType::InboxItem => "notilog.v1.InboxItem",
            RecordType::InboxState => "notilog.v1.InboxState",
            RecordType::SentMessage => "notilog.v1.SentMessage",
            RecordType::Receipt => "notilog.v1.Receipt",
        }
    }

    /// The registry's subject: the full name (RecordNameStrategy), however many topics carry the record.
    pub const fn subject(self) -> &'static str {
        self.name()
    }

    /// The text that is registered. Ids are made from these very bytes.
    pub const fn schema_text(self) -> &'static str {
        match self {
            RecordType::Event => include_str!("../../schemas/event.avsc"),
            RecordType::Preferences => include_str!("../../schemas/preferences.avsc"),
            RecordType::Outbound => include_str!("../../schemas/outbound.avsc"),
            RecordType::Decision => include_str!("../../schemas/decision.avsc"),
            RecordType::DeliveryStatus => include_str!("../../schemas/delivery_status.avsc"),
            RecordType::Suppression => include_str!("../../schemas/suppression.avsc"),
            RecordType::InboxItem => include_str!("../../schemas/inbox_item.avsc"),
            RecordType::InboxState => include_str!("../../schemas/inbox_state.avsc"),
            RecordType::SentMessage => include_str!("../../schemas/sent_message.avsc"),
            RecordType::Receipt => include_str!("../../schemas/receipt.avsc"),
        }
    }

    /// Our own schema, parsed once.
    pub fn schema(self) -> &'static Schema {
        static SCHEMAS: LazyLock<[Schema; RecordType::COUNT]> = LazyLock::new(|| {
            RecordType::ALL
                .map(|record| record.schema_text().parse().expect("the embedded schemas are parsed by every test run"))
        });
        &SCHEMAS[self as usize]
    }

    /// The record type of a full name.
    pub fn from_name(name: &str) -> Option<RecordType> {
        RecordType::ALL.into_iter().find(|record| record.name() == name)
    }
}

impl std::fmt::Display for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A model type that has a schema; `'a` is the life of the bytes it borrows from.
pub trait Record<'a>: Deserialize<'a> + Serialize + Direct<'a> {
    /// Which record it is.
    const TYPE: RecordType;
}

impl<'a> Record<'a> for Event<'a> {
    const TYPE: RecordType = RecordType::Event;
}

impl<'a> Record<'a> for Preferences<'a> {
    const TYPE: RecordType = RecordType::Preferences;
}

impl<'a> Record<'a> for Outbound<'a> {
    const TYPE: RecordType = RecordType::Outbound;
}

impl<'a> Record<'a> for Decision<'a> {
    const TYPE: RecordType = RecordType::Decision;
}

impl<'a> Record<'a> for DeliveryStatus<'a> {
    const TYPE: RecordType = RecordType::DeliveryStatus;
}

impl<'a> Record<'a> for Suppression<'a> {
    const TYPE: RecordType = RecordType::Suppression;
}

impl<'a> Record<'a> for InboxItem<'a> {
    const TYPE: RecordType = RecordType::InboxItem;
}

impl<'a> Record<'a> for InboxState<'a> {
    const TYPE: RecordType = RecordType::InboxState;
}

impl<'a> Record<'a> for SentMessage<'a> {
    const TYPE: RecordType = RecordType::SentMessage;
}

impl<'a> Record<'a> for Receipt<'a> {
    const TYPE: RecordType = RecordType::Receipt;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Priority;
    use crate::wire::samples::{self, for_each_sample};
    use serde_json::Value;

    /// Holds a serialized record against its schema: the same names in the same order, at every depth.
    fn same_fields(schema: &Value, value: &Value, path: &str) {
        match schema {
            Value::Array(branches) => {
                let branch = branches.iter().find(|branch| *branch != "null").expect("[null, T]");
                assert_eq!(branches.first(), Some(&Value::from("null")), "{path}: null comes first");
                same_fields(branch, value, path);
            }
            Value::Object(object) => match object["type"].as_str().expect("a type") {
                "record" => {
                    let fields = object["fields"].as_array().expect("fields");
                    let declared: Vec<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
                    let written: Vec<&str> = value.as_object().expect(path).keys().map(String::as_str).collect();
                    assert_eq!(declared, written, "{path}");
                    for field in fields {
                        let name = field["name"].as_str().expect("a name");
                        same_fields(&field["type"], &value[name], &format!("{path}.{name}"));
                    }
                }
                "array" => same_fields(&object["items"], &value[0], path),
                "map" => {
                    let first = value.as_object().and_then(|map| map.values().next()).expect(path);
                    same_fields(&object["values"], first, path);
                }
                "enum" => assert!(object["symbols"].as_array().expect("symbols").contains(value), "{path}"),
                "long" => assert!(value.is_i64(), "{path}"),
                other => panic!("{path}: {other}"),
            },
            Value::String(name) => match name.as_str() {
                "string" => assert!(value.is_string(), "{path}"),
                "boolean" => assert!(value.is_boolean(), "{path}"),
                "int" | "long" => assert!(value.is_i64(), "{path}"),
                other => panic!("{path}: {other}"),
            },
            other => panic!("{path}: {other}"),
        }
    }

    fn agrees<'a, R: Record<'a>>(record: &R) {
        let schema: Value = serde_json::from_str(R::TYPE.schema_text()).unwrap();
        same_fields(&schema, &serde_json::to_value(record).unwrap(), R::TYPE.name());
    }

    #[test]
    fn every_field_of_a_schema_is_in_the_model_and_the_reverse() {
        agrees(&samples::full_event());
        agrees(&samples::full_preferences());
        agrees(&samples::full_outbound());
        agrees(&samples::full_decision());
        agrees(&samples::full_status());
        agrees(&samples::full_suppression());
        agrees(&samples::full_inbox_item());
        agrees(&samples::full_inbox_state());
        agrees(&samples::full_sent_message());
        agrees(&samples::full_receipt());
    }

    #[test]
    fn names_subjects_and_texts_belong_together() {
        for record in RecordType::ALL {
            let schema: Value = serde_json::from_str(record.schema_text()).unwrap();
            let name = format!("{}.{}", schema["namespace"].as_str().unwrap(), schema["name"].as_str().unwrap());
            assert_eq!(name, record.name());
            assert_eq!(RecordType::from_name(&name), Some(record));
            assert_eq!(RecordType::ALL[record as usize], record);
            assert_eq!(record.subject(), record.name());
        }
        assert_eq!(RecordType::from_name("Event"), None);
    }

    /// Walks every named or complex type of a schema.
    fn walk(schema: &Value, visit: &mut impl FnMut(&Value)) {
        visit(schema);
        match schema {
            Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
            Value::Object(object) => {
                for key in ["items", "values"] {
                    object.get(key).into_iter().for_each(|inner| walk(inner, visit));
                }
                for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    visit(field);
                    walk(&field["type"], visit);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_field_says_what_it_means_and_what_is_nullable_is_null_by_default() {
        for record in RecordType::ALL {
            let schema: Value = serde_json::from_str(record.schema_text()).unwrap();
            walk(&schema, &mut |node| {
                if node.get("name").is_some() {
                    assert!(node["doc"].as_str().is_some_and(|doc| doc.ends_with('.')), "{record}: {node}");
                }
                if node.get("type").is_some_and(Value::is_array) {
                    assert_eq!(node.get("default"), Some(&Value::Null), "{record}: {node}");
                }
                // Apicurio refuses this default (422).
                assert_ne!(node.get("default"), Some(&Value::from("{}")), "{record}: {node}");
            });
        }
    }

    #[test]
    fn the_priorities_of_the_schema_are_those_of_the_model() {
        for record in [RecordType::Event, RecordType::Outbound] {
            let schema: Value = serde_json::from_str(record.schema_text()).unwrap();
            let mut seen = 0;
            walk(&schema, &mut |node| {
                if node.get("type") == Some(&Value::from("enum")) {
                    let symbols: Vec<Value> = Priority::ALL.iter().map(|p| Value::from(p.as_str())).collect();
                    assert_eq!(node["symbols"], Value::from(symbols));
                    assert_eq!(node["default"], Priority::default().as_str());
                    seen += 1;
                }
            });
            assert_eq!(seen, 1, "{record}");
        }
    }

    /// What a reader with Avro's own resolution takes for absent fields is what the model takes.
    #[test]
    fn the_defaults_of_the_model_are_those_of_the_schema() {
        for_each_sample!(|record| defaults_agree(&record));
    }

    fn defaults_agree<'a, R: Record<'a>>(record: &R) {
        let text = R::TYPE.schema_text();
        let mut least: Value = serde_json::from_str(text).unwrap();
        without_defaults(&mut least);
        let least = least.to_string();
        let writer = apache_avro::Schema::parse_str(&least).unwrap();
        let reader = apache_avro::Schema::parse_str(text).unwrap();
        let value = apache_avro::to_value(record).unwrap();
        let datum = samples::apache_write(&writer, only(&writer, value));
        let resolved = samples::apache_read(&writer, &reader, &datum);
        let expected = samples::apache_write(&reader, resolved);

        let read: Vec<u8> = {
            let schema = crate::wire::WriterSchema::parse(&least, &[]).unwrap();
            reencode(R::TYPE, &schema, &datum)
        };
        assert_eq!(read, expected, "{}", R::TYPE);
    }

    /// Reads with a writer's schema and writes with ours, without the frame.
    fn reencode(record: RecordType, schema: &crate::wire::WriterSchema, datum: &[u8]) -> Vec<u8> {
        let mut encoders = crate::wire::Encoders::new(crate::wire::WriterIds::same(crate::wire::SchemaId(0)));
        let framed = match record {
            RecordType::Event => encoders.to_vec(&schema.read::<Event<'_>>(datum).unwrap()),
            RecordType::Preferences => encoders.to_vec(&schema.read::<Preferences<'_>>(datum).unwrap()),
            RecordType::Outbound => encoders.to_vec(&schema.read::<Outbound<'_>>(datum).unwrap()),
            RecordType::Decision => encoders.to_vec(&schema.read::<Decision<'_>>(datum).unwrap()),
            RecordType::DeliveryStatus => encoders.to_vec(&schema.read::<DeliveryStatus<'_>>(datum).unwrap()),
            RecordType::Suppression => encoders.to_vec(&schema.read::<Suppression<'_>>(datum).unwrap()),
            RecordType::InboxItem => encoders.to_vec(&schema.read::<InboxItem<'_>>(datum).unwrap()),
            RecordType::InboxState => encoders.to_vec(&schema.read::<InboxState<'_>>(datum).unwrap()),
            RecordType::SentMessage => encoders.to_vec(&schema.read::<SentMessage<'_>>(datum).unwrap()),
            RecordType::Receipt => encoders.to_vec(&schema.read::<Receipt<'_>>(datum).unwrap()),
        };
        framed.unwrap().split_off(5)
    }

    /// Drops every field that has a default, at every depth.
    fn without_defaults(schema: &mut Value) {
        match schema {
            Value::Array(items) => items.iter_mut().for_each(without_defaults),
            Value::Object(object) => {
                for key in ["items", "values"] {
                    object.get_mut(key).into_iter().for_each(without_defaults);
                }
                if let Some(fields) = object.get_mut("fields").and_then(Value::as_array_mut) {
                    fields.retain(|field| field.get("default").is_none());
                    fields.iter_mut().for_each(|field| without_defaults(&mut field["type"]));
                }
            }
            _ => {}
        }
    }

    /// Keeps of a record's value the fields that a schema has.
    fn only(schema: &apache_avro::Schema, value: apache_avro::types::Value) -> apache_avro::types::Value {
        use apache_avro::types::Value as Avro;
        match (schema, value) {
            (apache_avro::Schema::Record(record), Avro::Record(fields)) => {
                let kept = record.fields.iter().map(|field| {
                    let (name, value) = fields.iter().find(|(name, _)| *name == field.name).expect("a field");
                    (name.clone(), only(&field.schema, value.clone()))
                });
                Avro::Record(kept.collect())
            }
            (apache_avro::Schema::Array(array), Avro::Array(items)) => {
                Avro::Array(items.into_iter().map(|item| only(&array.items, item)).collect())
            }
            (schema, value) => value.resolve(schema).unwrap(),
        }
    }
}
