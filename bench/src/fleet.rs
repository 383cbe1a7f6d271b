//! A fleet file as a large company has it.

use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    servers: usize,
    #[arg(long)]
    agents: usize,
    /// Where the servers are: `host:port`
    #[arg(long)]
    upstream: String,
    /// Folder of the agents' secrets
    #[arg(long, value_name = "DIR")]
    secrets: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The same, but agent 0 may not read items of server 0
    #[arg(long, value_name = "FILE")]
    changed: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct ParseArguments {
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Servers that one agent may use.
const REACH: usize = 5;
const ROLES: usize = 20;
/// Servers of one role.
const ROLE_REACH: usize = 50;

pub(crate) fn write(arguments: &Arguments) -> Result<()> {
    let text = text(arguments, "items:read")?;
    std::fs::write(&arguments.out, &text)?;
    std::fs::write(&arguments.changed, self::text(arguments, "reports:read")?)?;
    println!("{}", serde_json::json!({ "bytes": text.len() }));
    Ok(())
}

fn text(arguments: &Arguments, first: &str) -> Result<String> {
    let Arguments { servers, agents, upstream, secrets, .. } = arguments;
    let mut text = String::new();
    for at in 0..*servers {
        server(&mut text, at, upstream)?;
    }
    for at in 0..*agents {
        let scope = if at == 0 { first } else { "items:read" };
        agent(&mut text, at, (*servers, scope), secrets)?;
    }
    for at in 0..ROLES {
        let access: Vec<String> = (0..ROLE_REACH.min(*servers))
            .map(|step| format!("{} = [\"items:write\"]", name((at * 7 + step) % servers)))
            .collect();
        let access = access.join(", ");
        write!(
            text,
            "\n[[role]]\nname = \"role-{at}\"\nmembers = {{ group = \"group-{at}\" }}\naccess = {{ {access} }}\n"
        )?;
    }
    text.push_str(
        "\n[[forbid]]\nname = \"no deletes at night\"\nlabels = [\"production\"]\ntools = [\"delete_*\"]\n\
         when = { inside = \"22:00-06:00 Europe/Amsterdam\" }\n",
    );
    Ok(text)
}

fn name(at: usize) -> String {
    format!("server-{at:04}")
}

fn server(text: &mut String, at: usize, upstream: &str) -> Result<()> {
    let (name, label) = (name(at), if at.is_multiple_of(3) { "production" } else { "staging" });
    write!(
        text,
        r#"
[[server]]
name = "{name}"
title = "Server {at}"
labels = ["{label}"]
upstream = {{ url = "http://{upstream}/call" }}
default_scopes = ["items:read"]
[server.scopes]
"items:read" = "Read items"
"items:write" = {{ says = "Change items", implies = ["items:read"] }}
"items:delete" = {{ says = "Delete items", implies = ["items:write"] }}
"reports:read" = "Read reports"
[[server.rule]]
tools = ["read_*", "list_items", "search"]
resources = ["item://*"]
scopes = ["items:read"]
[[server.rule]]
tools = ["create_item", "update_item"]
scopes = ["items:write"]
[[server.rule]]
tools = ["delete_*"]
scopes = ["items:delete"]
risk = "high"
[[server.rule]]
tools = ["report"]
prompts = ["summary"]
scopes = ["reports:read"]
"#
    )?;
    Ok(())
}

/// An agent's first server has its own number.
fn agent(text: &mut String, at: usize, (servers, first): (usize, &str), secrets: &Path) -> Result<()> {
    let of = |step: usize| (at + step * 131) % servers;
    let mut reach: Vec<usize> = (0..REACH).map(of).collect();
    reach.dedup();
    let scope = |place: usize| if place == 0 { first } else { "items:read" };
    let access: Vec<String> = reach
        .iter()
        .enumerate()
        .map(|(place, server)| format!("{} = [\"{}\"]", name(*server), scope(place)))
        .collect();
    let (access, team) = (access.join(", "), at % 50);
    let file = secrets.join(format!("agent-{at:04}.json"));
    write!(
        text,
        "\n[[agent]]\nname = \"agent-{at:04}\"\nowner = \"team-{team}\"\naccess = {{ {access} }}\n\
         credential = {{ secret = {{ deliver = \"file:{}\" }} }}\n",
        file.display()
    )?;
    Ok(())
}

#[derive(Serialize)]
struct Parsed {
    milliseconds: f64,
}

pub(crate) fn parse(arguments: &ParseArguments) -> Result<()> {
    let text = std::fs::read_to_string(&arguments.file)?;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        let start = Instant::now();
        let table: toml::Table = text.parse()?;
        times.push(start.elapsed());
        drop(table);
    }
    times.sort_unstable();
    let middle = times.get(times.len() / 2).context("not parsed")?;
    println!("{}", serde_json::to_string(&Parsed { milliseconds: middle.as_secs_f64() * 1e3 })?);
    Ok(())
}
