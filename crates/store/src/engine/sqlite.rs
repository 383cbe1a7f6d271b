//! SQLite: a file in WAL mode, one writer, several readers.

mod group;

use self::group::Writer;
use crate::connection::{Connection, Link};
use crate::error::{Error, OpenError, sqlite_code};
use crate::migrations;
use crate::write::Write;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const READERS: u32 = 4;

/// Writes that wait for the writer; more wait outside.
const QUEUE: usize = 1024;

/// Another process may be writing, `portcullis user add` for instance.
const BUSY: Duration = Duration::from_secs(5);

/// Between two attempts to open a file that another process holds.
const PAUSE: Duration = Duration::from_millis(20);

/// For readers that do not let go. Well below what the program as a whole allows: the writer comes after them.
const CLOSING: Duration = Duration::from_millis(500);

const SQLITE_READONLY: i64 = 8;
const SQLITE_CANTOPEN: i64 = 14;

const IS_MIGRATED: &str =
    "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";

pub(crate) struct Sqlite {
    readers: SqlitePool,
    queue: Mutex<Option<mpsc::Sender<Box<dyn Write>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, changes: watch::Sender<u64>) -> Result<Self, OpenError> {
        if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
            return Err(OpenError::Url);
        }
        make_file(path).await?;
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).foreign_keys(true);
        // PC-60: synchronous FULL syncs the log at each commit, so that an acknowledged write survives a power cut.
        let writer_options =
            options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let (connection, readers) = connect(path, &options, &writer_options).await?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = Writer::new(connection, writer_options, jobs, changes);
        Ok(Self {
            readers,
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(tokio::spawn(writer.run()))),
        })
    }

    pub(crate) async fn read(&self) -> Result<Connection, Error> {
        Ok(Connection::new(Link::SqliteRead(self.readers.begin().await?)))
    }

    pub(crate) async fn write(&self, write: Box<dyn Write>) -> Result<(), Error> {
        let closed = || Error::unavailable("the store is closed");
        let queue = lock(&self.queue).clone().ok_or_else(closed)?;
        queue.send(write).await.map_err(|_| closed())
    }

    pub(crate) async fn close(&self) {
        // The writer ends when nobody can send any more and the queue is empty.
        drop(lock(&self.queue).take());
        // Readers first: the last connection to close tidies the log away, and a reader may not.
        drop(tokio::time::timeout(CLOSING, self.readers.close()).await);
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            drop(writer.await);
        }
    }
}

/// Begins to read without changing anything, and says what version the tables have. `None`: there is no file.
pub(crate) async fn look(path: &Path) -> Result<Option<(Connection, Option<i64>)>, OpenError> {
    if !path.try_exists().map_err(|_| OpenError::NotWritable(path.to_owned()))? {
        return Ok(None);
    }
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let mut tx = pool.begin().await?;
    let migrated: i64 = sqlx::query_scalar(IS_MIGRATED).fetch_one(&mut *tx).await?;
    let applied = match migrated {
        0 => None,
        _ => sqlx::query_scalar(migrations::APPLIED).fetch_one(&mut *tx).await?,
    };
    Ok(Some((Connection::new(Link::SqliteRead(tx)), applied)))
}

/// Begins to write, outside of the queue of writes and their time.
pub(crate) async fn begin_alone(path: &Path) -> Result<Connection, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await?;
    connection.execute("BEGIN IMMEDIATE").await?;
    Ok(Connection::new(Link::Sqlite(connection)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the file if there is none, for the owner only: it holds hashes of passwords.
async fn make_file(path: &Path) -> Result<(), OpenError> {
    let mut options = tokio::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    let opened = options.open(path).await;
    opened.map(drop).map_err(|_| OpenError::NotWritable(path.to_owned()))
}

/// SQLite does not wait (`busy_timeout`) for the lock that turns the write-ahead log on or off, so that two processes that start or end
/// at once may meet there: we wait.
async fn connect(
    path: &Path,
    options: &SqliteConnectOptions,
    writer: &SqliteConnectOptions,
) -> Result<(SqliteConnection, SqlitePool), OpenError> {
    let attempts = async {
        loop {
            match connect_once(path, options, writer).await {
                Err(OpenError::Busy) => tokio::time::sleep(PAUSE).await,
                done => return done,
            }
        }
    };
    tokio::time::timeout(BUSY, attempts).await.unwrap_or(Err(OpenError::Busy))
}

async fn connect_once(
    path: &Path,
    options: &SqliteConnectOptions,
    writer: &SqliteConnectOptions,
) -> Result<(SqliteConnection, SqlitePool), OpenError> {
    refuse_newer(options).await?;
    let connection = open_writer(path, writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .connect_with(options.clone().read_only(true))
        .await?;
    Ok((connection, readers))
}

/// Looks at the version before anything is written.
async fn refuse_newer(options: &SqliteConnectOptions) -> Result<(), OpenError> {
    let mut connection = options.clone().read_only(true).connect().await?;
    let migrated: i64 = sqlx::query_scalar(IS_MIGRATED).fetch_one(&mut connection).await?;
    let applied = if migrated == 0 {
        None
    } else {
        sqlx::query_scalar(migrations::APPLIED).fetch_one(&mut connection).await?
    };
    connection.close().await?;
    migrations::check_version(&migrations::sqlite(), applied)
}

async fn open_writer(path: &Path, options: &SqliteConnectOptions) -> Result<SqliteConnection, OpenError> {
    let mut connection = options.connect().await.map_err(|error| match sqlite_code(&error) {
        Some(SQLITE_READONLY | SQLITE_CANTOPEN) => OpenError::NotWritable(path.to_owned()),
        Some(_) | None => error.into(),
    })?;
    // One transaction for all: two processes that start at once do not meet half-way.
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrations::sqlite().run_direct(None, &mut *tx, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other @ (MigrateError::Source(_) | _) => {
            OpenError::Unavailable(crate::Fault::new(&other.to_string()))
        }
    })?;
    tx.commit().await?;
    Ok(connection)
}
