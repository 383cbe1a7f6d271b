//! The way back: everything that a backup holds in the place of everything that there is, in one transaction, and in the
//! same transaction an end to whatever was issued before. Killed at any point, the database is the old one or the new one.

use crate::backup::{TABLES, Table};
use crate::connection::{Connection, Dialect, Link, State, Value, values};
use crate::engine::{postgres, sqlite};
use crate::error::{Error, OpenError};
use crate::feed::ChangeKind;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::audit::Event;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_oauth::time::Timestamp;
use serde_json::Value as Json;
use sqlx::Executor as _;
use std::path::Path;
use std::sync::LazyLock;

/// The setting that says how often this database was restored. For people, who see it when a restore ends and in its record:
/// what ends everything of before is the revocation that a restore writes, and nothing reads this number.
pub const EPOCH: &str = "epoch";

/// Numbers of the feed go on so far above those of the backup that none of the time that was lost is given again.
const LOST_NUMBERS: u64 = 1 << 32;

statements! {
    // Those who serve call themselves so.
    NODES for Postgres =
        "SELECT COUNT(*) AS n FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'portcullis'";
    // What is seen of others is otherwise as it was at the first look.
    LOOK_AGAIN for Postgres = "SELECT pg_stat_clear_snapshot()";
    // PC-50 knows this one exception: the whole record gives way to another whole record, which says so.
    UNGUARD for Sqlite = "DROP TRIGGER audit_no_delete";
    GUARD for Sqlite =
        "CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append only'); END";
    UNGUARD_TABLE for Postgres = "ALTER TABLE audit DISABLE TRIGGER audit_append_only";
    GUARD_TABLE for Postgres = "ALTER TABLE audit ENABLE TRIGGER audit_append_only";

    END_BROWSER_SESSIONS = "DELETE FROM browser_session";
    END_CODES = "UPDATE code SET expires_at = $1 WHERE expires_at > $1";
    END_ENROLMENTS = "UPDATE gateway SET enrol_until = $1 WHERE enrol_until > $1";
    END_FAMILIES = "UPDATE family SET revoked = TRUE WHERE NOT revoked";
    END_SESSIONS = "UPDATE session SET revoked = TRUE WHERE NOT revoked";

    ADVANCE_FEED = "INSERT INTO change (number, at, kind) VALUES ($1, $2, 'registry')";
    ADVANCE_FEED_NUMBERS for Postgres = "SELECT setval('change_number', $1)";
    ADVANCE_AUDIT_NUMBERS for Postgres =
        "SELECT setval(pg_get_serial_sequence('audit', 'number'), GREATEST((SELECT MAX(number) FROM audit), 1))";
}

/// Of every table, so that nobody writes into what is replaced.
static LOCK: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))
});

/// A restore under way. Dropped before [`Restore::commit`], nothing was changed.
pub struct Restore {
    tx: Tx,
    /// Of the database that gives way.
    feed: u64,
    epoch: u64,
}

impl Restore {
    /// Takes the database for itself. The tables must be there: a [`crate::Store`] that was opened once made them.
    pub async fn begin(url: &str, now: Timestamp) -> Result<Self, OpenError> {
        let connection = if let Some(path) = url.strip_prefix("sqlite:") {
            sqlite::begin_alone(Path::new(path.strip_prefix("//").unwrap_or(path))).await?
        } else {
            postgres::begin_alone(url).await?
        };
        let mut tx = Tx::new(connection, now);
        let unavailable = |error: Error| OpenError::Unavailable(crate::Fault::new(&error.to_string()));
        if tx.connection.dialect() == Dialect::Postgres {
            tx.connection.execute(&LOCK, values![]).await.map_err(unavailable)?;
        }
        let feed = tx.read().latest_change().await.map_err(unavailable)?;
        let epoch = epoch(&mut tx.read()).await.map_err(unavailable)?;
        Ok(Self { tx, feed, epoch })
    }

