//! One conversation with either engine. The same statement text goes to both.

use crate::error::Error;
use crate::row::Row;
use futures_util::{StreamExt as _, TryStreamExt as _};
use portcullis_domain::id::{
    ConnectionId, FamilyId, GatewayId, GrantId, OperationId, ServerId, SessionId, TokenId, UserId,
};
use portcullis_domain::registry::Name;
use portcullis_domain::secret::{Hashed, Kind};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Postgres, Sqlite, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

pub(crate) enum Link {
    Postgres(Transaction<'static, Postgres>),
    /// The writer's own; it manages the transaction.
    Sqlite(SqliteConnection),
    SqliteRead(Transaction<'static, Sqlite>),
}

/// What became of the statements so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Intact,
    /// A statement was begun and not finished, or failed.
    Failed,
    /// Failed, and worth another try: a serialization failure or a deadlock.
    Again,
    /// Failed because the connection is gone.
    Lost,
}

pub(crate) struct Connection {
    link: Link,
    state: State,
    /// How many statements came to their end.
    ended: Arc<AtomicU64>,
}

impl Connection {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, state: State::Intact, ended: Arc::default() }
    }

    /// For whoever watches whether it goes on.
    pub(crate) fn ended(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ended)
    }

    pub(crate) fn into_parts(self) -> (Link, State) {
        (self.link, self.state)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.link {
            Link::Postgres(_) => Dialect::Postgres,
            Link::Sqlite(_) | Link::SqliteRead(_) => Dialect::Sqlite,
        }
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, Error> {
        self.begin_statement(values)?;
        let done = match &mut self.link {
            Link::Postgres(link) => {
                postgres(sql, values).execute(&mut **link).await.map(|done| done.rows_affected())
            }
            Link::Sqlite(link) => sqlite(sql, values).execute(link).await.map(|done| done.rows_affected()),
            Link::SqliteRead(link) => {
                sqlite(sql, values).execute(&mut **link).await.map(|done| done.rows_affected())
            }
        };
        self.end_statement(done)
    }

    /// Runs a statement; the rows it gives.
    pub(crate) async fn rows(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, Error> {
        self.begin_statement(values)?;
        let rows = match &mut self.link {
            Link::Postgres(link) => postgres(sql, values)
                .fetch_all(&mut **link)
                .await
                .map(|rows| rows.into_iter().map(Row::from).collect()),
            Link::Sqlite(link) => sqlite(sql, values)
                .fetch_all(link)
                .await
                .map(|rows| rows.into_iter().map(Row::from).collect()),
            Link::SqliteRead(link) => sqlite(sql, values)
                .fetch_all(&mut **link)
                .await
                .map(|rows| rows.into_iter().map(Row::from).collect()),
        };
        self.end_statement(rows)
    }

    /// Runs a statement that gives one row or none.
    pub(crate) async fn row(&mut self, sql: &'static str, values: &[Value]) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, values).await?.pop())
    }

    /// Runs a statement; hands over its rows one by one, so that a table need not fit into memory.
    pub(crate) async fn each<E: From<Error>>(
        &mut self,
        sql: &'static str,
        mut take: impl FnMut(Row) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        self.begin_statement(&[])?;
        let mut rows = match &mut self.link {
            Link::Postgres(link) => {
                postgres(sql, &[]).fetch(&mut **link).map_ok(Row::from).map_err(Error::from).boxed()
            }
            Link::Sqlite(link) => sqlite(sql, &[]).fetch(link).map_ok(Row::from).map_err(Error::from).boxed(),
            Link::SqliteRead(link) => {
                sqlite(sql, &[]).fetch(&mut **link).map_ok(Row::from).map_err(Error::from).boxed()
            }
        };
        while let Some(row) = rows.try_next().await? {
            take(row)?;
        }
        drop(rows);
        self.state = State::Intact;
        Ok(())
    }

    /// After a failed statement there is no other: PostgreSQL would refuse it, and SQLite might run it outside of the
    /// transaction. A statement that is dropped half-way counts as failed.
    fn begin_statement(&mut self, values: &[Value]) -> Result<(), Error> {
        match self.state {
            // PostgreSQL has no NUL in text; so that both engines hold the same, SQLite gets none either.
            State::Intact if values.iter().any(Value::has_nul) => {
                self.state = State::Failed;
                Err(Error::Conflict("text_without_nul"))
            }
            State::Intact => {
                self.state = State::Failed;
                Ok(())
            }
            State::Failed | State::Again | State::Lost => {
                Err(Error::unavailable("an earlier statement failed"))
            }
        }
    }

    fn end_statement<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.state = result.as_ref().map_or_else(judge, |_| State::Intact);
        self.ended.fetch_add(1, Ordering::Relaxed);
        result.map_err(Error::from)
    }
}

/// What a failed statement means for the transaction around it.
pub(crate) fn judge(error: &sqlx::Error) -> State {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match (error, code.as_deref()) {
        // serialization_failure, deadlock_detected
        (_, Some("40001" | "40P01")) => State::Again,
        // connection exceptions, and the server's own end
        (_, Some(code)) if code.starts_with("08") || code.starts_with("57P") => State::Lost,
        (
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed,
            _,
        ) => State::Lost,
        _ => State::Failed,
    }
}

/// What can be bound to a placeholder.
#[derive(Clone)]
pub(crate) enum Value {
    Bool(bool),
    Bytes(Vec<u8>),
    Int(Option<i64>),
    Text(Option<String>),
}

impl Value {
    fn has_nul(&self) -> bool {
        matches!(self, Self::Text(Some(text)) if text.contains('\0'))
    }
}

/// Values for the placeholders of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::connection::Value::from($value)),*]
    };
}
pub(crate) use values;

fn sqlite(sql: &'static str, values: &[Value]) -> Query<'static, Sqlite, SqliteArguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match value.clone() {
        Value::Bool(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}

fn postgres(sql: &'static str, values: &[Value]) -> Query<'static, Postgres, PgArguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match value.clone() {
        Value::Bool(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}

macro_rules! as_text {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::Text(Some(value.to_string()))
            }
        }
    )*};
}
as_text!(
    &ClientId,
    &Name,
    &ScopeSet,
    &String,
    &str,
    ConnectionId,
    FamilyId,
    GatewayId,
    GrantId,
    OperationId,
    ServerId,
    SessionId,
    TokenId,
    UserId,
    String,
);

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(Some(value.into()))
    }
}

/// A number of the feed or the audit. None is beyond i64, so nothing lies after one that is.
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.seconds()))
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Int(value.map(Timestamp::seconds))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<K: Kind> From<&Hashed<K>> for Value {
    fn from(value: &Hashed<K>) -> Self {
        Self::Bytes(value.as_bytes().to_vec())
    }
}
