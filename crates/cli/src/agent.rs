//! `portcullis agent`: the registered agents and their secrets.

use crate::admin::{Body, Place, segment};
use crate::exit::Failure;
use crate::terminal::{print, table, visible};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const HELP: &str = "Exit codes:
  0  done
  1  error: nothing was changed (no such agent, its file cannot be written, no server runs on the data folder)
  2  the command line is wrong";

/// List agents and give them another secret; they are added and removed in the fleet file
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Rotate(Rotate),
}

/// List all agents
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Give an agent a new secret: in the file that the fleet file names, or else printed once
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Rotate {
    /// The agent's name
    name: String,

    /// The old secrets end at once, and with them every token that the agent has: for a secret that leaked
    #[arg(long, conflicts_with = "overlap")]
    now: bool,

    /// How long the old secrets go on: a number and s, m, h or d, 30d at most
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
    overlap: u64,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "must be a number and s, m, h or d, such as 24h";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(WRONG),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or(WRONG)
}

#[derive(Deserialize)]
struct Agent {
    name: String,
    client_id: String,
    owner: String,
    access: BTreeMap<String, Value>,
    live_secrets: u64,
}

/// No `Debug`: it may hold a secret.
#[derive(Deserialize)]
struct Rotated {
    agent: String,
    client_id: String,
    delivered_to: Option<String>,
    client_secret: Option<String>,
    overlap_seconds: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(arguments) => list(arguments).await,
        Command::Rotate(arguments) => rotate(arguments).await,
    }
}

async fn list(arguments: List) -> Result<(), Failure> {
    const PATH: &str = "/api/v1/agents";
    if arguments.json {
        let all: Vec<Value> = arguments.place.pages(PATH).await?;
        return Ok(print(&format!("{:#}\n", Value::from(all)))?);
    }
    let agents: Vec<Agent> = arguments.place.pages(PATH).await?;
    let rows: Vec<[String; 5]> = agents.into_iter().map(Agent::row).collect();
    Ok(print(&table(["NAME", "OWNER", "SERVERS", "SECRETS", "CLIENT ID"], &rows))?)
}

impl Agent {
    fn row(self) -> [String; 5] {
        let servers: Vec<&str> = self.access.keys().map(String::as_str).collect();
        [self.name, self.owner, servers.join(", "), self.live_secrets.to_string(), self.client_id]
    }
}

async fn rotate(arguments: Rotate) -> Result<(), Failure> {
    let overlap = if arguments.now { 0 } else { arguments.overlap };
    let path = format!("/api/v1/agents/{}/rotate", segment(&arguments.name));
    let body = Body::Json(json!({ "overlap_seconds": overlap }));
    let answer = arguments.place.post(&path, body).await?;
    if arguments.json {
        return Ok(print(&format!("{:#}\n", answer.json::<Value>()?))?);
    }
    Ok(print(&words(&answer.json()?))?)
}

fn words(rotated: &Rotated) -> String {
    let Rotated { agent, client_id, delivered_to, client_secret, overlap_seconds } = rotated;
    let old = match overlap_seconds {
        0 => "the old ones, and the tokens that it had, have ended".to_owned(),
        seconds => format!("the old ones end in {seconds} seconds"),
    };
    let mut text = format!("{} has a new secret; {old}.\n", visible(agent));
    if let Some(path) = delivered_to {
        let _infallible = writeln!(text, "It is in {}", visible(path));
    }
    if let Some(secret) = client_secret {
        let _infallible = writeln!(text, "Client id and secret, shown once:\n{client_id}\n{secret}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        assert_eq!((seconds("24h"), seconds("0s"), seconds("30d")), (Ok(86_400), Ok(0), Ok(2_592_000)));
        for bad in ["", "h", "24", "1w", "-1h", "1.5h", "1 h", "1hh", "99999999999999999999d", "1é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
