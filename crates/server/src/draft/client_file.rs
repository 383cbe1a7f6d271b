//! The configuration files of MCP clients: where each keeps its servers, and how it writes one.
//!
//! `mcpServers` (Claude Desktop and Code, Cursor, Windsurf, Cline, Gemini), `servers` (VS Code's mcp.json), `mcp.servers`
//! (VS Code's settings), `context_servers` (Zed), `mcp_servers` (Codex, TOML), `mcp` (OpenCode).

use serde_json::{Map, Value};

/// One server as a client knows it.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// As written.
    pub(super) name: String,
    /// What is wrong with it, or how it is reached.
    pub(super) reached: Result<Reached, String>,
    /// Names of headers and variables whose values stand in the file.
    pub(super) valued: Vec<String>,
    pub(super) disabled: bool,
}

/// How a client reaches a server.
#[derive(Debug, PartialEq)]
pub(super) enum Reached {
    Address { url: String, sse: bool },
    Program { run: Vec<String>, folder: Option<String> },
}

/// Every server that the file names, or why it cannot be read.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let document = read(text)?;
    let mut found = Vec::new();
    collect(&document, &mut found);
    // Claude Code keeps a table of servers for each project.
    if let Some(projects) = document.get("projects").and_then(Value::as_object) {
        projects.values().for_each(|project| collect(project, &mut found));
    }
    if found.is_empty() {
        return Err("no MCP servers in it: there is none of mcpServers, servers, mcp, mcp_servers and \
                    context_servers"
            .to_owned());
    }
    Ok(found)
}

fn read(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = serde_json::from_str(&without_comments(text));
    json.or_else(|error: serde_json::Error| {
        let toml = toml::from_str::<Value>(text);
        toml.map_err(|_| format!("neither JSON (line {}) nor TOML", error.line()))
    })
}

fn collect(document: &Value, found: &mut Vec<Entry>) {
    let mcp = document.get("mcp");
    let nested = mcp.and_then(|mcp| mcp.get("servers"));
    let tables = [
        document.get("mcpServers"),
        document.get("servers"),
        document.get("context_servers"),
        document.get("mcp_servers"),
        nested,
        mcp.filter(|_| nested.is_none()),
    ];
    for table in tables.into_iter().flatten().filter_map(Value::as_object) {
        // `inputs` stands beside `servers`, not within.
        found.extend(table.iter().map(|(name, entry)| of(name, entry)));
    }
}

fn of(name: &str, entry: &Value) -> Entry {
    let valued = ["env", "environment", "headers", "http_headers", "requestInit"]
        .iter()
        .filter_map(|key| entry.get(key).and_then(Value::as_object))
        .flat_map(|table| table.keys().cloned())
        .collect();
    let is = |key: &str| entry.get(key).and_then(Value::as_bool);
    Entry {
        name: name.to_owned(),
        reached: reached(entry),
        valued,
        disabled: is("disabled") == Some(true) || is("enabled") == Some(false),
    }
}

fn reached(entry: &Value) -> Result<Reached, String> {
    let Some(entry) = entry.as_object() else {
        return Err("must be a table".to_owned());
    };
    // Older Zed: { "source": { "type": …, "url": … } } or { "command": { "path": …, "args": […] } }.
    let entry = match (entry.get("source"), entry.get("command")) {
        (Some(Value::Object(inner)), _) | (_, Some(Value::Object(inner))) => inner,
        _ => entry,
    };
    let url = ["url", "serverUrl", "httpUrl", "uri"].iter().find_map(|key| entry.get(*key)?.as_str());
    match url {
        Some(url) => Ok(Reached::Address { url: url.to_owned(), sse: is_sse(entry, url) }),
        None => program(entry),
    }
}

fn is_sse(entry: &Map<String, Value>, url: &str) -> bool {
    let stated = ["type", "transport"].iter().find_map(|key| entry.get(*key)?.as_str());
    stated == Some("sse") || (stated.is_none() && url.trim_end_matches('/').ends_with("/sse"))
}

fn program(entry: &Map<String, Value>) -> Result<Reached, String> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let mut run = match entry.get("command").or_else(|| entry.get("path")) {
        Some(Value::String(command)) => vec![command.clone()],
        Some(several @ Value::Array(_)) => texts(several).ok_or("command must be a list of texts")?,
        Some(_) => return Err("command must be a text".to_owned()),
        None => return Err("it has neither a url nor a command".to_owned()),
    };
    if let Some(arguments) = entry.get("args") {
        run.extend(texts(arguments).ok_or("args must be a list of texts")?);
    }
    if run.first().is_none_or(|command| command.trim().is_empty()) {
        return Err("its command is empty".to_owned());
    }
    if let Some(url) = bridged(&run) {
        let sse = url.trim_end_matches('/').ends_with("/sse");
        return Ok(Reached::Address { url, sse });
    }
    let folder = entry.get("cwd").and_then(Value::as_str).map(str::to_owned);
    Ok(Reached::Program { run, folder })
}

