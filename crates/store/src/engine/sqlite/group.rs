//! The one writer. It runs many writes, each in a savepoint, in one transaction, so that one sync serves them all.

use crate::connection::{Connection, Link, State};
use crate::error::Error;
use crate::store::advance;
use crate::tx::Tx;
use crate::write::{Write, run};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::error::Error as _;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A group takes no more writes after this long.
const LONGEST_GROUP: Duration = Duration::from_millis(250);

pub(super) struct Writer {
    /// None after a failure: the next group begins with a new one.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    jobs: mpsc::Receiver<Box<dyn Write>>,
    changes: watch::Sender<u64>,
}

/// Writes that wait for their COMMIT.
#[derive(Default)]
struct Group {
    done: Vec<Box<dyn Write>>,
    /// Told with the others, after COMMIT: a write may have failed because of what one before it in the group did.
    failed: Vec<(Box<dyn Write>, Error)>,
    newest_change: Option<u64>,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        jobs: mpsc::Receiver<Box<dyn Write>>,
        changes: watch::Sender<u64>,
    ) -> Self {
        Self { connection: Some(connection), options, jobs, changes }
    }

    pub(super) async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            match self.begin().await {
                Ok(connection) => self.connection = self.run_group(connection, first).await,
                Err(error) => first.answer(Err(error.into())),
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = close(connection).await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }

    async fn begin(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        connection.execute("BEGIN IMMEDIATE").await?;
        Ok(connection)
    }

    /// Runs what is queued, commits, answers. Gives the connection back if it is as it should be; a dropped one rolls back.
    async fn run_group(
        &mut self,
        mut connection: SqliteConnection,
        first: Box<dyn Write>,
    ) -> Option<SqliteConnection> {
        let deadline = Instant::now() + LONGEST_GROUP;
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(job) = next {
            match group.run(connection, job).await {
                Ok(intact) => connection = intact,
                Err(error) => {
                    group.answer_all(Err(error));
                    return None;
                }
            }
            let has_time = Instant::now() < deadline;
            next = has_time.then(|| self.jobs.try_recv().ok()).flatten();
        }
        if let Err(error) = connection.execute("COMMIT").await {
            group.answer_all(Err(error.into()));
            return None;
        }
        if let Some(newest) = group.newest_change {
            advance(&self.changes, newest);
        }
        group.answer_all(Ok(()));
        Some(connection)
    }
}

/// Everything into the one file, even if a reader still has it open and SQLite would not do it by itself.
async fn close(mut connection: SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute("PRAGMA busy_timeout = 200; PRAGMA wal_checkpoint(TRUNCATE)").await?;
    connection.close().await
}

impl Group {
    /// Runs one write in a savepoint. If it fails, it alone is undone. An error means that the transaction
    /// around it can no longer be relied on.
    async fn run(
        &mut self,
        mut connection: SqliteConnection,
        mut job: Box<dyn Write>,
    ) -> Result<SqliteConnection, Error> {
        if let Err(error) = connection.execute("SAVEPOINT write").await {
            self.done.push(job);
            return Err(error.into());
        }
        let mut tx = Tx::new(Connection::new(Link::Sqlite(connection)), job.now());
        let outcome = run(&mut *job, &mut tx).await;
        let (Link::Sqlite(mut connection), state) = tx.connection.into_parts() else {
            self.done.push(job);
            return Err(Error::unavailable("the writer lost its connection"));
        };
        // A closure that swallowed an error has not done what it says.
        let outcome = match (outcome, state) {
            (Ok(_), State::Failed | State::Again | State::Lost) => {
                Err(Error::unavailable("a statement of the write failed"))
            }
            (outcome, _) => outcome,
        };
        let end = match &outcome {
            Ok(_) => "RELEASE write",
            Err(_) => "ROLLBACK TO write; RELEASE write",
        };
        if let Err(error) = connection.execute(end).await {
            self.done.push(job);
            return Err(error.into());
        }
        match outcome {
            Ok(newest) => {
                self.newest_change = newest.or(self.newest_change);
                self.done.push(job);
            }
            Err(error) => self.failed.push((job, error)),
        }
        Ok(connection)
    }

    fn answer_all(self, outcome: Result<(), Error>) {
        let says = match outcome {
            Ok(()) => None,
            Err(error) => {
                let says = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                tracing::error!(error = says, "a group of writes was not committed");
                Some(says)
            }
        };
        let answers = self.done.into_iter().map(|job| (job, Ok(())));
        let failures = self.failed.into_iter().map(|(job, error)| (job, Err(error)));
        for (job, answer) in answers.chain(failures) {
            job.answer(match &says {
                None => answer,
                Some(says) => Err(Error::unavailable(says)),
            });
        }
    }
}
