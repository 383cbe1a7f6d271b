//! A program of this machine's own `[command]` table, asked what it offers, and ended.

use crate::config::environment;
use portcullis_client::{Description, Error, describe_program};
use portcullis_gateway::Program;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use tokio::process::Command;

/// Where programs are looked for, as in the gateway.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program said nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It does not start.
    #[error("it cannot be started: {0}")]
    Start(#[from] std::io::Error),
    /// It does not answer as an MCP server.
    #[error(transparent)]
    Answer(#[from] Error),
}

/// Starts the program as the gateway would: no shell, no environment but its own, a group of its own that ends with this.
pub async fn describe(program: &Program, server: &str) -> Result<Description, ProgramError> {
    let (file, arguments) =
        program.run.split_first().ok_or(std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(file);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .envs(&program.env)
        .envs(
            program.env_from.iter().filter_map(|(name, place)| Some((name, environment::secret_at(place)?))),
        )
        .env("PORTCULLIS_SERVER", server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn()?;
    let _group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let missing = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    Ok(describe_program(output, input).await?)
}

/// Everything that the program started. The child is not reaped before this is dropped, so the number is still its own.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The only error that can come is that nothing of the group runs.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
