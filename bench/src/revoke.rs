//! Very many revocations, straight into the database of a server that does not run: nobody revokes a million sessions one by
//! one for a measurement.

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::PathBuf;
use tokio::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A database of SQLite
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    #[arg(long)]
    count: u32,
}

/// Sessions that never were, with ids as ours.
const REVOKE: &str = "
    WITH RECURSIVE numbered(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbered WHERE n < $1)
    INSERT INTO revocation (kind, id, revoked_at, until)
    SELECT 'session', 'ses_' || lower(hex(randomblob(16))), unixepoch(), unixepoch() + 86400 FROM numbered";

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    let options = SqliteConnectOptions::new().filename(&arguments.database);
    let mut connection: SqliteConnection = options.connect().await?;
    sqlx::query(REVOKE).bind(arguments.count).execute(&mut connection).await?;
    connection.close().await?;
    println!("{}", serde_json::json!({ "seconds": start.elapsed().as_secs_f64() }));
    Ok(())
}
