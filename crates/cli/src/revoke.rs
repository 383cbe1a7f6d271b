//! `portcullis revoke`: an end to anything that was issued, in one place for the bad day (PC-45).

use crate::exit::Failure;
use crate::noun::{Doomed, End, HELP, Sure, end};

/// End what was issued, now: one token, session or grant, or everything of somebody, or everything
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Every token and session of everybody; people sign in again, agents ask again
    #[command(after_help = HELP)]
    All(Sure),
    /// Everything of an agent; it stays registered, and its secret counts
    #[command(after_help = HELP)]
    Agent(Doomed),
    /// Everything of a client, for every user; it stays registered
    #[command(after_help = HELP)]
    Client(Doomed),
    /// What a user allowed a client, with its sessions
    #[command(after_help = HELP)]
    Grant(Doomed),
    /// Everything on a server, tokens of other issuers included; it stays registered
    #[command(after_help = HELP)]
    Server(Doomed),
    /// One session, with its tokens; those of other issuers are in none: revoke the token or the server
    #[command(after_help = HELP)]
    Session(Doomed),
    /// One access token, by its `jti`; its session goes on
    #[command(after_help = HELP)]
    Token(Doomed),
    /// Everything of a user: browsers, grants, sessions; they may sign in again
    #[command(after_help = HELP)]
    User(Doomed),
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (kind, filter, note, Doomed { name, sure }) = match arguments.command {
        Command::All(sure) => {
            let note = "Everybody is signed out, and every agent asks for a new token.";
            return end(&sure, &End { kind: "all", id: None, sessions: Some(("", "")), note }).await;
        }
        Command::Agent(doomed) => ("agent", Some("agent"), AGENT, doomed),
        Command::Client(doomed) => {
            ("client", Some("client"), "It stays registered; people are asked again.", doomed)
        }
        Command::Grant(doomed) => {
            ("grant", None, "Every session by it breaks; the user is asked again.", doomed)
        }
        Command::Server(doomed) => (
            "server",
            Some("server"),
            "It stays registered; people are asked again. Tokens of other issuers made until now are refused too.",
            doomed,
        ),
        Command::Session(doomed) => ("session", None, "", doomed),
        Command::Token(doomed) => ("token", None, "Its session goes on.", doomed),
        Command::User(doomed) => ("user", Some("user"), USER, doomed),
    };
    let sessions = filter.map(|filter| (filter, name.as_str()));
    end(&sure, &End { kind, id: Some(&name), sessions, note }).await
}

pub(crate) const AGENT: &str =
    "It stays registered, and its secret gets new tokens: rotate that too if it leaked.";

pub(crate) const USER: &str = "They may sign in again, and are asked again.";
