//! A TOML text with the line of every key, and the check of its shape: all unknown keys and wrong types at once.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1; `None` for what is not written in the file.
    pub line: Option<usize>,
    /// The key, as `section.key`, or the option of the command line.
    pub key: String,
    /// What is wrong.
    pub says: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        write!(formatter, "{}", self.says)?;
        if self.hint.is_empty() {
            return Ok(());
        }
        write!(formatter, "\n    {}", self.hint)
    }
}

/// Where each key stands.
#[derive(Debug, Default)]
pub(super) struct Document {
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// Reads a text and holds it against a schema. The problems are complete: no other key is unknown or of a wrong type.
    pub(super) fn read(text: &str, schema: &Value) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reading = Reading {
            text,
            document: Self::default(),
            problems: errors.iter().map(|error| syntax(text, error)).collect(),
        };
        if reading.problems.is_empty() {
            reading.table("", table.get_ref(), schema);
        }
        (reading.document, reading.problems)
    }

    /// The line of a key, if it is in the file.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }
}

struct Reading<'a> {
    text: &'a str,
    document: Document,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>, schema: &Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|other| other.is_object());
        for (key, value) in table {
            let name: &str = key.get_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let line = line_of(self.text, key.span().start);
            self.document.lines.insert(path.clone(), line);
            if let Some(schema) = properties.and_then(|known| known.get(name)).or(others) {
                self.value(path, line, value.get_ref(), schema);
            } else {
                let known = properties.into_iter().flat_map(|known| known.keys());
                self.problems.push(Problem {
                    line: Some(line),
                    key: path,
                    says: "there is no such key".to_owned(),
                    hint: nearest(name, known),
                });
            }
        }
    }

    fn value(&mut self, path: String, line: usize, value: &DeValue<'_>, schema: &Value) {
        let found = kind(value);
        if !expects(schema, found) {
            self.problems.push(Problem {
                line: Some(line),
                key: path,
                says: format!("must be {}, not {}", wanted(schema), word(found)),
                hint: String::new(),
            });
            return;
        }
        match value {
            DeValue::Table(table) => self.table(&path, table, schema),
            DeValue::Array(items) => {
                let schema = schema.get("items").unwrap_or(&Value::Bool(true));
                for item in items {
                    let line = line_of(self.text, item.span().start);
                    self.value(path.clone(), line, item.get_ref(), schema);
                }
            }
            DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Float(_)
            | DeValue::Integer(_)
            | DeValue::String(_) => {}
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map(|span| line_of(text, span.start)),
        key: String::new(),
        says: format!("not TOML: {}", error.message()),
        hint: String::new(),
    }
}

/// The name that JSON Schema has for the type of a value.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "array",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Float(_) => "number",
        DeValue::Integer(_) => "integer",
        DeValue::String(_) => "string",
        DeValue::Table(_) => "object",
    }
}

fn expects(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(many)) => many.iter().any(|one| one == kind),
        _ => true,
    }
}

fn wanted(schema: &Value) -> &'static str {
    let kinds = ["array", "boolean", "integer", "number", "object", "string"];
    let kind = kinds.into_iter().find(|kind| expects(schema, kind));
    kind.map_or("something else", word)
}

fn word(kind: &str) -> &'static str {
    match kind {
        "array" => "a list",
        "boolean" => "true or false",
        "datetime" => "a date",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "a table",
        "string" => "a text in quotes",
        _ => "something else",
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&String> = known.collect();
    let best = known.iter().map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate)).min();
    match best {
        Some((distance, candidate)) if distance <= 1 + name.len() / 3 => {
            format!("did you mean {candidate:?}?")
        }
        _ => {
            let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            format!("there is: {}", names.join(", "))
        }
    }
}
