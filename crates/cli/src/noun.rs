//! What the commands about one kind of thing share: their arguments, lists, details, and the end of something.

use crate::admin::{Body, Page, Place, segment};
use crate::exit::Failure;
use crate::terminal::{agreed, print, table, visible};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Stands below the help of each command.
pub(crate) const HELP: &str = "Exit codes:
  0  done
  1  error: nothing was changed (there is no such thing, it clashes with what there is, nobody agreed, the server refuses or does not answer)
  2  the command line is wrong";

/// Where the server is, and in which form it is answered.
#[derive(clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which part of a list.
#[derive(clap::Args)]
pub(crate) struct Part {
    /// How many at most; without it, all
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: Option<u32>,

    /// Go on where the list before ended, as it said; with the same --limit
    #[arg(long, value_name = "CURSOR", requires = "limit")]
    cursor: Option<String>,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// One thing, by its name or id.
#[derive(clap::Args)]
pub(crate) struct One {
    /// Its name or id, as lists show it
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// One thing that ends.
#[derive(clap::Args)]
pub(crate) struct Doomed {
    /// Its name or id, as lists show it
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) sure: Sure,
}

/// Whether to ask.
#[derive(clap::Args)]
pub(crate) struct Sure {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// A path with those filters that are given.
pub(crate) fn query(path: &str, filters: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let mut joint = '?';
    for (name, value) in filters {
        if let Some(value) = value {
            let _infallible = write!(text, "{joint}{name}={}", segment(value));
            joint = '&';
        }
    }
    text
}

/// The text of a member, or of its members.
pub(crate) fn cell(item: &Value, member: &str) -> String {
    text(&item[member])
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{name}={}", text(value)))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

impl Part {
    /// Prints a list: as a table, or as JSON just as it came.
    pub(crate) async fn print<const N: usize>(
        &self,
        path: &str,
        heads: [&str; N],
        row: impl Fn(&Value) -> [String; N],
    ) -> Result<(), Failure> {
        let Page { items, next } = self.read(path).await?;
        if self.common.json {
            let mut whole = json!({ "items": items });
            if let Some(next) = next {
                whole["next"] = next.into();
            }
            return print_json(&whole);
        }
        let rows: Vec<[String; N]> = items.iter().map(row).collect();
        print(&table(heads, &rows))?;
        if let Some(next) = next {
            print(&format!("There are more: --cursor {}\n", visible(&next)))?;
        }
        Ok(())
    }

    async fn read(&self, path: &str) -> Result<Page<Value>, Failure> {
        let place = &self.common.place;
        let Some(limit) = self.limit else {
            return Ok(Page { items: place.pages(path).await?, next: None });
        };
        let joint = if path.contains('?') { '&' } else { '?' };
        let cursor = self.cursor.as_deref().map(|cursor| format!("&cursor={}", segment(cursor)));
        let path = format!("{path}{joint}limit={limit}{}", cursor.unwrap_or_default());
        Ok(place.get(&path).await?.json()?)
    }
}

impl One {
    /// Prints all that is known of one thing below `path`.
    pub(crate) async fn print(&self, path: &str) -> Result<(), Failure> {
        let answer = self.common.place.get(&format!("{path}/{}", segment(&self.name))).await?;
        let whole: Value = answer.json()?;
        if self.common.json { print_json(&whole) } else { Ok(print(&details(&whole))?) }
    }
}

/// A line for each member; those of members are set in.
pub(crate) fn details(whole: &Value) -> String {
    let mut lines = String::new();
    put(whole, 0, &mut lines);
    lines
}

fn put(value: &Value, depth: usize, lines: &mut String) {
    let Value::Object(members) = value else { return };
    let indent = "  ".repeat(depth);
    for (name, value) in members {
        let name = visible(&name.replace('_', " "));
        let is_nested = matches!(value, Value::Object(members) if !members.is_empty());
        let is_list = matches!(value, Value::Array(items) if items.iter().any(Value::is_object));
        if is_nested {
            let _infallible = writeln!(lines, "{indent}{name}:");
            put(value, depth + 1, lines);
        } else if let (true, Value::Array(items)) = (is_list, value) {
            let _infallible = writeln!(lines, "{indent}{name}:");
            for item in items {
                let _infallible = writeln!(lines, "{indent}  - {}", visible(&text(item)));
            }
        } else {
            let _infallible = writeln!(lines, "{indent}{name}: {}", visible(&text(value)));
        }
    }
}

pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    Ok(print(&format!("{value:#}\n"))?)
}

/// What is to end.
pub(crate) struct End<'a> {
    /// As the API calls it.
    pub(crate) kind: &'static str,
    /// Nothing for everything.
    pub(crate) id: Option<&'a str>,
    /// The filter of sessions that shows what would break.
    pub(crate) sessions: Option<(&'static str, &'a str)>,
    /// What else there is to know before agreeing.
    pub(crate) note: &'static str,
}

/// Says what breaks, asks, ends it, and says what ended.
pub(crate) async fn end(sure: &Sure, end: &End<'_>) -> Result<(), Failure> {
    let Sure { yes, common } = sure;
    let what = match end.id {
        None => "everything".to_owned(),
        Some(id) => format!("{} {}", end.kind, visible(id)),
    };
    if !yes {
        let breaks = match end.sessions {
            None => String::new(),
            Some((filter, value)) => live_sessions(&common.place, filter, value).await?,
        };
        let note = if end.note.is_empty() { String::new() } else { format!(" {}", end.note) };
        if !agreed(&format!("Access by {what} ends now.{breaks}{note}"))? {
            return Err(Failure::NotAgreed);
        }
    }
    let mut body = json!({ "kind": end.kind });
    if let Some(id) = end.id {
        body["id"] = id.into();
    }
    let ended: Value = common.place.post("/api/v1/revocations", Body::Json(body)).await?.json()?;
    if common.json {
        return print_json(&ended);
    }
    print_ended(&what, &ended)
}

pub(crate) fn print_ended(what: &str, ended: &Value) -> Result<(), Failure> {
    let (sessions, grants) = (&ended["sessions"], &ended["grants"]);
    Ok(print(&format!("Ended: {what} (live sessions: {sessions}, grants: {grants})\n"))?)
}

async fn live_sessions(place: &Place, filter: &str, value: &str) -> Result<String, Failure> {
    let filters = [(filter, (!filter.is_empty()).then_some(value)), ("limit", Some("500"))];
    let page: Page<Value> = place.get(&query("/api/v1/sessions", &filters)).await?.json()?;
    let count = page.items.len();
    let more = if page.next.is_some() { " at least" } else { "" };
    let servers: std::collections::BTreeSet<String> =
        page.items.iter().map(|session| visible(&cell(session, "server"))).collect();
    let on = if servers.is_empty() {
        String::new()
    } else {
        format!(" on {}", servers.into_iter().collect::<Vec<_>>().join(", "))
    };
    Ok(format!(" Live sessions that break:{more} {count}{on}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adm_08_details_are_lines_that_steer_nothing() {
        let whole = json!({
            "name": "a\u{1b}[2J\nb: c",
            "live_sessions": 3,
            "reached_by": { "agents": { "ci": "notes:read" } },
            "rules": [{ "tools": ["a", "b"] }],
            "labels": [],
        });
        let text = details(&whole);
        assert!(text.contains("name: a\\u{1b}[2J\\u{a}b: c\n"), "{text}");
        assert!(text.contains("live sessions: 3\n"), "{text}");
        assert!(text.contains("reached by:\n  agents:\n    ci: notes:read\n"), "{text}");
        assert!(text.contains("rules:\n  - tools=a b\n"), "{text}");
    }

    #[test]
    fn filters_stand_in_the_query_escaped() {
        let filters = [("agent", Some("a&b")), ("user", None), ("server", Some("notes"))];
        assert_eq!(query("/x", &filters), "/x?agent=a%26b&server=notes");
        assert_eq!(query("/x", &[("agent", None)]), "/x");
    }
}
