//! What can go wrong with the database. None of it is the doing of a caller of ours.

use sqlx::error::{DatabaseError, ErrorKind};
use std::path::PathBuf;

/// A read or write failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The write breaks a constraint, named here; nothing was written.
    #[error("the write breaks the constraint {0}")]
    Conflict(&'static str),
    /// A row holds what we would never write.
    #[error("column {column} of {table} {row} is corrupt")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// What.
        column: &'static str,
        /// Which: an id, never a secret.
        row: String,
    },
    /// The database did not do it, or did not say whether it did.
    #[error("the database is not available")]
    Unavailable(#[source] Fault),
}

/// What the database said. Only its message: details of rows stay out, since they hold values.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{says}")]
pub struct Fault {
    says: String,
}

/// A store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer Portcullis has been here.
    #[error(
        "the database has version {found}, this program knows versions up to {known}: use the newer program"
    )]
    NewerVersion {
        /// The newest migration that was applied.
        found: i64,
        /// The newest that we have.
        known: i64,
    },
    /// Somebody else's tables, of before; or none.
    #[error(
        "the database has version {found}, this program knows version {known}: use the program that served it"
    )]
    OtherVersion {
        /// The newest migration that was applied; 0 before the first.
        found: i64,
        /// The newest that we have.
        known: i64,
    },
    /// Another process held the SQLite file longer than we wait.
    #[error("another program is using the database file: end it, or try again")]
    Busy,
    /// The file cannot be made or written.
    #[error("the database file {} cannot be written", .0.display())]
    NotWritable(PathBuf),
    /// The database does not answer, or is not as it should be.
    #[error("the database cannot be opened")]
    Unavailable(#[source] Fault),
    /// Nobody is there.
    #[error("cannot reach the PostgreSQL server at {place}: is it running, and is database.url right?")]
    Unreachable {
        /// Host and port, or the path of a socket.
        place: String,
        /// What the system said.
        #[source]
        why: Fault,
    },
    /// Neither `sqlite:PATH` nor `postgres://…`.
    #[error("a database is sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url,
}

impl Fault {
    pub(crate) fn new(says: &str) -> Self {
        Self { says: says.to_owned() }
    }
}

impl Error {
    pub(crate) fn unavailable(says: &str) -> Self {
        Self::Unavailable(Fault::new(says))
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self { says: error.to_string() }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(constraint) {
            Some(name) => Self::Conflict(name),
            None => Self::Unavailable(error.into()),
        }
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        match sqlite_code(&error) {
            Some(SQLITE_BUSY) => Self::Busy,
            Some(_) | None => Self::Unavailable(error.into()),
        }
    }
}

const SQLITE_BUSY: i64 = 5;

/// The primary result code of SQLite, without what says more in the higher bits.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<i64> {
    let code: i64 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Names of unique constraints, and how SQLite tells of them: by their columns.
const UNIQUE: &[(&str, &str)] = &[
    ("account_pkey", "account.id"),
    ("account_username", "account.username"),
    ("agent_name", "agent.name"),
    ("agent_pkey", "agent.client_id"),
    ("answered_pkey", "answered.key"),
    ("browser_session_pkey", "browser_session.hash"),
    ("client_agent_name", "client.agent_name"),
    ("client_fingerprint", "client.fingerprint"),
    ("client_pkey", "client.id"),
    ("client_secret_pkey", "client_secret.hash"),
    ("code_flow", "code.flow"),
    ("code_pkey", "code.hash"),
    ("family_pkey", "family.id"),
    ("sealed_key_kid", "sealed_key.kid"),
    ("server_name", "server.name"),
    ("server_pkey", "server.id"),
    ("session_pkey", "session.id"),
    ("user_grant_pkey", "user_grant.id"),
];

/// SQLite does not say which foreign key or not-null rule it was, so neither do we.
fn constraint(error: &dyn DatabaseError) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::UniqueViolation => {
            let named = error.constraint();
            let columns = error.message().strip_prefix("UNIQUE constraint failed: ");
            let found = UNIQUE.iter().find(|(name, of)| named == Some(*name) || columns == Some(*of));
            Some(found.map_or("unique", |(name, _)| *name))
        }
        ErrorKind::ForeignKeyViolation => Some("foreign_key"),
        ErrorKind::NotNullViolation | ErrorKind::CheckViolation => Some("check"),
        // The enum is not exhaustive; whatever else there is, is no constraint of ours.
        ErrorKind::ExclusionViolation | ErrorKind::Other | _ => None,
    }
}
