//! Migrations: forward only, the same numbers on both engines, part of the program.

use crate::error::OpenError;
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const SQLITE: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/sqlite/0001_first.sql")),
    (2, "deployment", include_str!("../migrations/sqlite/0002_deployment.sql")),
    (3, "upstream connections", include_str!("../migrations/sqlite/0003_upstream_connections.sql")),
    (4, "lone", include_str!("../migrations/sqlite/0004_lone.sql")),
];

const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/postgres/0001_first.sql")),
    (2, "deployment", include_str!("../migrations/postgres/0002_deployment.sql")),
    (3, "upstream connections", include_str!("../migrations/postgres/0003_upstream_connections.sql")),
    (4, "lone", include_str!("../migrations/postgres/0004_lone.sql")),
];

pub(crate) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

pub(crate) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

fn migrator(migrations: &'static [(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(number, name, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(*number, (*name).into(), kind, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Refuses a database that a newer program migrated: it may mean things that we do not know.
pub(crate) fn check_version(migrator: &Migrator, applied: Option<i64>) -> Result<(), OpenError> {
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    match applied {
        Some(found) if found > known => Err(OpenError::NewerVersion { found, known }),
        Some(_) | None => Ok(()),
    }
}

/// The version of the tables as this program knows them.
pub(crate) fn newest() -> i64 {
    SQLITE.last().map_or(0, |(number, ..)| *number)
}

/// The newest migration that was applied.
pub(crate) const APPLIED: &str = "SELECT MAX(version) FROM _sqlx_migrations";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_have_the_same_migrations() {
        let numbers = |list: &[(i64, &str, &str)]| {
            let numbers = list.iter().map(|(number, name, _)| (*number, (*name).to_owned()));
            numbers.collect::<Vec<_>>()
        };
        assert_eq!(numbers(SQLITE), numbers(POSTGRES));
        assert!(SQLITE.is_sorted_by(|(before, ..), (after, ..)| before < after));
    }
}
