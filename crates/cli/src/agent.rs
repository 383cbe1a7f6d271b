//! `portcullis agent`: the registered agents and their secrets.

use crate::admin::{Body, segment};
use crate::exit::Failure;
use crate::noun::{Common, Doomed, End, One, Part, cell, end, print_json};
use crate::revoke::AGENT;
use crate::terminal::{print, visible};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

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
    Rotate(Rotate),
    /// End everything of an agent: sessions and tokens; it stays registered, and its secret counts
    #[command(after_help = HELP)]
    Revoke(Doomed),
    /// Show an agent: what it may do, and what it does
    #[command(after_help = HELP)]
    Show(One),
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
    common: Common,
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
        Command::List(part) => {
            let heads = ["NAME", "OWNER", "STATE", "ACCESS", "SECRETS", "CLIENT ID"];
            part.print("/api/v1/agents", heads, row).await
        }
        Command::Rotate(arguments) => rotate(arguments).await,
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

async fn rotate(arguments: Rotate) -> Result<(), Failure> {
    let overlap = if arguments.now { 0 } else { arguments.overlap };
    let path = format!("/api/v1/agents/{}/rotate", segment(&arguments.name));
    let body = Body::Json(json!({ "overlap_seconds": overlap }));
    let Common { place, json } = arguments.common;
    let answer = place.post(&path, body).await?;
    if json {
        return print_json(&answer.json()?);
    }
    Ok(print(&words(&answer.json()?))?)
}

/// In the largest unit that says it exactly.
fn lasting(seconds: u64) -> String {
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let whole =
        units.into_iter().find(|(length, _)| seconds >= 2 * length && seconds.is_multiple_of(*length));
    whole
        .map_or_else(|| format!("{seconds} seconds"), |(length, unit)| format!("{} {unit}", seconds / length))
}

fn words(rotated: &Rotated) -> String {
    let Rotated { agent, client_id, delivered_to, client_secret, overlap_seconds } = rotated;
    let old = match overlap_seconds {
        0 => "the old ones, and the tokens that it had, have ended".to_owned(),
        seconds => format!("the old ones end in {}", lasting(*seconds)),
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
        let said = [86_400, 172_800, 7200, 5400, 90].map(lasting);
        assert_eq!(said, ["24 hours", "2 days", "2 hours", "90 minutes", "90 seconds"]);
    }
}
