//! All tables in one moment, row by row, in a form that is the same on both engines.

use crate::connection::{Connection, Dialect, Value};
use crate::engine::{postgres, sqlite};
use crate::error::{Error, OpenError};
use crate::migrations;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use portcullis_oauth::time::Timestamp;
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Bool,
    Bytes,
    Int,
    Text,
}
use Holds::{Bool, Bytes, Int, Text};

/// A table as it stands in the schema; a test holds the two together. A new table comes after those that it refers to.
const COLUMNS: &[(&str, &[(&str, Holds)])] = &[
    (
        "client",
        &[
            ("id", Text),
            ("kind", Text),
            ("agent_name", Text),
            ("name", Text),
            ("client_uri", Text),
            ("redirect_uris", Text),
            ("auth_method", Text),
            ("grant_types", Text),
            ("fingerprint", Text),
            ("created_at", Int),
            ("disabled", Bool),
        ],
    ),
    ("client_use", &[("client_id", Text), ("used_at", Int)]),
    ("client_secret", &[("hash", Bytes), ("client_id", Text), ("created_at", Int), ("expires_at", Int)]),
    (
        "account",
        &[
            ("id", Text),
            ("username", Text),
            ("password_hash", Text),
            ("must_change", Bool),
            ("user_groups", Text),
            ("admin", Bool),
            ("disabled", Bool),
            ("created_at", Int),
            ("password_ends_at", Int),
        ],
    ),
    ("browser_session", &[("hash", Bytes), ("user_id", Text), ("authenticated_at", Int), ("ends_at", Int)]),
    (
        "user_grant",
        &[
            ("id", Text),
            ("user_id", Text),
            ("client_id", Text),
            ("server_id", Text),
            ("scopes", Text),
            ("created_at", Int),
            ("updated_at", Int),
            ("revoked", Bool),
        ],
    ),
    (
        "code",
        &[
            ("hash", Bytes),
            ("flow", Text),
            ("client_id", Text),
            ("user_id", Text),
            ("grant_id", Text),
            ("server_id", Text),
            ("resource", Text),
            ("scopes", Text),
            ("redirect_uri", Text),
            ("challenge", Text),
            ("roles", Text),
            ("created_at", Int),
            ("expires_at", Int),
            ("redeemed_as", Text),
        ],
    ),
    (
        "session",
        &[
            ("id", Text),
            ("client_id", Text),
            ("user_id", Text),
            ("grant_id", Text),
            ("server_id", Text),
            ("resource", Text),
            ("scopes", Text),
            ("started_at", Int),
            ("ends_at", Int),
            ("revoked", Bool),
        ],
    ),
    (
        "family",
        &[
            ("id", Text),
            ("session_id", Text),
            ("client_id", Text),
            ("generation", Int),
            ("rotated_at", Int),
            ("idle_end", Int),
            ("absolute_end", Int),
            ("key_version", Int),
            ("repeats", Int),
            ("revoked", Bool),
        ],
    ),
    ("revocation", &[("kind", Text), ("id", Text), ("revoked_at", Int), ("until", Int)]),
    ("change", &[("number", Int), ("at", Int), ("kind", Text), ("body", Text), ("until", Int)]),
    (
        "sealed_key",
        &[
            ("purpose", Text),
            ("version", Int),
            ("kid", Text),
            ("sealed", Bytes),
            ("public", Text),
            ("created_at", Int),
        ],
    ),
    (
        "gateway",
        &[
            ("id", Text),
            ("name", Text),
            ("servers", Text),
            ("enrol_hash", Bytes),
            ("enrol_until", Int),
            ("identity", Text),
            ("assertion", Text),
            ("created_at", Int),
            ("enrolled_at", Int),
        ],
    ),
    ("server", &[("id", Text), ("name", Text), ("body", Text)]),
    (
        "pin",
        &[
            ("server_id", Text),
            ("tool", Text),
            ("digest", Text),
            ("definition", Text),
            ("approval", Int),
            ("approved_at", Int),
            ("approved_by", Text),
        ],
    ),
    (
        "sighting",
        &[("server_id", Text), ("tool", Text), ("digest", Text), ("definition", Text), ("seen_at", Int)],
    ),
    (
        "upstream_connection",
        &[
            ("id", Text),
            ("server_id", Text),
            ("user_id", Text),
            ("state", Text),
            ("issuer", Text),
            ("scopes", Text),
            ("sealed", Bytes),
            ("version", Int),
            ("connected_at", Int),
            ("refreshed_at", Int),
            ("lease", Text),
            ("lease_until", Int),
            ("attempts", Int),
            ("due_at", Int),
        ],
    ),
    (
        "upstream_connecting",
        &[
            ("hash", Bytes),
            ("server_id", Text),
            ("user_id", Text),
            ("session", Bytes),
            ("sealed", Bytes),
            ("expires_at", Int),
        ],
    ),
    ("upstream_client", &[("server_id", Text), ("issuer", Text), ("sealed", Bytes), ("created_at", Int)]),
    ("agent", &[("client_id", Text), ("name", Text), ("body", Text)]),
    ("registered_client", &[("client_id", Text), ("name", Text), ("body", Text)]),
    ("role", &[("name", Text), ("body", Text)]),
    ("setting", &[("name", Text), ("value", Text)]),
    ("deployment", &[("number", Int), ("issuer", Text)]),
    ("answered", &[("key", Bytes), ("request", Bytes), ("sealed", Bytes), ("at", Int)]),
    (
        "audit",
        &[
            ("number", Int),
            ("at", Int),
            ("kind", Text),
            ("outcome", Text),
            ("actor", Text),
            ("client_id", Text),
            ("user_id", Text),
            ("server_id", Text),
            ("session_id", Text),
            ("body", Text),
        ],
    ),
];

