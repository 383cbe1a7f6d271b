//! Starting a program and ending it, with everything that it started.

use super::framing::{self, Line};
use crate::settings::{Program, Secrets};
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::{SecretPlace, Server};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

/// Where programs are looked for, unless the machine's configuration says otherwise.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often a program that was told to end is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// The most of a line of a program's diagnostics that is logged.
const DIAGNOSTIC_BYTES: usize = 2048;

/// A running program, and the process group that it leads.
pub(super) struct Process {
    child: Child,
    pid: Option<Pid>,
}

/// The three ends that are ours.
pub(super) struct Streams {
    pub(super) input: ChildStdin,
    pub(super) output: BufReader<ChildStdout>,
    pub(super) diagnostics: BufReader<ChildStderr>,
}

/// Starts a program for a principal: no shell, no environment but its own and who it serves, a group of its own.
pub(super) fn start(
    program: &Program,
    server: &Server,
    principal: &Principal,
    secrets: &Secrets,
) -> std::io::Result<(Process, Streams)> {
    let (file, arguments) = program.run.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(file);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .envs(&program.env)
        .envs(read(&program.env_from, secrets)?)
        .env("PORTCULLIS_SERVER", server.name.as_str())
        .env("PORTCULLIS_SUBJECT", principal.subject.to_string())
        .env("PORTCULLIS_CLIENT_ID", principal.client_id.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn()?;
    let missing = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let streams = Streams {
        input: child.stdin.take().ok_or_else(missing)?,
        output: BufReader::new(child.stdout.take().ok_or_else(missing)?),
        diagnostics: BufReader::new(child.stderr.take().ok_or_else(missing)?),
    };
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok((Process { child, pid }, streams))
}

/// A program without a secret that it needs would fail in ways that are harder to understand.
fn read(places: &BTreeMap<String, SecretPlace>, secrets: &Secrets) -> std::io::Result<Vec<(String, String)>> {
    let read = places.iter().map(|(name, place)| {
        let secret = secrets(place).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::NotFound, format!("{name}: nothing to read at {place}"))
        })?;
        Ok((name.clone(), secret))
    });
    read.collect()
}

impl Process {
    /// Ends the program, whose input was closed: waits, asks, kills. Returns when nothing of its group runs.
    ///
    /// The program is looked at without being reaped until its group was killed: so long its number, which is the
    /// group's, cannot belong to anybody else.
    pub(super) async fn end(mut self, grace: Duration) {
        if let Some(pid) = self.pid {
            if !exits_within(pid, grace).await {
                signal(pid, Signal::TERM);
                exits_within(pid, grace).await;
            }
            signal(pid, Signal::KILL);
        }
        // `kill` covers the case that the group is not known; it reaps in any case.
        let _ = self.child.kill().await;
    }
}

async fn exits_within(pid: Pid, grace: Duration) -> bool {
    let deadline = Instant::now() + grace;
    while !has_exited(pid) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(GLANCE).await;
    }
    true
}

fn has_exited(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match rustix::process::waitid(WaitId::Pid(pid), look) {
        Ok(status) => status.is_some(),
        // Not a child of ours any more.
        Err(_) => true,
    }
}

fn signal(group: Pid, signal: Signal) {
    // The only error that can come is that nothing of the group runs.
    let _ = rustix::process::kill_process_group(group, signal);
}

/// Reads diagnostics to their end, so that the program never waits for us, and logs them line by line.
pub(super) async fn log(mut diagnostics: BufReader<ChildStderr>, server: String) {
    loop {
        match framing::read_line(&mut diagnostics, DIAGNOSTIC_BYTES).await {
            Line::End => return,
            Line::Text(text) => {
                tracing::debug!(server.name = %server, line = ?String::from_utf8_lossy(&text), "a program says");
            }
            Line::TooLong => {
                tracing::debug!(server.name = %server, "a program says more than fits a line");
            }
        }
    }
}
