//! `portcullis backup` and `restore`: the whole database as one file, without the master key.

use crate::exit::Failure;
use crate::terminal::{agreed, print, visible};
use portcullis_server::backup::{self, Header, Replace};
use portcullis_server::clock::Clock;
use portcullis_server::config::{Config, MasterKeySource, Options};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const BACKUP_HELP: &str = "The master key is NOT in the backup. Keep it apart: without it nobody can restore, with it nobody else should.
The file holds password hashes and the whole registry: guard it like the database.

Exit codes:
  0  the file is whole and on the disk
  1  error: there is no file
  2  the command line is wrong";

const RESTORE_HELP: &str = "Stop every server first. Everybody signs in again, and every token that was issued until now is refused.
What was undone since the backup comes back: revoked consent, disabled people, replaced secrets and passwords. Undo it again.

Exit codes:
  0  the database is what the backup holds
  1  error: the database is as it was
  2  the command line is wrong";

/// Where the database is.
#[derive(clap::Args)]
struct Place {
    /// The configuration; without it portcullis.toml in this folder, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data folder [default: portcullis-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// As for `serve`: without public_url it says whose tokens these are
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

impl Place {
    fn config(&self) -> Result<Config, Failure> {
        let options = Options {
            file: self.config.clone(),
            data: self.data.clone(),
            listen: self.listen.clone(),
            ..Options::default()
        };
        Config::load(&options).map_err(|error| Failure::Serve(error.into()))
    }
}

/// Write the whole database of one moment to a file, also while `serve` runs
#[derive(clap::Args)]
#[command(after_help = BACKUP_HELP)]
pub(crate) struct BackupArguments {
    /// The file; it must not be there yet
    file: PathBuf,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make the database what a backup holds, and end everything that was issued before
#[derive(clap::Args)]
#[command(after_help = RESTORE_HELP)]
pub(crate) struct RestoreArguments {
    /// The file
    file: PathBuf,

    /// What is in the database may go; it is saved in the data folder first
    #[arg(long)]
    replace: bool,

    /// Do not ask before something is replaced
    #[arg(long, requires = "replace")]
    yes: bool,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn backup(arguments: BackupArguments) -> Result<(), Failure> {
    let BackupArguments { file, place, json } = arguments;
    let config = place.config()?;
    let header =
        backup::backup(&config, &Clock::System, &file).await.map_err(|error| Failure::Serve(error.into()))?;
    if json {
        return Ok(print(&format!("{:#}\n", facts(&file, &header)))?);
    }
    let key = match &config.master_key {
        MasterKeySource::File(path) => format!("the file {}", path.display()),
        MasterKeySource::Env(name) => format!("the variable {name}"),
    };
    let (file, rows) = (visible(&file.display().to_string()), header.rows());
    Ok(print(&format!(
        "Written: {file}, {rows} rows of {}.\nThe master key ({key}) is NOT in it. Keep a copy of it elsewhere: without it this backup cannot be restored.\n",
        header.issuer
    ))?)
}

pub(crate) async fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    let RestoreArguments { file, replace, yes, place, json } = arguments;
    let config = place.config()?;
    let mut ask = |rows: u64| {
        let question =
            format!("The database has {rows} rows. All of it gives way to the backup; it is saved first.");
        yes || agreed(&question).unwrap_or(false)
    };
    let replace = if replace { Replace::IfAgreed(&mut ask) } else { Replace::Never };
    let restored = backup::restore(&config, &Clock::System, &file, replace)
        .await
        .map_err(|error| Failure::Serve(error.into()))?;
    if json {
        let mut facts = facts(&file, &restored.header);
        facts["epoch"] = restored.epoch.into();
        facts["replaced"] = json!(restored.replaced);
        return Ok(print(&format!("{facts:#}\n"))?);
    }
    let mut text = format!("Restored: {} rows.\n", restored.header.rows());
    if let Some(path) = restored.replaced {
        let place = visible(&path.display().to_string());
        let _ = writeln!(text, "What was there before is in {place}.");
    }
    text += "Everything that was issued until now is refused: people sign in again, agents get new tokens.\n\
             What was revoked, disabled or replaced since the backup counts again as it did then: undo it again.\n";
    Ok(print(&text)?)
}

fn facts(file: &Path, header: &Header) -> serde_json::Value {
    json!({
        "file": file,
        "issuer": header.issuer,
        "made_at": header.made_at.seconds(),
        "program": header.program,
        "rows": header.rows(),
        "schema": header.schema,
        "master_key_included": false,
    })
}
