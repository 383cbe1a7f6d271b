//! PostgreSQL: one transaction per write, tried again under one operation id.

pub(crate) mod attempt;
mod listener;

use self::listener::Listener;
use crate::connection::{Connection, Link};
use crate::error::{Error, Fault, OpenError};
use crate::migrations;
use crate::write::Write;
use portcullis_domain::id::OperationId;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use std::str::FromStr as _;
use std::time::Duration;
use tokio::sync::watch;

const CONNECTIONS: u32 = 16;

/// How long to wait for a connection.
const ACQUIRING: Duration = Duration::from_secs(5);

/// For readers that do not let go.
const CLOSING: Duration = Duration::from_millis(500);

/// All that a handle reads is of one moment, and it cannot write.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// As one whose answer to COMMIT is waited for; whoever uses the tables ends before.
const BEGIN_ALONE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL synchronous_commit = on;
    SET LOCAL lock_timeout = '5s'";

const IS_MIGRATED: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

/// Connects once: of a server that is not there, the pool would only say that it waited.
async fn reach(options: &PgConnectOptions) -> Result<(), OpenError> {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let unreachable = |says: &str| OpenError::Unreachable { place: place.clone(), why: Fault::new(says) };
    match tokio::time::timeout(ACQUIRING, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection.close().await?),
        Ok(Err(sqlx::Error::Io(error))) => Err(unreachable(&error.to_string())),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(unreachable("it does not answer")),
    }
}

/// One connection and what version of the tables it finds. It is not called as those of a server are.
async fn alone(url: &str) -> Result<(PgPool, Option<i64>), OpenError> {
    let options = PgConnectOptions::from_str(url).map_err(|_| OpenError::Url)?;
    reach(&options).await?;
    let options = options.application_name("portcullis backup");
    let pool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRING).connect_with(options).await?;
    let migrated: bool = sqlx::query_scalar(IS_MIGRATED).fetch_one(&pool).await?;
    let applied =
        if migrated { sqlx::query_scalar(migrations::APPLIED).fetch_one(&pool).await? } else { None };
    Ok((pool, applied))
}

/// Begins to read without changing anything, and says what version the tables have.
pub(crate) async fn look(url: &str) -> Result<(Connection, Option<i64>), OpenError> {
    let (pool, applied) = alone(url).await?;
    Ok((Connection::new(Link::Postgres(pool.begin_with(BEGIN_READ).await?)), applied))
}

/// Begins to write, outside of the queue of writes and their time.
pub(crate) async fn begin_alone(url: &str) -> Result<Connection, OpenError> {
    let (pool, _) = alone(url).await?;
    Ok(Connection::new(Link::Postgres(pool.begin_with(BEGIN_ALONE).await?)))
}

pub(crate) struct Postgres {
    pool: PgPool,
    changes: watch::Sender<u64>,
    _listener: Listener,
}

impl Postgres {
    pub(crate) async fn open(url: &str, changes: watch::Sender<u64>) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| OpenError::Url)?;
        reach(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRING)
            .connect_with(options.application_name("portcullis"))
            .await?;
        let migrated: bool = sqlx::query_scalar(IS_MIGRATED).fetch_one(&pool).await?;
        let applied =
            if migrated { sqlx::query_scalar(migrations::APPLIED).fetch_one(&pool).await? } else { None };
        migrations::check_version(&migrations::postgres(), applied)?;
        migrations::postgres()
            .run(&pool)
            .await
            .map_err(|error| OpenError::Unavailable(Fault::new(&error.to_string())))?;
        let listener = Listener::start(&pool, changes.clone()).await?;
        Ok(Self { pool, changes, _listener: listener })
    }

    pub(crate) async fn read(&self) -> Result<Connection, Error> {
        let tx = self.pool.begin_with(BEGIN_READ).await?;
        Ok(Connection::new(Link::Postgres(tx)))
    }

    /// Begins to write, in a task of its own: it is finished even when nobody waits for it any more.
    pub(crate) fn write(&self, write: Box<dyn Write>) -> Result<(), Error> {
        if self.pool.is_closed() {
            return Err(Error::unavailable("the store is closed"));
        }
        let mut id = [0; 16];
        SysRng.try_fill_bytes(&mut id).map_err(|_| Error::unavailable("the system gives no randomness"))?;
        let operation = OperationId::from_bytes(id);
        let (pool, changes) = (self.pool.clone(), self.changes.clone());
        tokio::spawn(attempt::until_done(pool, operation, write, changes));
        Ok(())
    }

    pub(crate) async fn close(&self) {
        drop(tokio::time::timeout(CLOSING, self.pool.close()).await);
    }
}
