//! Programs that stay on one core, and what they used of it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::text;
use crate::shell;

/// The two cores of a measurement.
#[derive(Clone, Copy)]
pub(super) struct Cores {
    /// What is measured.
    pub(super) subject: usize,
    /// Load and upstream.
    pub(super) rest: usize,
}

impl Cores {
    /// The first two that we may use.
    pub(super) fn find() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("this needs Linux")?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let mut cores = Vec::new();
        for part in allowed.unwrap_or_default().trim().split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            cores.extend(text::<usize>(low)?..=text::<usize>(high)?);
        }
        match cores[..] {
            [subject, rest, ..] => Ok(Self { subject, rest }),
            _ => bail!("two cores are needed"),
        }
    }
}

/// A command that runs on this core only, and everything that it starts.
pub(super) fn on_core(core: usize, program: &Path) -> Command {
    let mut command = shell::program("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// A running program; asked to end, and waited for, when dropped.
pub(super) struct Pinned {
    child: Child,
}

impl Pinned {
    /// What it prints and logs goes to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        // `taskset` becomes the program: the process is the same.
        Ok(Self { child: child.with_context(|| format!("cannot start `{}`", shell::words(command)))? })
    }

    /// Whether it still runs; an error says that it does not.
    pub(super) fn check(&mut self, name: &str) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{name} ended: {status}"),
        }
    }

    /// Processor time of all its threads, user and system, in ticks since it began.
    pub(super) fn ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name stands in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split(' ').collect();
        let field = |at: usize| text::<u64>(fields.get(at).copied().unwrap_or_default());
        Ok(field(12)? + field(13)?)
    }

    /// A size of its memory in KiB: `VmRSS` now, `VmHWM` at the most.
    pub(super) fn memory(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        text(line.context("no such size")?.trim().trim_end_matches(" kB"))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _gone = Command::new("kill").arg(self.child.id().to_string()).status();
        let _gone = self.child.wait();
    }
}
