//! What commands print: tables for people, JSON for programs.

use std::io::Write as _;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How output looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line
    Ndjson,
}

/// A row of a table.
pub(super) trait Row: Serialize {
    const HEADERS: &'static [&'static str];

    fn cells(&self) -> Vec<String>;
}

impl Output {
    /// Prints rows; an empty table prints nothing for people and an empty list for programs.
    pub(super) fn rows<T: Row>(self, rows: &[T]) {
        match self {
            Output::Table if rows.is_empty() => {}
            Output::Table => print(&table(rows)),
            Output::Json => print(&json(&rows)),
            Output::Ndjson => rows.iter().for_each(|row| print(&line(row))),
        }
    }

    /// Prints one value; `text` says how for people.
    pub(super) fn value<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) {
        match self {
            Output::Table => print(&text()),
            Output::Json => print(&json(value)),
            Output::Ndjson => print(&line(value)),
        }
    }

    /// Prints a sentence for people only; on stderr, so that it never mixes with output.
    pub(super) fn note(self, text: &str) {
        if self == Output::Table {
            eprintln!("{text}");
        }
    }
}

/// `1 letter`, `2 letters`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Prints text and a line end. A reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

fn table<T: Row>(rows: &[T]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(T::HEADERS.iter().map(|header| header.to_uppercase()));
    for row in rows {
        table.add_row(row.cells());
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
