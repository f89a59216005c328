//! The only place that names rdkafka: configuration, consumers, transactions, tables, tiers, administration.