/// `npx mcp-remote URL` is a bridge to an address; here the gateway is that.
fn bridged(run: &[String]) -> Option<String> {
    let is_bridge = |part: &String| part == "mcp-remote" || part.starts_with("mcp-remote@");
    let at = run.iter().position(is_bridge)?;
    run[at..].iter().find(|part| part.starts_with("https://") || part.starts_with("http://")).cloned()
}

/// JSON as editors write it: comments and commas before a closing bracket are dropped, lines stay where they are.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('"', _) => {
                kept.push(c);
                let mut escaped = false;
                for c in rest.by_ref() {
                    kept.push(c);
                    if c == '"' && !escaped {
                        break;
                    }
                    escaped = c == '\\' && !escaped;
                }
            }
            ('/', Some('/')) => while rest.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => {
                let mut before = ' ';
                for c in rest.by_ref() {
                    if c == '\n' {
                        kept.push(c);
                    }
                    if before == '*' && c == '/' {
                        break;
                    }
                    before = c;
                }
            }
            (']' | '}', _) => {
                let end = kept.trim_end();
                if end.ends_with(',') {
                    let comma = end.len() - 1;
                    kept.remove(comma);
                }
                kept.push(c);
            }
            _ => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(text: &str) -> Vec<(String, Reached)> {
        entries(text).unwrap().into_iter().map(|entry| (entry.name, entry.reached.unwrap())).collect()
    }

    fn address(url: &str, sse: bool) -> Reached {
        Reached::Address { url: url.to_owned(), sse }
    }

    fn program(run: &[&str]) -> Reached {
        Reached::Program { run: run.iter().map(ToString::to_string).collect(), folder: None }
    }

    #[test]
    fn pc_36_every_common_client_is_read() {
        let claude = r#"{"mcpServers": {"fs": {"command": "npx", "args": ["-y", "fs"], "env": {"K": "v"}},
            "gh": {"type": "http", "url": "https://gh.test/mcp", "headers": {"Authorization": "Bearer x"}}}}"#;
        assert_eq!(
            named(claude),
            [
                ("fs".to_owned(), program(&["npx", "-y", "fs"])),
                ("gh".to_owned(), address("https://gh.test/mcp", false))
            ]
        );
        assert_eq!(entries(claude).unwrap()[0].valued, ["K"]);
        assert_eq!(entries(claude).unwrap()[1].valued, ["Authorization"]);
        let code = "{ // ours\n\"inputs\": [], \"servers\": {\"a\": {\"type\": \"sse\", \"url\": \"http://127.0.0.1:1/e\"},},}";
        assert_eq!(named(code), [("a".to_owned(), address("http://127.0.0.1:1/e", true))]);
        let windsurf = r#"{"mcpServers": {"w": {"serverUrl": "https://w.test/sse"}}}"#;
        assert_eq!(named(windsurf), [("w".to_owned(), address("https://w.test/sse", true))]);
        let zed = r#"{"context_servers": {"z": {"source": "custom", "command": "z", "args": []},
            "o": {"command": {"path": "o", "args": ["1"]}}, "u": {"url": "https://z.test/mcp"}}}"#;
        assert_eq!(
            named(zed),
            [
                ("o".to_owned(), program(&["o", "1"])),
                ("u".to_owned(), address("https://z.test/mcp", false)),
                ("z".to_owned(), program(&["z"])),
            ]
        );
        let codex = "[mcp_servers.c]\ncommand = \"c\"\nargs = [\"x\"]\n";
        assert_eq!(named(codex), [("c".to_owned(), program(&["c", "x"]))]);
        let opencode = r#"{"mcp": {"l": {"type": "local", "command": ["bun", "x"], "enabled": false}}}"#;
        assert_eq!(named(opencode), [("l".to_owned(), program(&["bun", "x"]))]);
        assert!(entries(opencode).unwrap()[0].disabled);
        let projects = r#"{"projects": {"/p": {"mcpServers": {"r": {"command": "npx", "args": ["-y", "mcp-remote@latest", "https://r.test/mcp"]}}}}}"#;
        assert_eq!(named(projects), [("r".to_owned(), address("https://r.test/mcp", false))]);
    }

    #[test]
    fn pc_36_what_is_wrong_is_said_of_each_entry() {
        let bad = r#"{"mcpServers": {"a": 1, "b": {}, "c": {"command": 5}, "d": {"command": "x", "args": [1]}, "e": {"command": " "}}}"#;
        assert!(entries(bad).unwrap().iter().all(|entry| entry.reached.is_err()));
        assert!(entries("{").is_err());
        assert!(entries("{}").is_err());
    }

    proptest! {
        #[test]
        fn pc_36_strings_survive_the_removal_of_comments(text in any::<String>()) {
            let json = serde_json::json!({ "a": [text, 1] }).to_string();
            prop_assert_eq!(without_comments(&json), json);
        }

        #[test]
        fn pc_36_no_text_breaks_the_reader(text in any::<String>()) {
            let _ = entries(&text);
        }
    }
}
