//! `portcullis policy`: who may do what, and why; what a change would do; what could be narrower.

use crate::admin::{Body, Place};
use crate::exit::Failure;
use crate::simulate;
use serde::Deserialize;
use serde_json::Value;
use std::io::Write as _;

const HELP: &str = "Exit codes:
  0  answered, whether it is allowed or not
  1  error: no such server, agent or user, or the server refuses or does not answer
  2  the command line is wrong";

/// Ask the policy
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Explain(Box<Explain>),
    Simulate(simulate::Simulate),
    Suggest(simulate::Suggest),
}

/// Say whether an agent or user may do something, by which rule, and what it needs
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Explain {
    #[command(flatten)]
    who: Who,

    /// The server's name
    #[arg(long, value_name = "NAME")]
    server: String,

    #[command(flatten)]
    what: What,

    #[command(flatten)]
    circumstances: Circumstances,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Who {
    /// An agent's name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["user", "client"])]
    agent: Option<String>,

    /// A user's name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// A registered client: with --user for that user, alone for somebody with every role
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

/// The circumstances that conditions look at
#[derive(clap::Args)]
struct Circumstances {
    /// At this moment, as 2026-11-20T23:00:00+01:00 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// From this address; without it, conditions on addresses refuse
    #[arg(long, value_name = "IP")]
    address: Option<String>,

    /// With this argument of the tool; may be repeated
    #[arg(long = "argument", value_name = "NAME=TEXT", value_parser = argument)]
    arguments: Vec<(String, String)>,
}

fn argument(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, text)| (name.to_owned(), text.to_owned()));
    pair.ok_or_else(|| "an argument is written as NAME=TEXT".to_owned())
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Call this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,

    /// Get this prompt
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,

    /// Read this resource
    #[arg(long, value_name = "URI")]
    resource: Option<String>,

    /// Use this method, which MCP itself has no meaning for
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
}

#[derive(Deserialize)]
struct Explanation {
    allowed: bool,
    ceiling: Vec<String>,
    depends_on: Vec<String>,
    says: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Explain(arguments) => explain(*arguments).await,
        Command::Simulate(arguments) => simulate::simulate(arguments).await,
        Command::Suggest(arguments) => simulate::suggest(arguments).await,
    }
}

async fn explain(explain: Explain) -> Result<(), Failure> {
    let mut question = serde_json::Map::from_iter([("server".to_owned(), Value::from(explain.server))]);
    let Who { agent, user, client } = explain.who;
    let Circumstances { at, address, arguments } = explain.circumstances;
    let What { tool, prompt, resource, method } = explain.what;
    let who = [("agent", agent), ("user", user), ("client", client)];
    let what = [("tool", tool), ("prompt", prompt), ("resource", resource), ("method", method)];
    let said = who.into_iter().chain(what).chain([("at", at), ("address", address)]);
    for (name, value) in said {
        question.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    }
    if !arguments.is_empty() {
        let arguments = arguments.into_iter().map(|(name, text)| (name, Value::from(text)));
        question.insert("arguments".to_owned(), Value::Object(arguments.collect()));
    }
    let answer = explain.place.post("/api/v1/policy/explain", Body::Json(question.into())).await?;
    let mut stdout = std::io::stdout().lock();
    if explain.json {
        writeln!(stdout, "{:#}", answer.json::<Value>()?)?;
    } else {
        let Explanation { allowed, ceiling, depends_on, says } = answer.json()?;
        let verdict = match (allowed, depends_on.is_empty()) {
            (true, _) => "allowed",
            (false, true) => "refused",
            (false, false) => "depends",
        };
        writeln!(stdout, "{verdict}: {says}")?;
        let ceiling = if ceiling.is_empty() { "nothing".to_owned() } else { ceiling.join(" ") };
        writeln!(stdout, "at most: {ceiling}")?;
    }
    Ok(())
}
