//! The record types and their own schemas, embedded from `schemas/*.avsc`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;

use crate::model::{Decision, DeliveryStatus, Event, Outbound, Preferences};

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
}

impl RecordType {
    /// Every record type.
    pub const ALL: [RecordType; 5] = [
        RecordType::Event,
        RecordType::Preferences,
        RecordType::Outbound,
        RecordType::Decision,
        RecordType::DeliveryStatus,
    ];

    /// The record's full name.
    pub const fn name(self) -> &'static str {
        match self {
            RecordType::Event => "notilog.v1.Event",
            RecordType::Preferences => "notilog.v1.Preferences",
            RecordType::Outbound => "notilog.v1.Outbound",
            RecordType::Decision => "notilog.v1.Decision",
            RecordType::DeliveryStatus => "notilog.v1.DeliveryStatus",
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
        }
    }

    /// Our own schema, parsed once.
    pub fn schema(self) -> &'static Schema {
        static SCHEMAS: LazyLock<[Schema; 5]> = LazyLock::new(|| {
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
pub trait Record<'a>: Deserialize<'a> + Serialize {
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
