//! `portcullis gateway`: gateways that run alone, near the servers.

use crate::admin::{Body, segment};
use crate::exit::Failure;
use crate::noun::{Common, Doomed, HELP, One, Part, cell, print_json};
use crate::terminal::{agreed, print, visible};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const PATH: &str = "/api/v1/gateways";

const ADD_HELP: &str = "Then, on the gateway's machine, within an hour:
  portcullis serve --role gateway --enrol FILE --data DIR

Exit codes:
  0  done
  1  error: nothing was changed (the name is taken, the file is there already, the server refuses or does not answer)
  2  the command line is wrong";

/// Add, list, show and remove gateways that run alone
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Add(Add),
    /// List gateways that run alone
    #[command(after_help = HELP)]
    List(Part),
    /// Show a gateway that runs alone
    #[command(after_help = HELP)]
    Show(One),
    /// Remove a gateway: it serves nobody any more as soon as it hears of it, and its assertions count for nothing
    #[command(after_help = HELP)]
    Remove(Doomed),
}

/// Add a gateway that is to run alone: writes the file with which it comes for its identity, once
#[derive(clap::Args)]
#[command(after_help = ADD_HELP)]
struct Add {
    /// What it is called
    name: String,

    /// The servers that it may serve, separated by commas; without it, all that stand behind a gateway
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    servers: Option<Vec<String>>,

    /// Where the file goes (0600); it is new [default: NAME.enrol.json]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Add(add) => self::add(&add).await,
        Command::List(part) => {
            part.print(PATH, ["NAME", "STATE", "CONNECTED", "SERVERS", "ENROLLED"], row).await
        }
        Command::Show(one) => one.print(PATH).await,
        Command::Remove(doomed) => remove(&doomed).await,
    }
}

fn row(gateway: &Value) -> [String; 5] {
    let of = |member| cell(gateway, member);
    let servers = if gateway["servers"].is_null() { "all".to_owned() } else { of("servers") };
    [of("name"), of("state"), of("connected"), servers, of("enrolled")]
}

async fn add(add: &Add) -> Result<(), Failure> {
    let Add { name, servers, to, common } = add;
    let path = to.clone().unwrap_or_else(|| format!("{}.enrol.json", segment(name)).into());
    // The file first: what is shown once must not get lost for want of a place.
    let mut file = create(&path)?;
    let mut body = json!({ "name": name });
    if let Some(servers) = servers {
        body["servers"] = json!(servers);
    }
    let written = async {
        let enrolment: Value = common.place.post(PATH, Body::Json(body)).await?.json()?;
        writeln!(file, "{enrolment:#}")?;
        file.sync_all()?;
        Ok::<_, Failure>(enrolment)
    };
    let enrolment = match written.await {
        Ok(enrolment) => enrolment,
        Err(failure) => {
            let _nothing_is_in_it = fs::remove_file(&path);
            return Err(failure);
        }
    };
    let (file, expires) = (path.display().to_string(), cell(&enrolment, "expires"));
    if common.json {
        return print_json(&json!({
            "gateway": enrolment["gateway"], "name": enrolment["name"], "file": file, "expires": expires,
        }));
    }
    let shown = visible(&file);
    Ok(print(&format!(
        "Written: {shown} (a secret, good once and until {expires})\n\
         On the gateway's machine: portcullis serve --role gateway --enrol {shown} --data DIR\n"
    ))?)
}

fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| {
        let shown = visible(&path.display().to_string());
        Failure::Operator(if error.kind() == io::ErrorKind::AlreadyExists {
            format!("{shown} is there already: nothing was changed; choose another file with --to")
        } else {
            format!("cannot write {shown}: {error}; nothing was changed")
        })
    })
}

async fn remove(doomed: &Doomed) -> Result<(), Failure> {
    let Doomed { name, sure } = doomed;
    let shown = visible(name);
    let question = format!("Gateway {shown} serves nobody any more, and its upstreams refuse it.");
    if !sure.yes && !agreed(&question)? {
        return Err(Failure::NotAgreed);
    }
    sure.common.place.delete(&format!("{PATH}/{}", segment(name))).await?;
    if sure.common.json {
        return print_json(&json!({ "removed": name }));
    }
    Ok(print(&format!("Removed: gateway {shown}\n"))?)
}
