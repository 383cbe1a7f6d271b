//! `portcullis session`: what is going on, and an end to it (PC-45).

use crate::admin::{Page, Place, segment};
use crate::exit::Failure;
use crate::terminal::{agreed, print, table, visible};
use serde::Deserialize;
use serde_json::{Value, json};

const HELP: &str = "Exit codes:
  0  done
  1  error: nothing was changed (no such live session, no server runs on the data folder)
  2  the command line is wrong";

/// List and end sessions: runs of agents, and people at work through a client
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Revoke(Revoke),
}

/// List live sessions, the newest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    /// How many, 500 at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,

    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// End a session: its tokens are refused from now on, and cannot be renewed
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Revoke {
    /// Its id, as `session list` and tokens name it
    id: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Session {
    id: String,
    agent: Option<String>,
    user: Option<String>,
    client_id: String,
    client_name: Option<String>,
    server: String,
    scopes: Vec<String>,
    started: String,
    ends: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(arguments) => list(arguments).await,
        Command::Revoke(arguments) => revoke(arguments).await,
    }
}

async fn list(arguments: List) -> Result<(), Failure> {
    let cursor = arguments.cursor.map(|id| format!("&cursor={}", segment(&id))).unwrap_or_default();
    let answer = arguments.place.get(&format!("/api/v1/sessions?limit={}{cursor}", arguments.limit)).await?;
    if arguments.json {
        return Ok(print(&format!("{:#}\n", answer.json::<Value>()?))?);
    }
    let Page::<Session> { items, next } = answer.json()?;
    let rows: Vec<[String; 7]> = items.into_iter().map(Session::row).collect();
    print(&table(["ID", "OWNER", "CLIENT", "SERVER", "SCOPES", "STARTED", "ENDS"], &rows))?;
    if let Some(next) = next {
        print(&format!("There are more: --cursor {}\n", visible(&next)))?;
    }
    Ok(())
}

impl Session {
    fn row(self) -> [String; 7] {
        let owner = match (self.agent, self.user) {
            (Some(agent), _) => format!("agent {agent}"),
            (None, Some(user)) => format!("user {user}"),
            (None, None) => "?".to_owned(),
        };
        let client = self.client_name.unwrap_or(self.client_id);
        [self.id, owner, client, self.server, self.scopes.join(" "), self.started, self.ends]
    }
}

async fn revoke(arguments: Revoke) -> Result<(), Failure> {
    let Revoke { id, yes, place, json } = arguments;
    let shown = visible(&id);
    if !yes && !agreed(&format!("Session {shown} ends now."))? {
        return Err(Failure::NotAgreed);
    }
    place.delete(&format!("/api/v1/sessions/{}", segment(&id))).await?;
    if json {
        return Ok(print(&format!("{:#}\n", json!({ "revoked": id })))?);
    }
    Ok(print(&format!("Ended: {shown}\n"))?)
}
