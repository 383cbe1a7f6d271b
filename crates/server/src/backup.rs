//! Backup and restore: the whole database as one file, without the master key, for either engine.
//!
//! Both work on the database itself. A backup is one read transaction beside the server that runs; a restore wants the
//! data folder for itself. Neither needs a secret beyond what the configuration says of the database; a restore reads the
//! master key to see that it is the right one.

mod format;

pub use format::{FileError, Header};

use crate::clock::Clock;
use crate::config::Config;
use crate::data::{DataError, DataFolder};
use crate::entropy::{Entropy, NoEntropy};
use crate::keys::master::{self, MasterKeyError};
use crate::keys::{self, KeyError};
use format::{Backup, Draft};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::registry::LONGEST_EXTERNAL_LIFE;
use portcullis_oauth::time::Timestamp;
use portcullis_store::backup::{Source, schema_version};
use portcullis_store::restore::Restore;
use portcullis_store::{OpenError, Store, StoredKey};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tokens and clocks: a backup that is older than the present by less than this may still be from its future.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

/// In the data folder: when the last backup was made.
const LAST: &str = "last-backup";

/// When the last backup was made on this machine.
pub(crate) fn last(config: &Config) -> Option<Timestamp> {
    let text = std::fs::read_to_string(config.data.join(LAST)).ok()?;
    text.trim().parse().ok().map(Timestamp::from_seconds)
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is not there, or was never used.
    #[error(
        "there is nothing to back up: nobody has served from this database yet (see database.url and --data)"
    )]
    Nothing,
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Store(#[from] portcullis_store::Error),
}

