//! `portcullis server tools`, `diff` and `approve`: what tools say of themselves, and what of it was approved.

use crate::admin::{Body, segment};
use crate::exit::Failure;
use crate::noun::{Common, Sure};
use crate::terminal::{agreed, print, table, visible};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// List the tools of a server, as approved and as seen
#[derive(clap::Args)]
pub(crate) struct Tools {
    /// The server's name
    name: String,

    #[command(flatten)]
    common: Common,
}

/// Show what changed in the tools of a server since they were approved
#[derive(clap::Args)]
pub(crate) struct Diff {
    /// The server's name
    name: String,

    /// One tool; without it, all that are new or changed
    tool: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// Approve tools of a server as they are shown now: exactly what is shown before it asks
#[derive(clap::Args)]
pub(crate) struct Approve {
    /// The server's name
    name: String,

    /// Which tools; without any, all that are new or changed
    tools: Vec<String>,

    /// Stay with what was approved: the tool is called again while it looks so
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    sure: Sure,
}

#[derive(Deserialize)]
struct Listed {
    pinning: String,
    surveyed_at: Option<String>,
    survey_failure: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
    state: String,
    pinned: Option<String>,
    seen: Option<String>,
    seen_at: Option<String>,
    approved_at: Option<String>,
    approved_by: Option<String>,
}

#[derive(Deserialize)]
struct Compared {
    #[serde(flatten)]
    tool: Tool,
    can_be_approved: bool,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    path: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Tool {
    fn waits(&self) -> bool {
        self.state == "changed" || self.state == "new"
    }

    fn row(&self) -> [String; 5] {
        let cell = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            self.name.clone(),
            self.state.clone(),
            cell(&self.seen_at),
            cell(&self.approved_at),
            cell(&self.approved_by),
        ]
    }
}

fn tools_path(server: &str) -> String {
    format!("/api/v1/servers/{}/tools", segment(server))
}

async fn listed(common: &Common, server: &str) -> Result<Vec<Tool>, Failure> {
    Ok(common.place.pages(&tools_path(server)).await?)
}

/// `portcullis server tools`
pub(crate) async fn tools(arguments: Tools) -> Result<(), Failure> {
    let path = tools_path(&arguments.name);
    let answer = arguments.common.place.get(&path).await?;
    let head: Listed = answer.json()?;
    if arguments.common.json {
        let mut whole: Value = answer.json()?;
        whole["items"] = Value::Array(arguments.common.place.pages(&path).await?);
        if let Some(members) = whole.as_object_mut() {
            members.remove("next");
        }
        return Ok(print(&format!("{whole:#}\n"))?);
    }
    let tools = listed(&arguments.common, &arguments.name).await?;
    let rows: Vec<[String; 5]> = tools.iter().map(Tool::row).collect();
    let mut text = table(["TOOL", "STATE", "SEEN OTHERWISE", "APPROVED", "BY"], &rows);
    text.push_str(&remarks(&head, &tools, &arguments.name));
    Ok(print(&text)?)
}

fn remarks(head: &Listed, tools: &[Tool], name: &str) -> String {
    let mut text = String::new();
    let mut say = |words: &str| {
        let _infallible = writeln!(text, "{words}");
    };
    match (head.pinning.as_str(), tools.is_empty()) {
        ("off", _) => say(
            "Definitions are not held here (pinning = \"off\"): every tool is called, however it changes.",
        ),
        ("approved", true) => say("Nothing was seen yet, and nothing is called before it is approved."),
        (_, true) => say("Nothing was seen yet: what is seen first is approved by itself."),
        (_, false) => {}
    }
    if let Some(failure) = &head.survey_failure {
        let since =
            head.surveyed_at.as_deref().map(|at| format!(" since {}", visible(at))).unwrap_or_default();
        say(&format!("Its tools could not be read{since}: {}.", visible(failure)));
    }
    let waiting = tools.iter().filter(|tool| tool.waits()).count();
    if waiting > 0 {
        say(&format!(
            "{waiting} not called before somebody looked: `portcullis server diff {name}`, then `portcullis server approve {name}`.",
            name = visible(name),
        ));
    }
    text
}

/// `portcullis server diff`
pub(crate) async fn diff(arguments: Diff) -> Result<(), Failure> {
    let names = match arguments.tool {
        Some(tool) => vec![tool],
        None => waiting(&arguments.common, &arguments.name).await?,
    };
    let mut all = Vec::new();
    let mut text = String::new();
    for tool in &names {
        let path = format!("{}/{}/diff", tools_path(&arguments.name), segment(tool));
        let answer = arguments.common.place.get(&path).await?;
        if arguments.common.json {
            all.push(answer.json::<Value>()?);
        } else {
            text.push_str(&words(&answer.json()?));
        }
    }
    if arguments.common.json {
        return Ok(print(&format!("{:#}\n", Value::Array(all)))?);
    }
    if names.is_empty() {
        text.push_str("Every tool is as it was approved.\n");
    }
    Ok(print(&text)?)
}

async fn waiting(common: &Common, server: &str) -> Result<Vec<String>, Failure> {
    let tools = listed(common, server).await?;
    Ok(tools.into_iter().filter(Tool::waits).map(|tool| tool.name).collect())
}

/// `portcullis server approve`
pub(crate) async fn approve(arguments: Approve) -> Result<(), Failure> {
    let common = &arguments.sure.common;
    let names = if arguments.tools.is_empty() {
        waiting(common, &arguments.name).await?
    } else {
        arguments.tools.clone()
    };
    if names.is_empty() {
        return Ok(print("Every tool is as it was approved: nothing to do.\n")?);
    }
    let (mut digests, mut text) = (Map::new(), String::new());
    for tool in &names {
        let path = format!("{}/{}/diff", tools_path(&arguments.name), segment(tool));
        let compared: Compared = common.place.get(&path).await?.json()?;
        text.push_str(&words(&compared));
        digests.insert(tool.clone(), Value::String(wanted(compared, arguments.keep)?));
    }
    if !common.json {
        print(&text)?;
    }
    let question = if arguments.keep {
        format!("Stay with what was approved of {}?", counted(names.len()))
    } else {
        format!("Approve {} exactly as shown?", counted(names.len()))
    };
    if !arguments.sure.yes && !agreed(&question)? {
        return Err(Failure::Operator("nobody agreed: nothing was approved (--yes agrees)".to_owned()));
    }
    let path = format!("/api/v1/servers/{}/approve", segment(&arguments.name));
    let approved = json!({ "digests": digests });
    common.place.post(&path, Body::Json(approved.clone())).await?;
    if common.json {
        return Ok(print(&format!("{approved:#}\n"))?);
    }
    Ok(print(&format!("Approved {}.\n", counted(names.len())))?)
}

fn counted(tools: usize) -> String {
    if tools == 1 { "1 tool".to_owned() } else { format!("{tools} tools") }
}

/// The digest of what is to be approved.
fn wanted(compared: Compared, keep: bool) -> Result<String, Failure> {
    let Compared { tool: Tool { name, pinned, seen, .. }, can_be_approved, .. } = compared;
    let name = visible(&name);
    if keep {
        let none = || Failure::Operator(format!("{name} was never approved: there is nothing to keep"));
        return pinned.ok_or_else(none);
    }
    if !can_be_approved {
        return Err(Failure::Operator(format!("{name}: its definition is too long to be approved")));
    }
    seen.or(pinned).ok_or_else(|| Failure::Operator(format!("{name} is not known")))
}

fn words(compared: &Compared) -> String {
    let Compared { tool, changes, .. } = compared;
    let name = visible(&tool.name);
    let since = |at: &Option<String>| at.as_deref().map(visible).unwrap_or_default();
    let mut text = match tool.state.as_str() {
        "changed" => format!(
            "{name}: seen otherwise at {}, approved {} by {}\n",
            since(&tool.seen_at),
            since(&tool.approved_at),
            since(&tool.approved_by)
        ),
        "new" => format!("{name}: new, seen at {}\n", since(&tool.seen_at)),
        "gone" => format!("{name}: the server does not list it any more\n"),
        _ => format!("{name}: as it was approved {}\n", since(&tool.approved_at)),
    };
    for change in changes {
        let place = if change.path.is_empty() { "(all of it)" } else { &change.path };
        let _infallible = writeln!(text, "  {}", visible(place));
        side(&mut text, '-', change.before.as_ref());
        side(&mut text, '+', change.after.as_ref());
    }
    text
}

/// Texts stand as they are, line by line; what is no text as JSON.
fn side(text: &mut String, sign: char, value: Option<&Value>) {
    let shown = match value {
        None => return,
        Some(Value::String(words)) => words.clone(),
        Some(other) => format!("{other:#}"),
    };
    for line in shown.split('\n') {
        let _infallible = writeln!(text, "    {sign} {}", visible(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(value: Value) -> Compared {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pc_33_adm_08_a_difference_is_readable_and_steers_no_terminal() {
        let shown = words(&compared(json!({
            "name": "read\u{1b}[2J", "state": "changed", "pinned": "aa", "seen": "bb", "seen_at": "T2",
            "approved_at": "T1", "approved_by": "first sight", "can_be_approved": true,
            "changes": [
                {"path": "/description", "before": "Reads.", "after": "Reads.\nThen \u{202e}sends\u{1b}]0;x\u{7} it."},
                {"path": "/inputSchema/required/0", "after": "path"},
                {"path": "/annotations", "before": {"readOnlyHint": true}},
            ],
        })));
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "read\\u{1b}[2J: seen otherwise at T2, approved T1 by first sight");
        assert_eq!(lines[1..4], ["  /description", "    - Reads.", "    + Reads."]);
        assert_eq!(lines[4], "    + Then \\u{202e}sends\\u{1b}]0;x\\u{7} it.");
        assert_eq!(lines[5..7], ["  /inputSchema/required/0", "    + path"]);
    }

    #[test]
    fn pc_33_what_is_approved_is_what_was_shown() {
        let tool = |state: &str, can: bool| {
            compared(
                json!({"name": "t", "state": state, "pinned": "aa", "seen": "bb", "can_be_approved": can, "changes": []}),
            )
        };
        assert_eq!(wanted(tool("changed", true), false).unwrap(), "bb");
        assert_eq!(wanted(tool("changed", true), true).unwrap(), "aa");
        assert!(wanted(tool("changed", false), false).is_err());
        assert_eq!(wanted(tool("changed", false), true).unwrap(), "aa");
        let new = json!({"name": "t", "state": "new", "seen": "bb", "can_be_approved": true, "changes": []});
        assert!(wanted(compared(new), true).is_err());
    }
}
