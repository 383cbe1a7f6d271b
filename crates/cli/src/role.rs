//! `portcullis role`: what roles open, and who has them.

use crate::exit::Failure;
use crate::noun::{HELP, One, Part, cell};
use serde_json::Value;

/// List and show roles; they are added and changed in the fleet file
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List all roles
    #[command(after_help = HELP)]
    List(Part),
    /// Show a role, and who has it
    #[command(after_help = HELP)]
    Show(One),
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(part) => part.print("/api/v1/roles", ["NAME", "GROUP", "USERS", "ACCESS"], row).await,
        Command::Show(one) => one.print("/api/v1/roles").await,
    }
}

fn row(role: &Value) -> [String; 4] {
    ["name", "group", "users", "access"].map(|member| cell(role, member))
}
