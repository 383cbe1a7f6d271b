//! Statements are constants beside the function that runs them, and each is in its file's catalogue, so that a test can
//! prepare every one of them on both engines after migration.

/// A statement as the catalogue lists it.
#[cfg_attr(not(test), expect(dead_code, reason = "the catalogue is for a test"))]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// The one engine that it is for, or both.
    pub(crate) only: Option<crate::connection::Dialect>,
}

/// Declares constants of SQL, and `ALL`, their catalogue.
macro_rules! statements {
    (@only) => { None };
    (@only $dialect:ident) => { Some($crate::connection::Dialect::$dialect) };
    ($($(#[$doc:meta])* $visible:vis $name:ident $(for $dialect:ident)? = $sql:expr;)*) => {
        $($(#[$doc])* $visible const $name: &str = $sql;)*

        #[cfg_attr(not(test), expect(dead_code, reason = "the catalogue is for a test"))]
        pub(crate) const ALL: &[$crate::statements::Statement] = &[$(
            $crate::statements::Statement {
                name: stringify!($name),
                sql: $name,
                only: statements!(@only $($dialect)?),
            },
        )*];
    };
}
pub(crate) use statements;

#[cfg(test)]
mod tests {
    use super::Statement;
    use crate::connection::Dialect;
    use crate::testing::TestDatabase;
    use crate::{
        answered, audit, backup, changes, clients, codes, deployment, endings, engine, families, feed,
        gateways, grants, housekeeping, keys, lists, pins, registry, restore, revocations, sessions,
        settings, upstream_clients, upstream_connections, users,
    };
    use sqlx::{
        Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection, Statement as _,
    };

    const CATALOGUES: &[&[Statement]] = &[
        answered::ALL,
        audit::ALL,
        backup::ALL,
        changes::ALL,
        clients::ALL,
        codes::ALL,
        deployment::ALL,
        endings::ALL,
        engine::postgres::attempt::ALL,
        families::ALL,
        feed::ALL,
        gateways::ALL,
        grants::ALL,
        housekeeping::ALL,
        keys::ALL,
        lists::clients::ALL,
        lists::grants::ALL,
        lists::sessions::ALL,
        pins::ALL,
        registry::ALL,
        restore::ALL,
        revocations::ALL,
        sessions::ALL,
        settings::ALL,
        upstream_clients::ALL,
        upstream_connections::ALL,
        upstream_connections::connecting::ALL,
        upstream_connections::ending::ALL,
        users::ALL,
    ];

    fn of(dialect: Dialect) -> impl Iterator<Item = &'static Statement> {
        let all = CATALOGUES.iter().flat_map(|catalogue| catalogue.iter());
        all.filter(move |statement| statement.only.is_none_or(|only| only == dialect))
    }

    fn placeholders(sql: &str) -> usize {
        (1..=20).take_while(|n| sql.contains(&format!("${n}"))).count()
    }

    #[tokio::test]
    async fn every_statement_prepares_after_migration() {
        let database = TestDatabase::create().await;
        database.open().await.close().await;
        if database.is_postgres() {
            let mut connection = PgConnection::connect(database.url()).await.unwrap();
            for Statement { name, sql, .. } in of(Dialect::Postgres) {
                let prepared = (&mut connection).prepare(sql.into_sql_str()).await;
                let prepared = prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
                let parameters = prepared.parameters().unwrap().left().unwrap().len();
                assert_eq!(parameters, placeholders(sql), "{name}");
            }
        } else {
            let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
            for Statement { name, sql, .. } in of(Dialect::Sqlite) {
                let prepared = (&mut connection).prepare(sql.into_sql_str()).await;
                let prepared = prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
                let parameters = prepared.parameters().unwrap().right().unwrap();
                assert_eq!(parameters, placeholders(sql), "{name}");
            }
        }
    }
}
