//! For tests, here and in other crates: a database of one's own, on the engine that this run is about.
//!
//! `PORTCULLIS_TEST_POSTGRES` is the address of a PostgreSQL server where databases may be made; without it, SQLite.

use crate::Store;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::path::PathBuf;

/// An empty database, gone when this is dropped, as far as that succeeds.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Server { url: String, name: String },
}

impl TestDatabase {
    /// Makes one.
    pub async fn create() -> Self {
        let name = fresh_name();
        match server() {
            None => {
                let folder = std::env::temp_dir().join(name);
                std::fs::create_dir(&folder).expect("a temporary folder can be made");
                Self {
                    url: format!("sqlite:{}", folder.join("portcullis.db").display()),
                    place: Place::Folder(folder),
                }
            }
            Some(url) => {
                run(&url, format!("CREATE DATABASE {name}")).await.expect("a test database can be made");
                let (server, _) = url.rsplit_once('/').expect("the address names a database");
                Self { url: format!("{server}/{name}"), place: Place::Server { url, name } }
            }
        }
    }

    /// For [`Store::open`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Opens it; also again.
    pub async fn open(&self) -> Store {
        Store::open(&self.url).await.expect("a test database can be opened")
    }

    /// Whether it is on PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        matches!(self.place, Place::Server { .. })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.place {
            Place::Folder(folder) => drop(std::fs::remove_dir_all(folder)),
            Place::Server { url, name } => {
                let (url, sql) = (url.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                // Drop cannot wait, and may be called in a runtime that is about to end.
                let dropping = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(run(&url, sql))
                });
                drop(dropping.join());
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test runner says by this on which engine to run")]
fn server() -> Option<String> {
    std::env::var("PORTCULLIS_TEST_POSTGRES").ok()
}

fn fresh_name() -> String {
    let mut random = [0; 8];
    SysRng.try_fill_bytes(&mut random).expect("the system gives randomness");
    format!("portcullis_test_{:016x}", u64::from_be_bytes(random))
}

async fn run(url: &str, sql: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await
}
