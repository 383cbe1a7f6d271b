//! `portcullis session`: what is going on, and an end to it (PC-45).

use crate::audit;
use crate::exit::Failure;
use crate::noun::{Doomed, End, HELP, One, Part, cell, end, query};
use serde_json::Value;

/// List, show and end sessions: runs of agents, and people at work through a client
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    /// End a session: its tokens are refused from now on, and cannot be renewed
    #[command(after_help = HELP)]
    Revoke(Doomed),
}

/// List sessions, the newest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    /// Of this agent
    #[arg(long, value_name = "NAME", conflicts_with = "client")]
    agent: Option<String>,

    /// Through this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// Of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// On this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Those that are over or were revoked too
    #[arg(long)]
    ended: bool,

    #[command(flatten)]
    part: Part,
}

/// Show a session
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Show {
    /// Its record instead: everything about it that was recorded, the oldest first
    #[arg(long)]
    log: bool,

    #[command(flatten)]
    one: One,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(list) => {
            let ended = list.ended.then_some("true");
            let filters = [
                ("agent", list.agent.as_deref()),
                ("client", list.client.as_deref()),
                ("user", list.user.as_deref()),
                ("server", list.server.as_deref()),
                ("ended", ended),
            ];
            let heads = ["ID", "OWNER", "CLIENT", "SERVER", "SCOPES", "STARTED", "ENDS", "STATE"];
            list.part.print(&query("/api/v1/sessions", &filters), heads, row).await
        }
        Command::Show(Show { log: true, one }) => audit::log_of_session(&one).await,
        Command::Show(Show { log: false, one }) => one.print("/api/v1/sessions").await,
        Command::Revoke(Doomed { name, sure }) => {
            let session = End { kind: "session", id: Some(&name), sessions: None, note: "" };
            end(&sure, &session).await
        }
    }
}

fn row(session: &Value) -> [String; 8] {
    let owner = match (cell(session, "agent"), cell(session, "user")) {
        (agent, _) if !agent.is_empty() => format!("agent {agent}"),
        (_, user) => format!("user {user}"),
    };
    let client = match cell(session, "client_name") {
        name if name.is_empty() => cell(session, "client_id"),
        name => name,
    };
    let of = |member| cell(session, member);
    [of("id"), owner, client, of("server"), of("scopes"), of("started"), of("ends"), of("state")]
}
