//! A fleet of a large company: applied, planned, held in memory, and changed a little.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::pinned::Pinned;
use super::world::{answers, free_address, now, printed, until};
use super::{Programs, text};
use crate::shell;

/// Rounds of what is done several times; the median counts.
const ROUNDS: usize = 5;

/// How large the fleet is.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) servers: usize,
    pub(super) agents: usize,
}

/// How long something took, and what processor time the server used meanwhile.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

pub(super) struct Found {
    pub(super) size: Size,
    pub(super) bytes: u64,
    pub(super) parsed: f64,
    pub(super) applied: Cost,
    pub(super) planned: Cost,
    pub(super) applied_kib: u64,
    /// When a few seconds have passed.
    pub(super) called_kib: u64,
    pub(super) most_kib: u64,
    pub(super) started_kib: u64,
    pub(super) change: Change,
}

/// Milliseconds: the median and the worst.
#[derive(Deserialize)]
pub(super) struct Change {
    pub(super) unchanged: (f64, f64),
    pub(super) answered: (f64, f64),
    pub(super) decided: (f64, f64),
    pub(super) calls: usize,
}

#[derive(Deserialize)]
struct Written {
    bytes: u64,
}

#[derive(Deserialize)]
struct Parsed {
    milliseconds: f64,
}

#[derive(Deserialize)]
struct Elapsed {}

/// The server and its files.
struct Place<'a> {
    programs: &'a Programs,
    folder: tempfile::TempDir,
    address: String,
    database: Option<&'a str>,
    ticks_per_second: u64,
}

/// `database`: PostgreSQL, with nothing in it.
pub(super) fn measure(programs: &Programs, size: Size, database: Option<&str>) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let ticks = shell::output_of(std::process::Command::new("getconf").arg("CLK_TCK"))?;
    let address = free_address("127.0.0.1")?;
    let place = Place { programs, folder, address, database, ticks_per_second: text(&ticks)? };
    let upstream = free_address("127.0.0.2")?;
    let (fleet, changed) = (place.file("fleet.toml"), place.file("changed.toml"));
    let bytes = place.write_fleet(size, &upstream, (&fleet, &changed))?;
    let mut parse = shell::program(&programs.bench);
    let parsed: Parsed = printed(parse.arg("parse").arg("--file").arg(&fleet))?;
    // The first start makes keys and a first password, for which a slow hash takes much memory once.
    drop(place.serve()?);
    let server = place.serve()?;
    let applied = place.cost(&server, || place.portcullis(&["apply", "--yes"], &fleet))?;
    let applied_kib = server.memory("VmRSS")?;
    let mut plans = Vec::new();
    for _ in 0..ROUNDS {
        plans.push(place.cost(&server, || place.portcullis(&["plan"], &fleet))?);
    }
    let change = place.change(&upstream, (&fleet, &changed))?;
    place.rest()?;
    let called_kib = server.memory("VmRSS")?;
    let most_kib = server.memory("VmHWM")?;
    drop(server);
    let server = place.serve()?;
    let started_kib = server.memory("VmRSS")?;
    let planned = middle(plans);
    let parsed = parsed.milliseconds;
    Ok(Found {
        size,
        bytes,
        parsed,
        applied,
        planned,
        applied_kib,
        called_kib,
        most_kib,
        started_kib,
        change,
    })
}

impl Place<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_fleet(&self, size: Size, upstream: &str, (fleet, changed): (&Path, &Path)) -> Result<u64> {
        let secrets = self.file("agents");
        fs::create_dir(&secrets)?;
        let mut command = shell::program(&self.programs.bench);
        command.args(["fleet", "--upstream", upstream]);
        command.args(["--servers", &size.servers.to_string(), "--agents", &size.agents.to_string()]);
        command.arg("--secrets").arg(secrets).arg("--out").arg(fleet).arg("--changed").arg(changed);
        Ok(printed::<Written>(&mut command)?.bytes)
    }

    /// A server that listens. Nothing is set that a user would not set.
    fn serve(&self) -> Result<Pinned> {
        let mut command = shell::program(&self.programs.portcullis);
        command.args(["serve", "--listen", &self.address]).arg("--data").arg(self.file("data"));
        if let Some(url) = self.database {
            fs::write(self.file("portcullis.toml"), format!("[database]\nurl = {url:?}\n"))?;
            command.arg("--config").arg(self.file("portcullis.toml"));
        }
        let log = self.file("server.log");
        let mut server = Pinned::start(&mut command, &log)?;
        until(|| {
            server.check("the server")?;
            Ok(fs::read_to_string(&log)?.contains("Portcullis at "))
        })
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(server)
    }

    /// Some seconds of hardly any work: the allocator gives back what was free for a second, when it is asked for something.
    fn rest(&self) -> Result<()> {
        let begun = now();
        until(|| {
            answers(&self.address);
            Ok(begun.elapsed() > Duration::from_secs(5))
        })
    }

    fn portcullis(&self, verb: &[&str], fleet: &Path) -> Result<()> {
        let mut command = shell::program(&self.programs.portcullis);
        command.args(verb).arg("--data").arg(self.file("data")).arg(fleet);
        shell::output_of(&mut command).map(drop)
    }

    fn cost(&self, server: &Pinned, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
        let (before, start) = (server.ticks()?, now());
        work()?;
        let wall = start.elapsed();
        let milliseconds = (server.ticks()? - before) * 1000 / self.ticks_per_second;
        Ok(Cost { wall, cpu: Duration::from_millis(milliseconds) })
    }

    fn change(&self, upstream: &str, (fleet, changed): (&Path, &Path)) -> Result<Change> {
        let url = format!("http://{}/mcp/server-0000", self.address);
        let tokens = self.file("tokens");
        let mut command = shell::program(&self.programs.bench);
        command.args(["tokens", "--resource", &url, "--count", "1", "--connections", "1"]);
        command.args(["--endpoint", &format!("http://{}/oauth/token", self.address)]);
        command.arg("--credentials").arg(self.file("agents").join("agent-0000.json"));
        printed::<Elapsed>(command.arg("--out").arg(&tokens))?;
        let mut command = shell::program(&self.programs.bench);
        command.args(["change", "--upstream", upstream, "--url", &url, "--rounds", &ROUNDS.to_string()]);
        command.arg("--socket").arg(self.file("data").join("admin.sock")).arg("--tokens").arg(tokens);
        printed(command.arg("--fleet").arg(fleet).arg("--changed").arg(changed))
    }
}

fn middle(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.wall);
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}
