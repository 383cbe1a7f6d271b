//! `portcullis agent rotate` and `portcullis client rotate`: another secret, with an end to the old ones.

use crate::admin::{Body, segment};
use crate::exit::Failure;
use crate::noun::{Common, print_json};
use crate::terminal::{print, visible};
use serde::Deserialize;
use serde_json::json;
use std::fmt::Write as _;

/// Whose secret, and when the old ones end.
#[derive(clap::Args)]
pub(crate) struct Rotate {
    /// Its name in the fleet file
    name: String,

    /// The old secrets end at once, and with them every token that they got: for a secret that leaked
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
    agent: Option<String>,
    client: Option<String>,
    client_id: String,
    delivered_to: Option<String>,
    client_secret: Option<String>,
    overlap_seconds: u64,
}

/// Has the secret of one of these made, and says where it is.
pub(crate) async fn rotate(of: &str, arguments: Rotate) -> Result<(), Failure> {
    let overlap = if arguments.now { 0 } else { arguments.overlap };
    let path = format!("/api/v1/{of}/{}/rotate", segment(&arguments.name));
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
    let Rotated { agent, client, client_id, delivered_to, client_secret, overlap_seconds } = rotated;
    let old = match overlap_seconds {
        0 => "the old ones, and the tokens that they got, have ended".to_owned(),
        seconds => format!("the old ones end in {}", lasting(*seconds)),
    };
    let name = agent.as_deref().or(client.as_deref()).unwrap_or(client_id);
    let mut text = format!("{} has a new secret; {old}.\n", visible(name));
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
