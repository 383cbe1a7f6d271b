//! Attempts at one write, under one operation id.
//!
//! The id is the first row that an attempt inserts. When an answer to COMMIT is lost, nobody knows whether the attempt
//! committed; the next one does, by its insertion: it waits for an attempt that is still in flight, and finds the id if
//! that has committed. Then what the closure gave in that attempt is the answer.

use crate::connection::{Connection, Link, State, judge, values};
use crate::error::Error;
use crate::statements::statements;
use crate::store::advance;
use crate::tx::Tx;
use crate::write::{Write, run};
use portcullis_domain::id::OperationId;
use sqlx::postgres::PgPool;
use std::time::Duration;
use tokio::sync::watch;

/// Together with the pauses between them about three seconds.
const ATTEMPTS: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// In one round trip. What is acknowledged survives a power cut, whatever the server's default says. A lock that is
/// not given, or a transaction that its client forgot, ends by itself.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL synchronous_commit = on;
    SET LOCAL lock_timeout = '5s';
    SET LOCAL idle_in_transaction_session_timeout = '15s'";

statements! {
    BEGIN_OPERATION for Postgres =
        "INSERT INTO operation (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    NOTIFY for Postgres =
        "SELECT pg_notify('portcullis_change', $1)";
}

/// How an attempt ended.
enum End {
    /// Committed, with this newest change.
    Done(Option<u64>),
    /// Nothing was committed, and trying again makes no sense.
    Failed(Error),
    /// Nothing was committed; the next attempt may do better.
    Again(Error),
    /// COMMIT was asked for, and how that ended is not known.
    Unknown(Doubtful, Error),
}

/// An attempt that may have committed.
struct Doubtful {
    newest_change: Option<u64>,
}

pub(super) async fn until_done(
    pool: PgPool,
    operation: OperationId,
    mut write: Box<dyn Write>,
    changes: watch::Sender<u64>,
) {
    let mut pause = FIRST_PAUSE;
    let mut doubt = None;
    let mut attempts = 0;
    let outcome = loop {
        attempts += 1;
        let error = match attempt(&pool, operation, &mut *write, doubt.as_ref()).await {
            End::Done(newest) => break Ok(newest),
            End::Failed(error) => break Err(error),
            End::Again(error) => error,
            End::Unknown(attempt, error) => {
                doubt = Some(attempt);
                error
            }
        };
        if attempts == ATTEMPTS {
            break Err(error);
        }
        tracing::debug!(operation.id = %operation, %error, "a write is tried again");
        tokio::time::sleep(pause).await;
        pause *= 2;
    };
    match outcome {
        Ok(newest) => {
            write.answer(Ok(()));
            if let Some(newest) = newest {
                tell(&pool, newest, &changes).await;
            }
        }
        Err(error) => write.answer(Err(error)),
    }
}

async fn attempt(
    pool: &PgPool,
    operation: OperationId,
    write: &mut dyn Write,
    doubt: Option<&Doubtful>,
) -> End {
    let link = match pool.begin_with(BEGIN).await {
        Ok(link) => link,
        Err(error @ (sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut)) => {
            return End::Failed(error.into());
        }
        Err(error) => return End::Again(error.into()),
    };
    let mut tx = Tx::new(Connection::new(Link::Postgres(link)), write.now());
    let begun = tx.connection.execute(BEGIN_OPERATION, values![operation, write.now()]).await;
    let outcome = match (begun, doubt) {
        // What the closure gave then is still kept: it has not run since.
        (Ok(0), Some(doubtful)) => return End::Done(doubtful.newest_change),
        (Ok(0), None) => Err(Error::unavailable("an operation id was used before")),
        (Ok(_), _) => run(write, &mut tx).await,
        (Err(error), _) => Err(error),
    };
    let (link, state) = tx.connection.into_parts();
    match (outcome, state) {
        (Ok(newest), State::Intact) => commit(link, newest).await,
        // PostgreSQL would answer COMMIT with ROLLBACK, and call that a success.
        (Ok(_), State::Failed) => End::Failed(Error::unavailable("a statement of the write failed")),
        (Ok(_), State::Again | State::Lost) => {
            End::Again(Error::unavailable("a statement of the write failed"))
        }
        (Err(error), State::Again | State::Lost) => End::Again(error),
        (Err(error), State::Intact | State::Failed) => End::Failed(error),
    }
}

async fn commit(link: Link, newest: Option<u64>) -> End {
    let Link::Postgres(tx) = link else {
        return End::Failed(Error::unavailable("the write lost its connection"));
    };
    match tx.commit().await {
        Ok(()) => End::Done(newest),
        Err(error) => match judge(&error) {
            State::Lost => {
                let newest_change = newest;
                End::Unknown(Doubtful { newest_change }, error.into())
            }
            State::Again => End::Again(error.into()),
            State::Intact | State::Failed => End::Failed(error.into()),
        },
    }
}

/// Wakes followers here and in other processes. A wake-up that is lost only makes them slower.
async fn tell(pool: &PgPool, newest: u64, changes: &watch::Sender<u64>) {
    advance(changes, newest);
    let notified = sqlx::query(NOTIFY).bind(newest.to_string()).execute(pool);
    if let Err(error) = notified.await {
        tracing::debug!(%error, "followers elsewhere were not woken");
    }
}
