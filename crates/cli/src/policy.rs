//! `portcullis policy`: who may do what, and why; what a change would do; what could be narrower.

use crate::admin::{Body, Place};
use crate::exit::Failure;
use crate::simulate;
use serde::Deserialize;
use serde_json::Value;
use std::io::Write as _;

const HELP: &str = "Exit codes:
  0  answered, whether it is allowed or not
  1  error: no such server, agent or user, or no server runs on the data folder";

/// Ask the policy
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Explain(Explain),
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
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// An agent's name
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// A user's name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
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
}

#[derive(Deserialize)]
struct Explanation {
    allowed: bool,
    ceiling: Vec<String>,
    says: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Explain(arguments) => explain(arguments).await,
        Command::Simulate(arguments) => simulate::simulate(arguments).await,
        Command::Suggest(arguments) => simulate::suggest(arguments).await,
    }
}

async fn explain(explain: Explain) -> Result<(), Failure> {
    let mut question = serde_json::Map::from_iter([("server".to_owned(), Value::from(explain.server))]);
    let Who { agent, user } = explain.who;
    let What { tool, prompt, resource } = explain.what;
    let said = [("agent", agent), ("user", user), ("tool", tool), ("prompt", prompt), ("resource", resource)];
    for (name, value) in said {
        question.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    }
    let answer = explain.place.post("/api/v1/policy/explain", Body::Json(question.into())).await?;
    let mut stdout = std::io::stdout().lock();
    if explain.json {
        writeln!(stdout, "{:#}", answer.json::<Value>()?)?;
    } else {
        let Explanation { allowed, ceiling, says } = answer.json()?;
        writeln!(stdout, "{}: {says}", if allowed { "allowed" } else { "refused" })?;
        let ceiling = if ceiling.is_empty() { "nothing".to_owned() } else { ceiling.join(" ") };
        writeln!(stdout, "at most: {ceiling}")?;
    }
    Ok(())
}
