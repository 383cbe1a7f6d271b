//! The store: open, read, write, follow, close.

use crate::engine::postgres::Postgres;
use crate::engine::sqlite::Sqlite;
use crate::error::{Error, OpenError};
use crate::reader::ReadHandle;
use crate::tx::{Recorded, Tx};
use crate::write::Job;
use futures_util::future::BoxFuture;
use portcullis_oauth::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// The database. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    changes: watch::Sender<u64>,
}

enum Engine {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…`; makes the file and the tables where there are none.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let changes = watch::Sender::new(0);
        let engine = if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Engine::Sqlite(Sqlite::open(path.as_ref(), changes.clone()).await?)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Engine::Postgres(Postgres::open(url, changes.clone()).await?)
        } else {
            return Err(OpenError::Url);
        };
        let store = Self { engine: Arc::new(engine), changes };
        let newest = store.newest_change().await.map_err(|error| match error {
            Error::Unavailable(fault) => OpenError::Unavailable(fault),
            other @ (Error::Conflict(_) | Error::Corrupt { .. }) => {
                OpenError::Unavailable(crate::Fault::new(&other.to_string()))
            }
        })?;
        advance(&store.changes, newest);
        Ok(store)
    }

    async fn newest_change(&self) -> Result<u64, Error> {
        self.read().await?.reader().latest_change().await
    }

    /// Begins to read. Everything read through the handle is of one moment; drop it soon.
    pub async fn read(&self) -> Result<ReadHandle, Error> {
        let connection = match &*self.engine {
            Engine::Postgres(engine) => engine.read().await?,
            Engine::Sqlite(engine) => engine.read().await?,
        };
        Ok(ReadHandle::new(connection))
    }

    /// Runs `closure` on `input` in one transaction, commits, and only then gives what the closure gave.
    ///
    /// The closure may run more than once, and the write is finished even when nobody waits for it any more. An error of
    /// the closure undoes all of it, the audit event included. After [`Error::Unavailable`] the write may have happened.
    pub async fn write<S, T, F>(&self, now: Timestamp, input: S, closure: F) -> Result<T, Error>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t S, &'t mut Tx) -> BoxFuture<'t, Result<Recorded<T>, Error>>,
        F: Send + Sync + 'static,
    {
        let (asker, answer) = oneshot::channel();
        let job = Box::new(Job { now, input, closure, kept: None, asker });
        match &*self.engine {
            Engine::Postgres(engine) => engine.write(job)?,
            Engine::Sqlite(engine) => engine.write(job).await?,
        }
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("the store is closed")))
    }

    /// Wakes followers in this process after a commit that changed the feed, with its newest number known here. Whoever
    /// must not miss a change polls too: a wake-up from another process can be late or lost.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Finishes what was begun, and closes the database. Later writes and reads fail.
    pub async fn close(&self) {
        match &*self.engine {
            Engine::Postgres(engine) => engine.close().await,
            Engine::Sqlite(engine) => engine.close().await,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &*self.engine {
            Engine::Postgres(_) => "Store(PostgreSQL)",
            Engine::Sqlite(_) => "Store(SQLite)",
        })
    }
}

/// Wakes followers, unless they know.
pub(crate) fn advance(changes: &watch::Sender<u64>, newest: u64) {
    changes.send_if_modified(|known| {
        let news = newest > *known;
        *known = newest.max(*known);
        news
    });
}
