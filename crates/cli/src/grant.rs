//! `portcullis grant`: what people agreed to, and an end to it (PC-45).

use crate::exit::Failure;
use crate::noun::{Doomed, End, HELP, One, Part, cell, end, query};
use serde_json::Value;

/// List, show and revoke grants: what a user allowed a client on a server
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    /// Show a grant
    #[command(after_help = HELP)]
    Show(One),
    /// Revoke a grant: its sessions end, and the user is asked again
    #[command(after_help = HELP)]
    Revoke(Doomed),
}

/// List grants, the newest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    /// Of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// To this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// On this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Those that were revoked too
    #[arg(long)]
    revoked: bool,

    #[command(flatten)]
    part: Part,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(list) => {
            let filters = [
                ("user", list.user.as_deref()),
                ("client", list.client.as_deref()),
                ("server", list.server.as_deref()),
                ("revoked", list.revoked.then_some("true")),
            ];
            let heads = ["ID", "USER", "CLIENT", "SERVER", "SCOPES", "SINCE", "REVOKED"];
            list.part.print(&query("/api/v1/grants", &filters), heads, row).await
        }
        Command::Show(one) => one.print("/api/v1/grants").await,
        Command::Revoke(Doomed { name, sure }) => {
            let note = "Every session by this grant breaks; the user is asked again.";
            end(&sure, &End { kind: "grant", id: Some(&name), sessions: None, note }).await
        }
    }
}

fn row(grant: &Value) -> [String; 7] {
    let client = match cell(grant, "client_name") {
        name if name.is_empty() => cell(grant, "client_id"),
        name => name,
    };
    let of = |member| cell(grant, member);
    [of("id"), of("user"), client, of("server"), of("scopes"), of("since"), of("revoked")]
}
