//! `portcullis config`: what can be generated from the configuration's own types.

use crate::exit::Failure;
use portcullis_server::config::reference;
use std::io::Write as _;

/// Print the JSON Schema or the reference page of portcullis.toml, or the JSON Schema of the fleet file
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes:\n  0  printed\n  1  cannot write the result\n  2  usage: an argument is missing or wrong"
)]
pub(crate) struct Arguments {
    /// What to print
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// The JSON Schema of the fleet file
    FleetSchema,
    /// The OpenAPI document of the admin API
    Openapi,
    /// The reference page, as Markdown
    Reference,
    /// The JSON Schema
    Schema,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let text = match arguments.what {
        What::FleetSchema => format!("{:#}\n", reference::fleet_schema()),
        What::Openapi => format!("{:#}\n", portcullis_server::api::openapi()),
        What::Reference => reference::page(),
        What::Schema => format!("{:#}\n", reference::schema()),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
