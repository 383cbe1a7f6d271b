//! A TOML text with the line of every key, and the check of its shape: all unknown keys and wrong types at once. For what
//! operators write: `portcullis.toml` and the fleet file.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most mistakes that are told of one file: nobody corrects more in one round, and each costs us something.
pub(crate) const MOST_TOLD: usize = 1000;

/// What is said behind that many.
pub(crate) const AND_MORE: &str = "and more: correct these first";

/// The longest word that others are compared with, the most others, and the most that are listed.
const LONGEST_COMPARED: usize = 100;
const MOST_COMPARED: usize = 500;
const MOST_LISTED: usize = 30;

/// One thing that is wrong.
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

/// A text as a tree of values, without those that cannot be used.
#[derive(Debug, Default)]
pub struct Document<'a> {
    table: Option<Spanned<DeTable<'a>>>,
    lines: BTreeMap<String, usize>,
    lacking: bool,
}

impl<'a> Document<'a> {
    /// Reads a text and holds it against a schema. The problems are complete: no other key is unknown, missing or of a
    /// wrong type. What they are about is left out of the document, so that the rest can be checked in the same round.
    pub fn read(text: &'a str, schema: &Value) -> (Self, Vec<Problem>) {
        let (mut table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let lines = Lines::of(text);
            let told = errors.iter().take(MOST_TOLD);
            return (Self::default(), told.map(|error| syntax(&lines, error)).collect());
        }
        let mut reading =
            Reading { text: Lines::of(text), lines: BTreeMap::new(), problems: Vec::new(), lacking: false };
        reading.table("", 1, table.get_mut(), schema);
        let Reading { lines, problems, lacking, .. } = reading;
        (Self { table: Some(table), lines, lacking }, problems)
    }

    /// The values; `None` when something is missing without which the rest has no shape.
    pub fn values<T: DeserializeOwned>(&mut self) -> Option<Result<T, toml::de::Error>> {
        let table = self.table.take().filter(|_| !self.lacking)?;
        Some(T::deserialize(toml::Deserializer::from(table)))
    }

    /// The line of a key, if it is in the file.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }
}

struct Reading {
    text: Lines,
    lines: BTreeMap<String, usize>,
    problems: Vec<Problem>,
    /// Whether something is missing that must be there.
    lacking: bool,
}

impl Reading {
    fn problem(&mut self, line: usize, key: &str, says: impl Into<String>, hint: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(Problem { line: Some(line), key: key.to_owned(), says: says.into(), hint });
        }
    }

    /// Keeps what has its shape.
    fn table(&mut self, path: &str, line: usize, table: &mut DeTable<'_>, schema: &Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|other| other.is_object());
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(name) {
                self.lacking = true;
                self.problem(line, path, format!("{name} is missing"), String::new());
            }
        }
        let mut unfit = Vec::new();
        for (key, value) in table.iter_mut() {
            let name: &str = key.get_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let line = self.text.line_of(key.span().start);
            self.lines.insert(path.clone(), line);
            let fits = if let Some(schema) = properties.and_then(|known| known.get(name)).or(others) {
                self.value(&path, line, value.get_mut(), schema)
            } else {
                let known = properties.into_iter().flat_map(|known| known.keys());
                self.problem(line, &path, "there is no such key", nearest(name, known));
                false
            };
            if !fits {
                unfit.push(name.to_owned());
            }
        }
        let needed =
            |name: &String| required.is_some_and(|required| required.contains(&name.as_str().into()));
        self.lacking |= unfit.iter().any(needed);
        for name in unfit {
            table.remove(name.as_str());
        }
    }

    /// Whether a value can be used.
    fn value(&mut self, path: &str, line: usize, value: &mut DeValue<'_>, schema: &Value) -> bool {
        let found = kind(value);
        let Some(schema) = choice(schema, found) else {
            let says = format!("must be {}, not {}", wanted(schema), word(found));
            let words = words_of(schema);
            let hint =
                if words.is_empty() { String::new() } else { format!("there is: {}", words.join(", ")) };
            self.problem(line, path, says, hint);
            return false;
        };
        match value {
            DeValue::Table(table) => self.table(path, line, table, schema),
            DeValue::Array(items) => {
                let schema = schema.get("items").unwrap_or(&Value::Bool(true));
                let mut fits = true;
                for item in items.iter_mut() {
                    let line = self.text.line_of(item.span().start);
                    fits &= self.value(path, line, item.get_mut(), schema);
                }
                return fits;
            }
            DeValue::String(text) => {
                let words = words_of(schema);
                if !words.is_empty() && !words.iter().any(|word| word == text) {
                    self.problem(
                        line,
                        path,
                        format!("{text:?} is none of its words"),
                        nearest(text, words.iter()),
                    );
                    return false;
                }
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Float(_) | DeValue::Integer(_) => {}
        }
        true
    }
}

/// The schema, or the one of several, that a value of this kind has to keep to.
fn choice<'a>(schema: &'a Value, kind: &str) -> Option<&'a Value> {
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(several) => several.iter().find_map(|one| choice(one, kind)),
        None => expects(schema, kind).then_some(schema),
    }
}

/// The words that a text is chosen from; none: any text.
fn words_of(schema: &Value) -> Vec<String> {
    let listed = |name: &str| schema.get(name).and_then(Value::as_array).into_iter().flatten();
    let constants = listed("oneOf").filter_map(|one| one.get("const"));
    let nested = listed("oneOf").flat_map(words_of);
    let words = listed("enum").chain(constants).filter_map(Value::as_str).map(str::to_owned);
    words.chain(nested).collect()
}

/// Where the lines of a text end, so that a long one is not counted anew for each of its keys.
pub(crate) struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        Self { ends: ends.collect() }
    }

    /// The line of a byte, counted from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

fn syntax(lines: &Lines, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map(|span| lines.line_of(span.start)),
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
    let several = ["anyOf", "oneOf"].into_iter().find_map(|word| schema.get(word)?.as_array());
    if let Some(several) = several {
        return several.iter().any(|one| expects(one, kind));
    }
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

/// The word that may have been meant, or those that there are: some of them, and only words of about this length are
/// compared, so that a file full of mistakes does not cost the product of its halves.
pub(crate) fn nearest<T: AsRef<str>>(name: &str, known: impl Iterator<Item = T>) -> String {
    let known: Vec<T> = known.collect();
    if known.is_empty() {
        return "there is none".to_owned();
    }
    let allowed = 1 + name.len() / 3;
    let is_like = |other: &&str| {
        name.len() <= LONGEST_COMPARED
            && other.len() <= LONGEST_COMPARED
            && other.len().abs_diff(name.len()) <= allowed
    };
    let alike = known.iter().map(AsRef::as_ref).filter(is_like).take(MOST_COMPARED);
    let best = alike.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate)).min();
    match best {
        Some((distance, candidate)) if distance <= allowed => format!("did you mean {candidate:?}?"),
        _ => {
            let listed: Vec<&str> = known.iter().map(AsRef::as_ref).take(MOST_LISTED).collect();
            let more = if known.len() > MOST_LISTED { ", and more" } else { "" };
            format!("there is: {}{more}", listed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_the_same_either_way() {
        for text in ["", "\n", "a", "a\nb\n\nc", "\n\n"] {
            let lines = Lines::of(text);
            for at in 0..=text.len() + 1 {
                let counted = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
                assert_eq!(lines.line_of(at), counted, "{text:?} {at}");
            }
        }
    }
}
