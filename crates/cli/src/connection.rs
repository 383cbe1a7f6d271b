//! `portcullis connection`: accounts at third-party servers that people connected, and an end to them (PC-45).

use crate::admin::segment;
use crate::exit::Failure;
use crate::noun::{Doomed, HELP, One, Part, cell, print_json, query};
use crate::terminal::{agreed, print, visible};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/connections";

/// List, show and revoke connections: accounts at third-party servers that users connected
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    /// Show a connection
    #[command(after_help = HELP)]
    Show(One),
    /// Revoke a connection: calls go without it at once, its issuer is told, and the user has to connect again
    #[command(after_help = HELP)]
    Revoke(Doomed),
}

/// List connections, the oldest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    /// Of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// To this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    #[command(flatten)]
    part: Part,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(list) => {
            let filters = [("user", list.user.as_deref()), ("server", list.server.as_deref())];
            let heads = ["ID", "USER", "SERVER", "ISSUER", "SCOPES", "SINCE", "STATE"];
            list.part.print(&query(PATH, &filters), heads, row).await
        }
        Command::Show(one) => one.print(PATH).await,
        Command::Revoke(doomed) => revoke(&doomed).await,
    }
}

fn row(connection: &Value) -> [String; 7] {
    ["id", "user", "server", "issuer", "scopes", "since", "state"].map(|member| cell(connection, member))
}

async fn revoke(doomed: &Doomed) -> Result<(), Failure> {
    let Doomed { name, sure } = doomed;
    let path = format!("{PATH}/{}", segment(name));
    if !sure.yes {
        let whole: Value = sure.common.place.get(&path).await?.json()?;
        let [user, server] = ["user", "server"].map(|member| visible(&cell(&whole, member)));
        if !agreed(&format!("Calls of {user} to {server} fail until they connect again."))? {
            return Err(Failure::NotAgreed);
        }
    }
    sure.common.place.delete(&path).await?;
    if sure.common.json {
        return print_json(&json!({ "revoked": name }));
    }
    Ok(print(&format!("Revoked: connection {}\n", visible(name)))?)
}
