//! `cargo xtask test`: every test, on SQLite and on PostgreSQL, then the documentation's examples, then a
//! search for secrets in all that was written meanwhile. The last line is `N passed, N failed`.

mod browser;
mod postgres;
pub(crate) mod secrets;
mod suite;
mod tally;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use self::browser::Browser;
use self::postgres::Postgres;
use self::suite::Engine;
use self::tally::Tally;
use crate::cargo::{self, TestProgram, Workspace};
use crate::system::Consent;

/// Their tests run a second time, on PostgreSQL.
const ON_BOTH_ENGINES: &[&str] = &["portcullis-store", "portcullis-server", "portcullis"];

/// What every suite is given.
struct World {
    /// Where output and the log files of started servers go; searched for secrets afterwards.
    emitted: PathBuf,
    browser: Browser,
}

pub(crate) fn run(consent: Consent) -> ExitCode {
    let tally = all(consent).unwrap_or_else(|error| {
        println!("error: {error:#}");
        Tally::one_failure()
    });
    println!("{tally}");
    if tally.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all(consent: Consent) -> Result<Tally> {
    let workspace = Workspace::read()?;
    println!("== test: parts of the system");
    let browser = Browser::ensure(consent)?;
    let binaries = postgres::ensure_programs(consent)?;
    println!("== test: build");
    let built = cargo::build(&workspace)?;
    let emitted = emptied(&workspace.folder("xtask")?.join("emitted"))?;
    let world = World { emitted, browser };
    let mut tally = Tally::default();

    println!("== test: SQLite");
    for program in &built.tests {
        tally += suite::run(program, &Engine::Sqlite, &world)?;
    }
    tally += on_postgres(&built.tests, &binaries, &world)?;
    println!("== test: examples in the documentation");
    tally += suite::run_doc_tests(&world)?;
    println!("== test: secrets in what was written");
    tally += secret_scan(&world.emitted)?;
    Ok(tally)
}

fn on_postgres(programs: &[TestProgram], binaries: &Path, world: &World) -> Result<Tally> {
    println!("== test: PostgreSQL");
    let postgres = Postgres::start(binaries, &world.emitted)?;
    let engine = Engine::Postgres(postgres.url());
    let mut tally = Tally::default();
    for program in programs.iter().filter(|program| ON_BOTH_ENGINES.contains(&program.package.as_str())) {
        tally += suite::run(program, &engine, world)?;
    }
    Ok(tally)
}

/// PC-43: no token, code or secret is ever written down. One test, named `secret_scan`.
fn secret_scan(emitted: &Path) -> Result<Tally> {
    let hits = secrets::scan(emitted)?;
    for hit in &hits {
        println!("   {hit}");
    }
    let failed = u64::from(!hits.is_empty());
    println!("   secret_scan: {} in {}", if failed == 0 { "ok" } else { "FAILED" }, emitted.display());
    Ok(Tally { passed: 1 - failed, failed })
}

fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}