/// Of one engine, or of the program's own running: they have no place in a backup.
#[cfg(test)]
const LEFT_OUT: [&str; 3] = ["_sqlx_migrations", "operation", "sqlite_sequence"];

/// A table with its statements. They are put together from the list of columns, which thus stands in one place only.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Holds)],
    count: String,
    select: String,
    insert: String,
    pub(crate) delete: String,
}

pub(crate) static TABLES: LazyLock<Vec<Table>> =
    LazyLock::new(|| COLUMNS.iter().map(|(name, columns)| Table::new(name, columns)).collect());

impl Table {
    fn new(name: &'static str, columns: &'static [(&'static str, Holds)]) -> Self {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let places: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
        let (names, places) = (names.join(", "), places.join(", "));
        Self {
            name,
            columns,
            count: format!("SELECT COUNT(*) AS n FROM {name}"),
            select: format!("SELECT {names} FROM {name} ORDER BY 1"),
            insert: format!("INSERT INTO {name} ({names}) VALUES ({places})"),
            delete: format!("DELETE FROM {name}"),
        }
    }

    /// PostgreSQL gives audit records their numbers itself, unless told otherwise; SQLite has no such word.
    pub(crate) fn insert(&'static self, dialect: Dialect) -> &'static str {
        static AUDIT: LazyLock<String> = LazyLock::new(|| {
            let table = TABLES.iter().find(|table| table.name == "audit");
            let insert = table.map(|table| table.insert.as_str()).unwrap_or_default();
            insert.replace(" VALUES ", " OVERRIDING SYSTEM VALUE VALUES ")
        });
        match dialect {
            Dialect::Postgres if self.name == "audit" => &AUDIT,
            Dialect::Postgres | Dialect::Sqlite => &self.insert,
        }
    }

    pub(crate) async fn count(&'static self, connection: &mut Connection) -> Result<u64, Error> {
        let row = connection.row(&self.count, &[]).await?;
        row.map_or(Ok(0), |row| row.named(self.name, "all").int("n"))
    }

    /// A row as cells of JSON: bytes are written as hexadecimal digits.
    fn cells(&self, row: &Row) -> Result<Vec<Json>, Error> {
        let cell = |(name, holds): &(&'static str, Holds)| {
            Ok(match holds {
                Bool => row.bool(name)?.into(),
                Bytes => hex(&row.bytes(name)?).into(),
                Int => row.int_or_none::<i64>(name)?.into(),
                Text => row.text_or_none(name)?.into(),
            })
        };
        self.columns.iter().map(cell).collect()
    }

    /// Cells as values for the insertion. `None`: they are not of this table.
    pub(crate) fn values(&self, cells: &[Json]) -> Option<Vec<Value>> {
        if cells.len() != self.columns.len() {
            return None;
        }
        let value = |((_, holds), cell): (&(&str, Holds), &Json)| match (holds, cell) {
            (Bool, Json::Bool(value)) => Some(Value::Bool(*value)),
            (Bytes, Json::String(text)) => unhex(text).map(Value::Bytes),
            (Int, Json::Null) => Some(Value::Int(None)),
            (Int, Json::Number(number)) => number.as_i64().map(|number| Value::Int(Some(number))),
            (Text, Json::Null) => Some(Value::Text(None)),
            (Text, Json::String(text)) => Some(Value::Text(Some(text.clone()))),
            _ => None,
        };
        self.columns.iter().zip(cells).map(value).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

statements! {
    NEWEST_RECORD = "SELECT MAX(at) AS at FROM audit";
    QUICK_CHECK for Sqlite = "PRAGMA quick_check(10)";
    BYTES for Sqlite =
        "SELECT page_count * page_size AS n FROM pragma_page_count, pragma_page_size";
    DATABASE_BYTES for Postgres = "SELECT pg_database_size(current_database()) AS n";
}

/// What a table is called, and what its columns are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// Their names, in the order of the cells.
    pub columns: Vec<&'static str>,
}

/// Every table that a backup holds, in the order in which they can be filled.
pub fn shapes() -> Vec<Shape> {
    let shape = |table: &Table| Shape {
        name: table.name,
        columns: table.columns.iter().map(|(name, _)| *name).collect(),
    };
    TABLES.iter().map(shape).collect()
}

/// The version of the tables.
pub fn schema_version() -> i64 {
    migrations::newest()
}

/// The database at one moment. Whoever serves meanwhile is not disturbed, and nothing is changed.
pub struct Source {
    connection: Connection,
}

impl Source {
    /// Begins to read. `None`: there is no database, or one that was never used.
    pub async fn open(url: &str) -> Result<Option<Self>, OpenError> {
        let found = if let Some(path) = url.strip_prefix("sqlite:") {
            sqlite::look(Path::new(path.strip_prefix("//").unwrap_or(path))).await?
        } else {
            Some(postgres::look(url).await?)
        };
        let known = migrations::newest();
        match found {
            Some((connection, Some(found))) if found == known => Ok(Some(Self { connection })),
            Some((_, Some(found))) if found > known => Err(OpenError::NewerVersion { found, known }),
            Some((_, Some(found))) => Err(OpenError::OtherVersion { found, known }),
            Some((_, None)) | None => Ok(None),
        }
    }

    /// How many rows each table has.
    pub async fn counts(&mut self) -> Result<Vec<u64>, Error> {
        let mut counts = Vec::new();
        for table in TABLES.iter() {
            counts.push(table.count(&mut self.connection).await?);
        }
        Ok(counts)
    }

    /// The reads.
    pub fn reader(&mut self) -> Reader<'_> {
        Reader { connection: &mut self.connection }
    }

    /// When the newest record was written; nothing was written after the present.
    pub async fn newest_record(&mut self) -> Result<Option<Timestamp>, Error> {
        let row = self.connection.row(NEWEST_RECORD, &[]).await?;
        row.map_or(Ok(None), |row| row.named("audit", "newest").time_or_none("at"))
    }

    /// What the engine finds wrong with its own file. PostgreSQL has no such question.
    pub async fn faults(&mut self) -> Result<Vec<String>, Error> {
        if self.connection.dialect() == Dialect::Postgres {
            return Ok(Vec::new());
        }
        let rows = self.connection.rows(QUICK_CHECK, &[]).await?;
        let says: Vec<String> =
            rows.into_iter().map(|row| row.text("quick_check")).collect::<Result<_, _>>()?;
        Ok(says.into_iter().filter(|says| says != "ok").collect())
    }

    /// What the database takes on the disk.
    pub async fn bytes(&mut self) -> Result<u64, Error> {
        let sql = match self.connection.dialect() {
            Dialect::Sqlite => BYTES,
            Dialect::Postgres => DATABASE_BYTES,
        };
        let row = self.connection.row(sql, &[]).await?;
        row.map_or(Ok(0), |row| row.named("database", "size").int("n"))
    }

    /// Hands over every row of a table, by its place among [`shapes`].
    pub async fn each<E: From<Error>>(
        &mut self,
        table: usize,
        mut take: impl FnMut(Vec<Json>) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        let table = TABLES.get(table).ok_or_else(|| Error::unavailable("there is no such table"))?;
        self.connection
            .each(&table.select, |row| take(table.cells(&row.named(table.name, "of the backup"))?))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDatabase;
    use sqlx::{Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection};
    use std::collections::BTreeSet;

    const COLUMNS_SQLITE: &str = "SELECT m.name AS name, c.name AS col FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'";
    const COLUMNS_POSTGRES: &str = "SELECT table_name::text AS name, column_name::text AS col FROM information_schema.columns WHERE table_schema = 'public'";

    #[tokio::test]
    async fn pc_61_a_backup_holds_every_column_of_every_table() {
        let database = TestDatabase::create().await;
        database.open().await.close().await;
        let found: Vec<(String, String)> = if database.is_postgres() {
            let mut connection = PgConnection::connect(database.url()).await.unwrap();
            sqlx::query_as(COLUMNS_POSTGRES).fetch_all(&mut connection).await.unwrap()
        } else {
            let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
            sqlx::query_as(COLUMNS_SQLITE).fetch_all(&mut connection).await.unwrap()
        };
        let found: BTreeSet<_> =
            found.into_iter().filter(|(table, _)| !LEFT_OUT.contains(&table.as_str())).collect();
        let known: BTreeSet<_> = shapes()
            .into_iter()
            .flat_map(|shape| {
                shape.columns.into_iter().map(move |column| (shape.name.to_owned(), column.to_owned()))
            })
            .collect();
        assert_eq!(found, known, "a new table or column belongs into COLUMNS");
    }

    #[tokio::test]
    async fn every_statement_of_a_backup_prepares_after_migration() {
        let database = TestDatabase::create().await;
        database.open().await.close().await;
        for table in TABLES.iter() {
            let of = |dialect| [&table.count, &table.select, table.insert(dialect), &table.delete];
            if database.is_postgres() {
                let mut connection = PgConnection::connect(database.url()).await.unwrap();
                for sql in of(Dialect::Postgres) {
                    (&mut connection).prepare(sql.into_sql_str()).await.unwrap();
                }
            } else {
                let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
                for sql in of(Dialect::Sqlite) {
                    (&mut connection).prepare(sql.into_sql_str()).await.unwrap();
                }
            }
        }
    }

    #[test]
    fn bytes_go_through_digits_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for bad in ["0", "0g", "é0", "+1"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
