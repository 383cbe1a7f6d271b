//! `portcullis doctor`: everything that an operator would look at when something is wrong.

use crate::exit::Failure;
use crate::terminal::{print, visible};
use portcullis_server::clock::Clock;
use portcullis_server::config::Options;
use portcullis_server::doctor::{Finding, Level, examine};
use std::fmt::Write as _;
use std::path::PathBuf;

const HELP: &str = "Nothing is changed, and no secret is shown. Run it as the user who serves.

Exit codes:
  0  everything is as it should be
  1  there are warnings
  2  there are problems (or the command line is wrong)";

/// Look at configuration, files, keys, database, server and upstreams, and say what to do
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The configuration; without it portcullis.toml in this folder, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data folder [default: portcullis-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// As for `serve`
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { config, data, listen, json } = arguments;
    let findings =
        examine(&Options { file: config, data, listen, ..Options::default() }, &Clock::System).await;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if json {
        print(&format!("{:#}\n", serde_json::json!({ "worst": worst, "findings": findings })))?;
    } else {
        print(&words(&findings))?;
    }
    match worst {
        Level::Ok => Ok(()),
        Level::Warning => Err(Failure::Found(1)),
        Level::Problem => Err(Failure::Found(2)),
    }
}

fn words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { level, what, says, remedy } in findings {
        let level = match level {
            Level::Ok => "ok      ",
            Level::Warning => "warning ",
            Level::Problem => "PROBLEM ",
        };
        let _infallible = writeln!(text, "{level} {}: {}", visible(what), visible(says));
        if !remedy.is_empty() {
            let _infallible = writeln!(text, "          -> {}", visible(remedy));
        }
    }
    text
}
