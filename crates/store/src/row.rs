//! Reading rows: a value that we would never have written is an error that names its place.

use crate::error::Error;
use portcullis_domain::secret::{Hashed, Kind};
use portcullis_oauth::time::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, Sqlite, Type};
use std::str::FromStr;

pub(crate) struct Row {
    cells: Cells,
    table: &'static str,
    key: String,
}

enum Cells {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::unnamed(Cells::Postgres(row))
    }
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::unnamed(Cells::Sqlite(row))
    }
}

impl Row {
    fn unnamed(cells: Cells) -> Self {
        Self { cells, table: "a statement", key: String::new() }
    }

    /// Says what this row is, for errors. `key` is no secret.
    pub(crate) fn named(mut self, table: &'static str, key: impl ToString) -> Self {
        self.table = table;
        self.key = key.to_string();
        self
    }

    pub(crate) fn corrupt(&self, column: &'static str) -> Error {
        Error::Corrupt { table: self.table, column, row: self.key.clone() }
    }

    fn cell<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
        &'static str: ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    {
        match &self.cells {
            Cells::Postgres(row) => row.try_get(column),
            Cells::Sqlite(row) => row.try_get(column),
        }
        .map_err(|_| self.corrupt(column))
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.cell(column)
    }

    pub(crate) fn text_or_none(&self, column: &'static str) -> Result<Option<String>, Error> {
        self.cell(column)
    }

    pub(crate) fn bool(&self, column: &'static str) -> Result<bool, Error> {
        self.cell(column)
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Error> {
        self.cell(column)
    }

    /// An integer of a narrower kind.
    pub(crate) fn int<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        T::try_from(self.cell(column)?).map_err(|_| self.corrupt(column))
    }

    /// An integer, or nothing.
    pub(crate) fn int_or_none<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let value: Option<i64> = self.cell(column)?;
        value.map(|value| T::try_from(value).map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, Error> {
        self.cell(column).map(Timestamp::from_seconds)
    }

    pub(crate) fn time_or_none(&self, column: &'static str) -> Result<Option<Timestamp>, Error> {
        let seconds: Option<i64> = self.cell(column)?;
        Ok(seconds.map(Timestamp::from_seconds))
    }

    /// Text with a type of its own.
    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, Error> {
        self.text(column)?.parse().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn parsed_or_none<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let text = self.text_or_none(column)?;
        text.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_str(&self.text(column)?).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn json_or_none<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let text = self.text_or_none(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn hash<K: Kind>(&self, column: &'static str) -> Result<Hashed<K>, Error> {
        let bytes = <[u8; 32]>::try_from(self.bytes(column)?).map_err(|_| self.corrupt(column))?;
        Ok(Hashed::from_stored(bytes))
    }
}

/// The JSON text of a value. Ours are plain data, so this does not fail; should one do, nothing is written.
pub(crate) fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::unavailable("a value has no JSON form"))
}