/// Why nothing was restored. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another deployment's.
    #[error(
        "this backup is of {theirs}, but public_url is {ours}: tokens name their issuer, so it cannot be restored here"
    )]
    Issuer {
        /// Of the backup.
        theirs: String,
        /// Of the configuration.
        ours: String,
    },
    /// Other tables.
    #[error(
        "this backup has tables of version {theirs} (made by portcullis {program}), this program has version {ours}: restore it with that program"
    )]
    Schema {
        /// Of the backup.
        theirs: i64,
        /// Of this program.
        ours: i64,
        /// Who made it.
        program: String,
    },
    /// The clock of this machine is behind.
    #[error("this backup was made at a time that is still to come: set the clock of this machine first")]
    Clock,
    /// The master key is not the one.
    #[error("the keys in this backup cannot be used with the master key that is configured")]
    Keys(#[from] KeyError),
    /// There is none.
    #[error("the master key {} is not there, and it is not in the backup: put the copy that you kept in its place", .0.display())]
    NoMasterKey(PathBuf),
    /// There is something that would be lost.
    #[error("the database is not empty: restore with --replace if all that is in it may go")]
    NotEmpty,
    /// Nobody agreed to lose it.
    #[error(
        "nothing was changed: what is in the database would be lost, and nobody agreed to it; answer yes on a terminal, or give --yes"
    )]
    NotAgreed,
    /// Others use the database.
    #[error("{0} connections of running servers use the database: stop every node first")]
    InUse(u64),
    /// A server runs on the folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What is replaced cannot be saved.
    #[error("what is in the database cannot be saved before it is replaced")]
    Save(#[source] BackupError),
    /// The system gives no randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database did not take it.
    #[error("the database did not take the backup")]
    Store(#[from] portcullis_store::Error),
}

/// Whether what is in the database may go.
pub enum Replace<'a> {
    /// No.
    Never,
    /// If whoever is asked, with how many rows there are, says so.
    IfAgreed(&'a mut (dyn FnMut(u64) -> bool + Send)),
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// Which backup.
    pub header: Header,
    /// How often the database was restored, with this time.
    pub epoch: u64,
    /// Where what was replaced is.
    pub replaced: Option<PathBuf>,
}

/// Writes everything of one moment to a new file (0600). The master key is not in it.
pub async fn backup(config: &Config, clock: &Clock, path: &Path) -> Result<Header, BackupError> {
    let mut source = Source::open(&config.database).await?.ok_or(BackupError::Nothing)?;
    let counts = source.counts().await?;
    if counts.iter().sum::<u64>() == 0 {
        return Err(BackupError::Nothing);
    }
    // The one that was served, whatever public_url says now.
    let issuer = source.reader().issuer().await?.unwrap_or_else(|| config.issuer.clone());
    let header = Header::new(schema_version(), issuer.to_string(), clock.now(), &counts);
    let mut draft = Draft::create(path, &header)?;
    for table in 0..counts.len() {
        source.each(table, |cells| Ok::<_, BackupError>(draft.line(&cells)?)).await?;
    }
    draft.finish()?;
    // For `doctor`. That it cannot be noted does not make the backup worse.
    if config.data.is_dir() {
        let _noted = crate::data::write_private(
            &config.data.join(LAST),
            header.made_at.seconds().to_string().as_bytes(),
        );
    }
    Ok(header)
}

/// Makes the database what a backup holds, and ends everything that was issued until now.
pub async fn restore(
    config: &Config,
    clock: &Clock,
    path: &Path,
    replace: Replace<'_>,
) -> Result<Restored, RestoreError> {
    let mut backup = Backup::open(path)?;
    let keys = verify(&mut backup)?;
    let now = clock.now();
    check(&backup.header, config, now)?;
    // Held until the end: no server starts on the folder meanwhile.
    let folder = DataFolder::open(&config.data)?;
    let entropy = Entropy::from_system()?;
    let master = master::open(&config.master_key, master::Database::Sealed, &entropy);
    let master = master.map_err(|error| match error {
        MasterKeyError::Missing(path) => RestoreError::NoMasterKey(path),
        error @ (MasterKeyError::Corrupt(_)
        | MasterKeyError::NotSet(_)
        | MasterKeyError::Readable { .. }
        | MasterKeyError::Io { .. }) => KeyError::from(error).into(),
    })?;
    keys::check(&keys, &master)?;
    let replaced = make_way(config, clock, &folder, replace).await?;
    // Makes the file and the tables where there are none.
    Store::open(&config.database).await?.close().await;
    let epoch = load(config, &mut backup, now, replaced.is_some()).await?;
    Ok(Restored { header: backup.header, epoch, replaced })
}

/// Reads the whole file once; gives its keys.
fn verify(backup: &mut Backup) -> Result<Vec<StoredKey>, FileError> {
    let place = backup.header.tables.iter().position(|table| table.name() == "sealed_key");
    let mut keys = Vec::new();
    let mut unreadable = false;
    while let Some((table, cells)) = backup.row()? {
        if Some(table) == place {
            match StoredKey::from_cells(&cells) {
                Some(key) => keys.push(key),
                None => unreadable = true,
            }
        }
    }
    // A newer schema may have other columns; that is said by its version.
    if unreadable && backup.header.schema == schema_version() {
        return Err(backup.damaged());
    }
    Ok(keys)
}

fn check(header: &Header, config: &Config, now: Timestamp) -> Result<(), RestoreError> {
    let ours = schema_version();
    if header.schema != ours || !header.has_our_tables() {
        let program = header.program.clone();
        return Err(RestoreError::Schema { theirs: header.schema, ours, program });
    }
    let issuer = config.issuer.to_string();
    if header.issuer != issuer {
        return Err(RestoreError::Issuer { theirs: header.issuer.clone(), ours: issuer });
    }
    if header.made_at > now + CLOCKS_DIFFER {
        return Err(RestoreError::Clock);
    }
    Ok(())
}

/// Asks, and saves what is there. `None`: there is nothing.
async fn make_way(
    config: &Config,
    clock: &Clock,
    folder: &DataFolder,
    replace: Replace<'_>,
) -> Result<Option<PathBuf>, RestoreError> {
    let Some(mut source) = Source::open(&config.database).await? else { return Ok(None) };
    let rows: u64 = source.counts().await?.iter().sum();
    drop(source);
    if rows == 0 {
        return Ok(None);
    }
    match replace {
        Replace::Never => return Err(RestoreError::NotEmpty),
        Replace::IfAgreed(agree) => {
            if !agree(rows) {
                return Err(RestoreError::NotAgreed);
            }
        }
    }
    let path = free_name(folder.path(), clock.now());
    backup(config, clock, &path).await.map_err(RestoreError::Save)?;
    Ok(Some(path))
}

/// An attempt of the same second may have saved what is there before it was killed.
fn free_name(folder: &Path, now: Timestamp) -> PathBuf {
    let mut path = folder.join(format!("replaced-{}.backup", now.seconds()));
    let mut number = 1_u32;
    while path.exists() {
        number += 1;
        path = folder.join(format!("replaced-{}-{number}.backup", now.seconds()));
    }
    path
}

/// One transaction.
async fn load(
    config: &Config,
    backup: &mut Backup,
    now: Timestamp,
    may_clear: bool,
) -> Result<u64, RestoreError> {
    let made_at = backup.header.made_at;
    let mut restore = Restore::begin(&config.database, now).await?;
    let mut others = restore.others().await?;
    // Who has just ended may still be counted.
    for _ in 0..10 {
        if others > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            others = restore.others().await?;
        }
    }
    if others > 0 {
        return Err(RestoreError::InUse(others));
    }
    if !restore.is_empty().await? {
        if !may_clear {
            return Err(RestoreError::NotEmpty);
        }
        restore.clear().await?;
    }
    backup.rewind()?;
    while let Some((table, cells)) = backup.row()? {
        if !restore.insert(table, &cells).await? {
            return Err(backup.damaged().into());
        }
    }
    // Whatever was issued in the time that is lost was issued before now; by clocks that differ, at most so much later.
    let at = now.max(made_at);
    let epoch = restore
        .end_all(at, at + config.tokens.revocation_memory().max(LONGEST_EXTERNAL_LIFE) + CLOCKS_DIFFER)
        .await?;
    let event = Event::new(Kind::DatabaseRestored, Outcome::Allowed, Actor::Operator)
        .with("backup.made_at", made_at.seconds())
        .with("backup.rows", backup.header.rows())
        .with("epoch", epoch)
        .with("uid", rustix::process::getuid().as_raw());
    restore.commit(&event).await?;
    Ok(epoch)
}
