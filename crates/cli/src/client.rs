//! `portcullis client`: the OAuth clients, their secrets, and an end to those that registered themselves.

use crate::admin::segment;
use crate::exit::Failure;
use crate::noun::{Doomed, End, HELP, One, Part, cell, end, print_ended, print_json, query};
use crate::rotate::{Rotate, rotate};
use crate::terminal::{agreed, visible};
use serde_json::Value;

/// List, show, revoke and remove OAuth clients, and give them another secret
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    /// Show a client
    #[command(after_help = HELP)]
    Show(One),
    /// Give a client of the fleet file a new secret: in the file that the fleet file names, or else printed once
    #[command(after_help = HELP)]
    Rotate(Rotate),
    /// End everything of a client, for every user; it stays registered, and may begin anew
    #[command(after_help = HELP)]
    Revoke(Doomed),
    /// Remove a client that registered itself, with everything of it
    #[command(after_help = HELP)]
    Remove(Doomed),
}

/// List clients, the newest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    /// Of this kind only
    #[arg(long, value_parser = ["agent", "registered", "self_registered"])]
    kind: Option<String>,

    #[command(flatten)]
    part: Part,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(List { kind, part }) => {
            let heads = ["ID", "KIND", "NAME", "CREATED", "USED"];
            part.print(&query("/api/v1/clients", &[("kind", kind.as_deref())]), heads, row).await
        }
        Command::Show(one) => one.print("/api/v1/clients").await,
        Command::Rotate(arguments) => rotate("clients", arguments).await,
        Command::Revoke(Doomed { name, sure }) => {
            let note = "It stays registered; people are asked again.";
            let sessions = Some(("client", name.as_str()));
            end(&sure, &End { kind: "client", id: Some(&name), sessions, note }).await
        }
        Command::Remove(doomed) => remove(&doomed).await,
    }
}

fn row(client: &Value) -> [String; 5] {
    let name = match cell(client, "agent") {
        agent if agent.is_empty() => cell(client, "name"),
        agent => agent,
    };
    let of = |member| cell(client, member);
    [of("id"), of("kind"), name, of("created"), of("used")]
}

async fn remove(doomed: &Doomed) -> Result<(), Failure> {
    let Doomed { name, sure } = doomed;
    let shown = visible(name);
    let question =
        format!("Client {shown} is removed for good, with all its sessions and grants, for every user.");
    if !sure.yes && !agreed(&question)? {
        return Err(Failure::NotAgreed);
    }
    let answer = sure.common.place.delete(&format!("/api/v1/clients/{}", segment(name))).await?;
    let ended: Value = answer.json()?;
    if sure.common.json {
        print_json(&ended)
    } else {
        print_ended(&format!("client {shown}, removed"), &ended)
    }
}
