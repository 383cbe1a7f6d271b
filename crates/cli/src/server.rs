//! `portcullis server`: servers of the fleet.

use crate::credentials::variable;
use crate::exit::Failure;
use crate::noun::{Doomed, End, HELP, One, Part, cell, end};
use crate::output::create;
use crate::pins;
use crate::terminal::visible;
use clap::Subcommand;
use portcullis_client::Header;
use portcullis_server::config::{Config, Options};
use portcullis_server::draft::{AddError, Source, add};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;

const ADD_HELP: &str =
    "Nothing is registered: the draft is for you to read, edit, `portcullis plan` and `portcullis apply`.

Exit codes:
  0  drafted
  1  error: nothing was drafted, nothing was written
  2  usage: an argument is missing or wrong";

/// Draft, list and show servers; they are added, changed and removed in the fleet file
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(Add),
    #[command(after_help = HELP)]
    Approve(pins::Approve),
    #[command(after_help = HELP)]
    Diff(pins::Diff),
    /// List the registered servers
    #[command(after_help = HELP)]
    List(Part),
    /// Show a server: scopes, rules, and who can get there
    #[command(after_help = HELP)]
    Show(One),
    /// End everything on a server, for everybody; it stays registered
    #[command(after_help = HELP)]
    Revoke(Doomed),
    #[command(after_help = HELP)]
    Tools(pins::Tools),
}

/// Ask an MCP server what it offers, and draft its scopes and rules
#[derive(clap::Args)]
#[command(after_help = ADD_HELP)]
struct Add {
    /// The server's address (Streamable HTTP)
    #[arg(value_name = "URL", required_unless_present = "command", conflicts_with = "command")]
    url: Option<String>,

    /// Ask the program [command.NAME] of this machine's portcullis.toml instead
    #[arg(long, value_name = "NAME")]
    command: Option<String>,

    /// Its name in the fleet; without it, one is made from the address
    #[arg(long)]
    name: Option<String>,

    /// Send this header when asking, its value from a variable: "Authorization=env:NAME"; it is not written anywhere
    #[arg(long, value_name = "HEADER=env:NAME", requires = "url")]
    header_from: Vec<String>,

    /// Write to this new file instead of stdout
    #[arg(long, value_name = "FILE", conflicts_with = "into")]
    output: Option<PathBuf>,

    /// Append to this fleet file, if the two fit together
    #[arg(long, value_name = "FLEET.toml")]
    into: Option<PathBuf>,

    /// The configuration file (default: portcullis.toml, if there is one)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Add(arguments) => run_add(arguments).await,
        Command::Approve(arguments) => pins::approve(arguments).await,
        Command::Diff(arguments) => pins::diff(arguments).await,
        Command::Tools(arguments) => pins::tools(arguments).await,
        Command::List(part) => {
            let heads = ["NAME", "MODE", "ADDRESS", "UPSTREAM", "OWNERS", "LIVE"];
            part.print("/api/v1/servers", heads, row).await
        }
        Command::Show(one) => one.print("/api/v1/servers").await,
        Command::Revoke(Doomed { name, sure }) => {
            let note = "It stays registered; people are asked again.";
            let sessions = Some(("server", name.as_str()));
            end(&sure, &End { kind: "server", id: Some(&name), sessions, note }).await
        }
    }
}

fn row(server: &Value) -> [String; 6] {
    ["name", "mode", "address", "upstream", "owners", "live_sessions"].map(|member| cell(server, member))
}

async fn run_add(arguments: Add) -> Result<(), Failure> {
    let options = Options { file: arguments.config.clone(), ..Options::default() };
    let config = Config::load(&options).map_err(|error| failed(&error.into()))?;
    let headers = headers(&arguments.header_from)?;
    let source = match (&arguments.url, &arguments.command) {
        (Some(url), _) => Source::Address { url, headers: &headers },
        (None, Some(command)) => Source::Command(command),
        (None, None) => return Err(Failure::usage("an address or --command is needed")),
    };
    let into = arguments.into.as_deref();
    let (name, drafted) =
        add(&config, source, arguments.name.as_deref(), into).await.map_err(|error| failed(&error))?;
    match (&arguments.output, arguments.json) {
        (Some(file), _) => create(file, &drafted.text)?,
        (None, false) if into.is_none() => std::io::stdout().write_all(drafted.text.as_bytes())?,
        (None, _) => {}
    }
    if arguments.json {
        let said = json!({ "name": name, "toml": drafted.text, "unsure": drafted.unsure, "left_out": drafted.left_out });
        return Ok(writeln!(std::io::stdout(), "{said:#}")?);
    }
    tell(&name, &drafted.unsure, &drafted.left_out)
}

/// On stderr: stdout is the draft.
fn tell(name: &str, unsure: &[String], left_out: &[String]) -> Result<(), Failure> {
    let mut stderr = std::io::stderr().lock();
    for line in unsure {
        writeln!(stderr, "look again: {}", visible(line))?;
    }
    for line in left_out {
        writeln!(stderr, "left out: {}", visible(line))?;
    }
    writeln!(
        stderr,
        "Drafted {name}. Nobody has access yet: name it in an agent or a role, then run `portcullis plan`."
    )?;
    Ok(())
}

fn headers(from: &[String]) -> Result<Vec<Header>, Failure> {
    let read = |text: &String| {
        let wrong =
            || Failure::usage("--header-from wants HEADER=env:NAME, such as Authorization=env:UPSTREAM_AUTH");
        let (header, place) = text.split_once('=').ok_or_else(wrong)?;
        let name = place.strip_prefix("env:").ok_or_else(wrong)?;
        let value = variable(name)?.ok_or_else(|| Failure::usage(format!("{name} is not set")))?;
        Header::new(header, &value)
            .ok_or_else(|| Failure::usage(format!("{header:?} and the value of {name} are no header")))
    };
    from.iter().map(read).collect()
}

fn failed(error: &AddError) -> Failure {
    let hint = match error {
        AddError::WantsOauth(_) => {
            "\nhint: ask with a token of its own, --header-from Authorization=env:NAME (\"Bearer …\"), to draft it. For its \
             callers, either let the server take Portcullis' tokens and register it with mode = \"direct\", or let it \
             verify the gateway's assertions instead of its own tokens (docs/tasks/verify-assertions.md)"
        }
        AddError::Config(_)
        | AddError::NoCommand(..)
        | AddError::Address(_)
        | AddError::Name(_)
        | AddError::Server(_)
        | AddError::Program(..)
        | AddError::Draft(_)
        | AddError::Into(_) => "",
    };
    let says: Vec<String> = error.to_string().lines().map(visible).collect();
    Failure::Operator(format!("{}{hint}", says.join("\n")))
}
