//! Runs one test program on one engine, keeps all of its output, and shows what went wrong.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::World;
use super::tally::Tally;
use crate::cargo::TestProgram;
use crate::shell;

/// A suite that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(20);

/// How much of a failed suite's output is shown; all of it is in the file.
const SHOWN_LINES: usize = 200;

pub(crate) enum Engine {
    Sqlite,
    /// The address of a server where tests may make databases of their own.
    Postgres(String),
}

impl Engine {
    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}

pub(crate) fn run(program: &TestProgram, engine: &Engine, world: &World) -> Result<Tally> {
    let mut command = Command::new(&program.file);
    command.current_dir(&program.folder).arg("--show-output");
    command.env("CARGO_MANIFEST_DIR", &program.folder).env("CARGO_PKG_NAME", &program.package);
    surround(&mut command, world);
    match engine {
        Engine::Sqlite => command.env_remove("PORTCULLIS_TEST_POSTGRES"),
        // A browser sees no engine: once is enough.
        Engine::Postgres(url) => command.env("PORTCULLIS_TEST_POSTGRES", url).args(["--skip", "browser"]),
    };
    let name = match program.kind.as_str() {
        "test" => format!("{}.{}", program.package, program.target),
        kind => format!("{}.{kind}", program.package),
    };
    observe(&mut command, &format!("{name}-{}", engine.name()), world, Tally::of_program)
}

pub(crate) fn run_doc_tests(world: &World) -> Result<Tally> {
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--doc"]);
    surround(&mut command, world);
    observe(&mut command, "doc-tests", world, Tally::of_many)
}

fn surround(command: &mut Command, world: &World) {
    command.env("PORTCULLIS_TEST_EMITTED", &world.emitted);
    command.env("PORTCULLIS_TEST_CHROMIUM", &world.browser.chromium);
    command.env("PORTCULLIS_TEST_CHROMEDRIVER", &world.browser.chromedriver);
    command.env("RUST_BACKTRACE", "1").env("RUST_LOG", "trace");
}

fn observe(
    command: &mut Command,
    suite: &str,
    world: &World,
    count: fn(&str, bool) -> Tally,
) -> Result<Tally> {
    print!("   {suite:<40} ");
    std::io::stdout().flush()?;
    let out = world.emitted.join(format!("{suite}.out"));
    let err = world.emitted.join(format!("{suite}.err"));
    let began = now();
    let child = command
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()
        .with_context(|| format!("cannot start {}", shell::words(command)))?;
    let end = wait(child)?;
    let text = String::from_utf8_lossy(&fs::read(&out)?).into_owned();
    let tally = count(&text, end.is_some_and(|status| status.success()));
    println!("{tally} in {:.1} s", began.elapsed().as_secs_f64());
    if !tally.good() {
        show(end, &[out, err]);
    }
    Ok(tally)
}

/// `None` when patience ran out and the program was killed.
fn wait(mut child: Child) -> Result<Option<ExitStatus>> {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        pause();
    }
}

fn show(end: Option<ExitStatus>, files: &[PathBuf]) {
    match end {
        Some(status) => println!("   ended with {status}"),
        None => println!("   killed: it took longer than {} minutes", PATIENCE.as_secs() / 60),
    }
    for file in files {
        println!("   ---- {} ----", file.display());
        for line in tail(file) {
            println!("   | {line}");
        }
    }
}

/// The part about the failures, if there is one, and the end of it if it is long.
fn tail(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let failures = lines.iter().position(|line| *line == "failures:");
    let skipped = failures.unwrap_or(0).max(lines.len().saturating_sub(SHOWN_LINES));
    let mark = (skipped > 0).then(|| format!("... {skipped} lines before"));
    let shown = lines.iter().skip(skipped).map(|line| (*line).to_owned());
    mark.into_iter().chain(shown).collect()
}

#[expect(clippy::disallowed_methods, reason = "how long a suite took is for the eyes of a person")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "std cannot wait for a child with a time limit")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
