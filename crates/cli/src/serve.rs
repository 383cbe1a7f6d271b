//! `portcullis serve`: the authority, the gateway and the control room.

use crate::exit::Failure;
use portcullis_client::Issuer;
use portcullis_server::config::{Options, Role};
use portcullis_server::lone::Claim;
use portcullis_server::serve::Serve;
use portcullis_server::telemetry::LogFormat;
use std::path::PathBuf;

const HELP: &str = "Exit codes:
  0  ended as asked, by Ctrl-C or TERM
  1  could not start or go on: configuration, fleet file, address, data folder, database
  2  usage: an argument is missing or wrong";

/// Run the authority and the gateway
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The configuration; without it portcullis.toml in this folder, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where this machine's own files are: key, database, spool [default: portcullis-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// IP address and port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Apply this fleet file at the start and whenever it changes; SIGHUP applies it at once
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    fleet: Option<PathBuf>,

    /// Show everything on this machine alone: two MCP servers, a person and an agent
    #[arg(long)]
    demo: bool,

    /// What of the whole this process is
    #[arg(long, value_name = "ROLE", value_enum, default_value_t, conflicts_with = "demo")]
    role: RoleName,

    /// Where the control room is, if not at the address that the enrolment file names: https, or http on loopback; a name
    /// that it answers to. Kept in the data folder
    #[arg(long, value_name = "URL")]
    control: Option<Issuer>,

    /// The file that `portcullis gateway add` wrote: how a gateway gets its identity, once. Later starts need only --data
    #[arg(long, value_name = "FILE")]
    enrol: Option<PathBuf>,

    /// How log lines look [default: text, or telemetry.log_format of the configuration]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum RoleName {
    /// Authority, control room and gateway
    #[default]
    All,
    /// Authority and control room; calls go to gateways that run alone
    Control,
    /// A gateway that runs alone, near the servers: without a database, and without the key that signs tokens
    Gateway,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { role, control, enrol, .. } = arguments;
    let alone = match role {
        RoleName::Gateway if arguments.fleet.is_some() => {
            return Err(Failure::usage(
                "--fleet is the control room's: a gateway that runs alone has no registry",
            ));
        }
        RoleName::Gateway => Some(Claim { enrol, control }),
        RoleName::All | RoleName::Control if control.is_some() || enrol.is_some() => {
            return Err(Failure::usage("--control and --enrol are for --role gateway"));
        }
        RoleName::All | RoleName::Control => None,
    };
    let serve = Serve {
        options: Options {
            file: arguments.config,
            data: arguments.data,
            listen: arguments.listen,
            demo: arguments.demo,
            role: match role {
                RoleName::Control => Role::Control,
                // Of a gateway the identity says whose it is.
                RoleName::All | RoleName::Gateway => Role::All,
            },
        },
        alone,
        fleet: arguments.fleet,
        log_format: arguments.log_format.map(|format| match format {
            Format::Json => LogFormat::Json,
            Format::Text => LogFormat::Text,
        }),
    };
    portcullis_server::serve::run(serve, &mut std::io::stdout()).await.map_err(Failure::Serve)
}

/// `portcullis demo-ops`
pub(crate) async fn demo_ops() -> Result<(), Failure> {
    portcullis_server::demo::ops::ops_stdio().await.map_err(|error| Failure::Serve(error.into()))
}