    /// How many others use the database now. SQLite does not say; there the lock of the data folder does.
    pub async fn others(&mut self) -> Result<u64, Error> {
        match self.tx.connection.dialect() {
            Dialect::Sqlite => Ok(0),
            Dialect::Postgres => {
                self.tx.connection.rows(LOOK_AGAIN, values![]).await?;
                let row = self.tx.connection.row(NODES, values![]).await?;
                row.map_or(Ok(0), |row| row.named("pg_stat_activity", "all").int("n"))
            }
        }
    }

    /// Whether there is nothing that would be lost.
    pub async fn is_empty(&mut self) -> Result<bool, Error> {
        for table in TABLES.iter() {
            if table.count(&mut self.tx.connection).await? > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes everything.
    pub async fn clear(&mut self) -> Result<(), Error> {
        let (unguard, guard) = match self.tx.connection.dialect() {
            Dialect::Sqlite => (UNGUARD, GUARD),
            Dialect::Postgres => (UNGUARD_TABLE, GUARD_TABLE),
        };
        let connection = &mut self.tx.connection;
        connection.execute(unguard, values![]).await?;
        for table in TABLES.iter().rev() {
            connection.execute(&table.delete, values![]).await?;
        }
        connection.execute(guard, values![]).await?;
        Ok(())
    }

    /// Adds a row to a table, by its place among [`crate::backup::shapes`]. False: the cells are not of this table.
    pub async fn insert(&mut self, table: usize, cells: &[Json]) -> Result<bool, Error> {
        let found: Option<(&'static Table, Vec<Value>)> =
            TABLES.get(table).and_then(|table| Some((table, table.values(cells)?)));
        let Some((table, values)) = found else { return Ok(false) };
        let sql = table.insert(self.tx.connection.dialect());
        Ok(self.tx.connection.execute(sql, &values).await? == 1)
    }

    /// Ends all that was issued up to `revocation`: browser sessions, codes, sessions, refresh tokens and access tokens. Gives
    /// the number of the new epoch.
    pub async fn end_all(&mut self, at: Timestamp, until: Timestamp) -> Result<u64, Error> {
        let now = self.tx.now();
        let connection = &mut self.tx.connection;
        connection.execute(END_CODES, values![now]).await?;
        connection.execute(END_ENROLMENTS, values![now]).await?;
        for sql in [END_BROWSER_SESSIONS, END_FAMILIES, END_SESSIONS] {
            connection.execute(sql, values![]).await?;
        }
        let epoch = 1 + self.epoch.max(epoch(&mut self.tx.read()).await?);
        self.tx.put_setting(EPOCH, &epoch.to_string()).await?;
        self.advance_numbers().await?;
        self.tx.revoke(&Revocation { target: RevokedTarget::All, at, until }).await?;
        self.tx.changed(ChangeKind::Keys);
        Ok(epoch)
    }

    async fn advance_numbers(&mut self) -> Result<(), Error> {
        let number = LOST_NUMBERS + self.feed.max(self.tx.read().latest_change().await?);
        let now = self.tx.now();
        let connection = &mut self.tx.connection;
        connection.execute(ADVANCE_FEED, values![number, now]).await?;
        if connection.dialect() == Dialect::Postgres {
            connection.rows(ADVANCE_FEED_NUMBERS, values![number]).await?;
            connection.rows(ADVANCE_AUDIT_NUMBERS, values![]).await?;
        }
        Ok(())
    }

    /// Records it, and makes all of it true at once.
    pub async fn commit(mut self, event: &Event) -> Result<(), Error> {
        self.tx.also(event).await?;
        self.tx.write_changes().await?;
        commit(self.tx.connection).await
    }
}

async fn commit(connection: Connection) -> Result<(), Error> {
    match connection.into_parts() {
        (Link::Postgres(tx), State::Intact) => Ok(tx.commit().await?),
        (Link::Sqlite(mut connection), State::Intact) => {
            connection.execute("COMMIT").await?;
            // So that the database is one file again; if that fails, its next user does it.
            let _later = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
            Ok(sqlx::Connection::close(connection).await?)
        }
        (Link::Postgres(_) | Link::Sqlite(_) | Link::SqliteRead(_), _) => {
            Err(Error::unavailable("a statement of the restore failed"))
        }
    }
}

/// How often the database was restored.
async fn epoch(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let value = reader.setting(EPOCH).await?;
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
}
