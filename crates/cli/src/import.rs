//! `portcullis import`: from the configuration of clients to a draft of the fleet.

use crate::exit::Failure;
use crate::output::create;
use crate::terminal::visible;
use portcullis_server::draft::{Import, import};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

const HELP: &str = "Nothing is started or registered, and no value of a variable or header is copied. What the draft needs to know \
is on stderr.

Exit codes:
  0  everything was drafted
  1  error: nothing was drafted or written; or some entries were not drafted (each is named)
  2  usage: an argument is missing or wrong";

/// Draft a fleet file from the configuration files of MCP clients
///
/// Reads the files of Claude Desktop and Code, VS Code, Cursor, Windsurf, Zed, Cline, Gemini, Codex and OpenCode.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The configuration files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Write the fleet file to this new file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write the tables of programs, for portcullis.toml, to this new file instead of the end of the draft
    #[arg(long, value_name = "FILE")]
    commands: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut texts = Vec::new();
    let mut unreadable = Vec::new();
    for file in &arguments.files {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => texts.push((name, text)),
            Err(error) => unreadable.push(format!("{name}: {error}")),
        }
    }
    let mut drafted = import(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())), []);
    drafted.problems.extend(unreadable);
    if drafted.drafted > 0 {
        write(&drafted, &arguments)?;
    }
    tell(&drafted)?;
    if drafted.problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Operator(format!("{} not drafted, {} drafted", drafted.problems.len(), drafted.drafted)))
    }
}

fn write(drafted: &Import, arguments: &Arguments) -> Result<(), Failure> {
    let mut text = drafted.fleet.clone();
    match &arguments.commands {
        Some(file) if !drafted.commands.is_empty() => create(file, &drafted.commands)?,
        Some(_) => {}
        None => {
            text.extend(
                drafted
                    .commands
                    .lines()
                    .flat_map(|line| ["\n", if line.is_empty() { "#" } else { "# " }, line]),
            );
            text.push_str(if drafted.commands.is_empty() { "" } else { "\n" });
        }
    }
    if let Some(file) = &arguments.output {
        create(file, &text)?;
    }
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        let said = json!({
            "fleet": drafted.fleet, "commands": drafted.commands,
            "problems": drafted.problems, "warnings": drafted.warnings,
        });
        writeln!(stdout, "{said:#}")?;
    } else if arguments.output.is_none() {
        stdout.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn tell(drafted: &Import) -> Result<(), Failure> {
    let mut stderr = std::io::stderr().lock();
    for line in &drafted.warnings {
        writeln!(stderr, "warning: {}", visible(line))?;
    }
    for line in &drafted.problems {
        writeln!(stderr, "not drafted: {}", visible(line))?;
    }
    Ok(())
}
