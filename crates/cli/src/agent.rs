//! `portcullis agent`: the registered agents and their secrets.

use crate::exit::Failure;
use crate::noun::{Doomed, End, One, Part, cell, end};
use crate::revoke::AGENT;
use crate::rotate::{Rotate, rotate};
use serde_json::Value;

const HELP: &str = "Exit codes:
  0  done
  1  error: nothing was changed (no such agent, its file cannot be written, the server refuses or does not answer)
  2  the command line is wrong";

/// List, show and revoke agents, and give them another secret; they are added and removed in the fleet file
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List all agents
    #[command(after_help = HELP)]
    List(Part),
    /// Give an agent a new secret: in the file that the fleet file names, or else printed once
    #[command(after_help = HELP)]
    Rotate(Rotate),
    /// End everything of an agent: sessions and tokens; it stays registered, and its secret counts
    #[command(after_help = HELP)]
    Revoke(Doomed),
    /// Show an agent: what it may do, and what it does
    #[command(after_help = HELP)]
    Show(One),
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(part) => {
            let heads = ["NAME", "OWNER", "STATE", "ACCESS", "SECRETS", "CLIENT ID"];
            part.print("/api/v1/agents", heads, row).await
        }
        Command::Rotate(arguments) => rotate("agents", arguments).await,
        Command::Revoke(Doomed { name, sure }) => {
            let sessions = Some(("agent", name.as_str()));
            end(&sure, &End { kind: "agent", id: Some(&name), sessions, note: AGENT }).await
        }
        Command::Show(one) => one.print("/api/v1/agents").await,
    }
}

fn row(agent: &Value) -> [String; 6] {
    let [name, owner, access, secrets, client] =
        ["name", "owner", "access", "live_secrets", "client_id"].map(|member| cell(agent, member));
    [name, owner, state(agent), access, secrets, client]
}

/// Whether it counts, and until when.
fn state(agent: &Value) -> String {
    let is = |member: &str| agent[member].as_bool() == Some(true);
    match (is("disabled"), is("ended"), agent["expires"].as_str()) {
        (true, _, _) => "disabled".to_owned(),
        (false, true, _) => "expired".to_owned(),
        (false, false, Some(end)) => format!("until {end}"),
        (false, false, None) => "active".to_owned(),
    }
}
