//! `portcullis policy simulate` and `policy suggest`: what the record of calls says about a change (PC-26).

use crate::admin::{Body, Place};
use crate::exit::Failure;
use crate::noun::{cell, print_json, query};
use crate::terminal::{print, table, visible};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;

const SIMULATE_HELP: &str =
    "Every recorded call of the period is decided again, by the fleet of today and by that of the file.

Exit codes:
  0  nothing would be decided differently
  1  error: mistakes in the file (each with its line), or the server refuses or does not answer
  2  something would, or it cannot be said (or the command line is wrong)";

const SUGGEST_HELP: &str = "Nothing is changed. What is suggested only ever takes away.

Exit codes:
  0  answered, whether something is suggested or not
  1  error: the server refuses or does not answer
  2  the command line is wrong";

/// Say which calls of the past a changed fleet file would refuse or allow
#[derive(clap::Args)]
#[command(after_help = SIMULATE_HELP)]
pub(crate) struct Simulate {
    /// The fleet file
    #[arg(value_name = "FLEET.toml")]
    file: PathBuf,

    #[command(flatten)]
    period: Period,
}

/// Say what could be narrower, by what was really called
#[derive(clap::Args)]
#[command(after_help = SUGGEST_HELP)]
pub(crate) struct Suggest {
    /// Calls since then: a time such as 2026-11-20T12:00:00Z, or an age such as 30d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Period {
    /// Calls since then: a time such as 2026-11-20T12:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn simulate(arguments: Simulate) -> Result<(), Failure> {
    let Simulate { file, period } = arguments;
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::Operator(format!("cannot read {}: {error}", file.display())))?;
    let path = query("/api/v1/policy/simulate", &[("since", Some(&period.since))]);
    let found: Value = period.place.post(&path, Body::Toml(text)).await?.json()?;
    if period.json {
        print_json(&found)?;
    } else {
        print(&words(&found))?;
    }
    let count = |member: &str| found[member].as_u64().unwrap_or(0);
    let changes = found["changes"].as_array().is_none_or(|changes| !changes.is_empty());
    if changes || count("unlisted") + count("undecidable") > 0 { Err(Failure::Differs) } else { Ok(()) }
}

fn words(found: &Value) -> String {
    let changes: Vec<&Value> = found["changes"].as_array().into_iter().flatten().collect();
    let rows: Vec<[String; 6]> = changes
        .iter()
        .map(|change| {
            let of = |member| cell(change, member);
            let effect = match change["effect"].as_str() {
                Some("refused") => "- refused",
                Some("needs_scope") => "- needs another token",
                Some("allowed") => "+ allowed",
                _ => "? changed",
            };
            let why = format!("{} -> {}", of("before"), of("after"));
            [effect.to_owned(), of("who"), of("server"), of("what"), of("count"), why]
        })
        .collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text += &table(["EFFECT", "WHO", "SERVER", "WHAT", "CALLS", "WHY"], &rows);
    }
    let _infallible = writeln!(
        text,
        "{} calls decided again: {} as before, {} different.",
        cell(found, "calls"),
        cell(found, "unchanged"),
        changes.iter().filter_map(|change| change["count"].as_u64()).sum::<u64>()
    );
    for (member, says) in [
        ("unlisted", "more are different and not listed"),
        ("undecidable", "hang on what is not recorded (arguments, an address, a long name): cannot be said"),
        ("gone", "were of somebody, or on a server, that is not there any more"),
        ("other", "were refused for what is no matter of the fleet"),
        ("unreadable", "lines of the record cannot be read"),
    ] {
        if found[member].as_u64().unwrap_or(0) > 0 {
            let _infallible = writeln!(text, "{} {says}.", cell(found, member));
        }
    }
    text
}

pub(crate) async fn suggest(arguments: Suggest) -> Result<(), Failure> {
    let path = query("/api/v1/policy/suggest", &[("since", Some(&arguments.since))]);
    let found: Value = arguments.place.get(&path).await?.json()?;
    if arguments.json {
        return print_json(&found);
    }
    let all: Vec<&Value> = found["suggestions"].as_array().into_iter().flatten().collect();
    let mut text = format!("Learned from {} allowed calls.\n", cell(&found, "calls"));
    if found["calls"] == 0 {
        text += "Nothing was called, so nothing can be said.\n";
    } else if all.is_empty() {
        text += "Nothing to suggest.\n";
    }
    for suggestion in all {
        let of = |member| visible(&cell(suggestion, member));
        let _infallible = writeln!(text, "\n# {}: {}", of("about"), of("reason"));
        for line in suggestion["toml"].as_str().unwrap_or_default().lines() {
            let _infallible = writeln!(text, "{}", visible(line));
        }
    }
    Ok(print(&text)?)
}
