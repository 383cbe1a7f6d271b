//! Where a machine's client id and secret come from: a file that only its owner can read, or the environment. Never the
//! command line, which every user of the machine can see.

use crate::exit::Failure;
use portcullis_client::{Issuer, MachineCredentials};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub(crate) const CLIENT_ID: &str = "PORTCULLIS_CLIENT_ID";
pub(crate) const CLIENT_SECRET: &str = "PORTCULLIS_CLIENT_SECRET";

/// A credentials file is a few lines.
const LARGEST: u64 = 64 * 1024;

#[derive(clap::Args)]
pub(crate) struct Source {
    /// JSON file with "client_id", "client_secret" and, if you like, "issuer"; readable by its owner only. Without it the
    /// environment counts: PORTCULLIS_CLIENT_ID and PORTCULLIS_CLIENT_SECRET
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,

    /// The authority that the credentials are for, if it is not on the server's own origin
    #[arg(long, value_name = "URL")]
    issuer: Option<Issuer>,
}

/// What a credentials file may hold. `demo.json`, which `serve --demo` writes, holds the same below "agent".
#[derive(Deserialize)]
struct Stored {
    client_id: Option<String>,
    client_secret: Option<String>,
    issuer: Option<Issuer>,
    agent: Option<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    client_id: String,
    client_secret: String,
}

impl Source {
    /// Whether a file was named: then it counts before a token from the environment.
    pub(crate) fn names_a_file(&self) -> bool {
        self.credentials.is_some()
    }

    pub(crate) fn read(&self) -> Result<MachineCredentials, Failure> {
        let (credentials, issuer) = match &self.credentials {
            Some(path) => from_file(path)?,
            None => (from_environment()?, None),
        };
        Ok(match self.issuer.clone().or(issuer) {
            Some(issuer) => credentials.for_issuer(issuer),
            None => credentials,
        })
    }
}

fn from_file(path: &Path) -> Result<(MachineCredentials, Option<Issuer>), Failure> {
    let wrong = |words: &str| Failure::usage(format!("{}: {words}", path.display()));
    let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
    only_its_owner_may_read(&file, path)?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| wrong(&error.to_string()))?;
    // serde's own words could quote the secret.
    let expected = r#"must be JSON with "client_id" and "client_secret" (and "issuer", a URL, if you like)"#;
    let stored: Stored = serde_json::from_str(&text).map_err(|_| wrong(expected))?;
    let pair = match (stored.client_id, stored.client_secret, stored.agent) {
        (Some(id), Some(secret), None) => Some((id, secret)),
        (None, None, Some(agent)) => Some((agent.client_id, agent.client_secret)),
        _ => None,
    };
    let (id, secret) = pair.ok_or_else(|| wrong(expected))?;
    Ok((MachineCredentials::new(id, secret), stored.issuer))
}

/// PC-42: a secret that others can read is no secret. Looked up on the open file, so nobody can swap it in between.
#[cfg(unix)]
fn only_its_owner_may_read(file: &File, path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!("{}: not a file", path.display())));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & !0o700 == 0 {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{path} can be read by other users (mode {mode:04o}): run `chmod 600 {path}`, and think about a new secret",
        path = path.display()
    )))
}

#[cfg(not(unix))]
fn only_its_owner_may_read(_: &File, _: &Path) -> Result<(), Failure> {
    Ok(())
}

pub(crate) fn from_environment() -> Result<MachineCredentials, Failure> {
    match (variable(CLIENT_ID)?, variable(CLIENT_SECRET)?) {
        (Some(id), Some(secret)) => Ok(MachineCredentials::new(id, secret)),
        (None, None) => Err(Failure::usage(format!(
            "no credentials: name a file with --credentials FILE, or set {CLIENT_ID} and {CLIENT_SECRET}"
        ))),
        (Some(_), None) => Err(Failure::usage(format!("{CLIENT_ID} is set, {CLIENT_SECRET} is not"))),
        (None, Some(_)) => Err(Failure::usage(format!("{CLIENT_SECRET} is set, {CLIENT_ID} is not"))),
    }
}

/// A variable that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "commands for callers have no configuration; their variables are named in --help"
)]
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name} is not UTF-8"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(text: &str, mode: u32) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        from_file(&path).map(|_| ()).map_err(|failure| failure.to_string())
    }

    const GOOD: &str = r#"{"client_id": "a", "client_secret": "b"}"#;

    #[test]
    fn pc_42_a_file_that_others_can_read_is_refused() {
        read(GOOD, 0o600).unwrap();
        read(GOOD, 0o400).unwrap();
        for mode in [0o640, 0o604, 0o644, 0o660, 0o620] {
            let words = read(GOOD, mode).unwrap_err();
            assert!(words.contains("chmod 600") && words.contains(&format!("{mode:04o}")), "{words}");
        }
    }

    #[test]
    fn pc_63_a_broken_file_is_named_and_not_quoted() {
        read(r#"{"client_id": "a", "client_secret": "b", "issuer": "https://as.test"}"#, 0o600).unwrap();
        read(r#"{"issuer": "http://127.0.0.1:1", "agent": {"client_id": "a", "client_secret": "b"}}"#, 0o600)
            .unwrap();
        for text in [
            "",
            "hunter2",
            r#"{"client_id": "a"}"#,
            r#"{"client_secret": "hunter2"}"#,
            r#"{"client_id": "a", "client_secret": 7}"#,
            r#"{"client_id": "a", "client_secret": "hunter2", "issuer": "as.test"}"#,
            r#"["hunter2"]"#,
        ] {
            let words = read(text, 0o600).unwrap_err();
            assert!(words.contains("agent.json") && words.contains("client_id"), "{words}");
            assert!(!words.contains("hunter2"), "{text}");
        }
    }
}
