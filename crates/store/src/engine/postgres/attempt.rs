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
use portcullis_oauth::time::Timestamp;
use sqlx::postgres::PgPool;
use std::time::Duration;
use tokio::sync::watch;

const ATTEMPTS: u32 = 7;

/// A server that does not answer for so long has gone, whatever the network says.
const ANSWER: Duration = Duration::from_secs(10);

/// Doubled each time: about a second and a half in all.
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
    let (mut tx, is_first) = match begin(pool, operation, write.now()).await {
        Ok(begun) => begun,
        // Whoever waits for an answer to COMMIT wants to know above all.
        Err((_, error)) if doubt.is_some() && !pool.is_closed() => return End::Again(error),
        Err((State::Again | State::Lost, error)) => return End::Again(error),
        Err((State::Intact | State::Failed, error)) => return End::Failed(error),
    };
    let outcome = match (is_first, doubt) {
        (true, _) => run(write, &mut tx).await,
        // What the closure gave then is still kept: it has not run since.
        (false, Some(doubtful)) => return End::Done(doubtful.newest_change),
        (false, None) => Err(Error::unavailable("an operation id was used before")),
    };
    let (link, state) = tx.connection.into_parts();
    let swallowed = || Error::unavailable("a statement of the write failed");
    match (outcome, state) {
        (Ok(newest_change), State::Intact) => commit(link, Doubtful { newest_change }).await,
        // PostgreSQL would answer COMMIT with ROLLBACK, and call that a success.
        (Ok(_), State::Failed) => End::Failed(swallowed()),
        (Ok(_), State::Again | State::Lost) => End::Again(swallowed()),
        (Err(error), State::Again | State::Lost) => End::Again(error),
        (Err(error), State::Intact | State::Failed) => End::Failed(error),
    }
}

/// Begins a transaction with its operation id; whether the id is new.
async fn begin(pool: &PgPool, operation: OperationId, now: Timestamp) -> Result<(Tx, bool), (State, Error)> {
    let begun = tokio::time::timeout(ANSWER, async {
        let link = pool.begin_with(BEGIN).await.map_err(|error| (judge(&error), error.into()))?;
        let mut connection = Connection::new(Link::Postgres(link));
        match connection.execute(BEGIN_OPERATION, values![operation, now]).await {
            Ok(rows) => Ok((Tx::new(connection, now), rows == 1)),
            Err(error) => Err((connection.into_parts().1, error)),
        }
    });
    begun.await.unwrap_or_else(|_| Err((State::Lost, Error::unavailable("the database does not answer"))))
}

async fn commit(link: Link, attempt: Doubtful) -> End {
    let Link::Postgres(tx) = link else {
        return End::Failed(Error::unavailable("the write lost its connection"));
    };
    match tokio::time::timeout(ANSWER, tx.commit()).await {
        Ok(Ok(())) => End::Done(attempt.newest_change),
        Ok(Err(error)) => match judge(&error) {
            State::Lost => End::Unknown(attempt, error.into()),
            State::Again => End::Again(error.into()),
            State::Intact | State::Failed => End::Failed(error.into()),
        },
        Err(_elapsed) => End::Unknown(attempt, Error::unavailable("COMMIT was not answered")),
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
