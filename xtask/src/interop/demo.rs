//! One running demo with an empty data folder, on a free port; it ends when this value does.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::shown;
use crate::leash::{Leash, Terms};
use crate::shell;

pub(crate) struct Demo {
    /// `demo.json`: addresses and credentials for scripts.
    pub(crate) facts: PathBuf,
    /// What it logged, as opposed to what it printed for a person to use.
    pub(crate) log: PathBuf,
    data: PathBuf,
    _leash: Leash,
}

#[derive(Deserialize)]
struct Facts {
    issuer: String,
}

/// How much the demo writes into its log.
#[derive(Clone, Copy)]
pub(crate) enum Log {
    Everything,
    Usual,
}

impl Demo {
    /// Returns when the demo has written its facts and answers at the address in them.
    pub(crate) fn start(binary: &Path, folder: &Path, log: Log) -> Result<Self> {
        Self::start_with(binary, folder, log, "")
    }

    /// The same with a configuration.
    pub(crate) fn start_with(binary: &Path, folder: &Path, log: Log, configuration: &str) -> Result<Self> {
        let data = folder.join("data");
        let file = folder.join("portcullis.toml");
        fs::write(&file, configuration)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(binary);
        command.args(["serve", "--demo", "--listen", &address, "--data"]).arg(&data);
        command.arg("--config").arg(&file);
        if let Log::Everything = log {
            command.env("RUST_LOG", "trace");
        }
        let stderr = folder.join("stderr.log");
        let stdout = folder.join("stdout.log");
        let terms = Terms {
            user: None,
            signal: "INT", // as Ctrl-C
            trash: None,
            stdout: File::create(&stdout)?,
            stderr: File::create(&stderr)?,
        };
        println!("   {} serve --demo --listen {address} --data {}", shown(binary), shown(&data));
        let mut leash = Leash::start(&command, terms)?;
        let facts = data.join("demo.json");
        until_ready(&mut leash, &facts)
            .with_context(|| format!("see {} and {}", shown(&stdout), shown(&stderr)))?;
        Ok(Self { facts, log: stderr, data, _leash: leash })
    }

    /// Lets clients of HTTP+SSE in at `notes`, as an operator would: export, change, apply.
    pub(crate) fn takes_http_sse(&self, binary: &Path) -> Result<()> {
        let fleet = self.data.with_file_name("fleet.toml");
        let portcullis = |arguments: &[&str], file: &Path| {
            let mut command = Command::new(binary);
            command.args(arguments).arg(file).arg("--data").arg(&self.data);
            if shell::succeeds(&mut command)? { Ok(()) } else { bail!("{arguments:?} failed") }
        };
        portcullis(&["export", "--output"], &fleet)?;
        let name = "name = \"notes\"\n";
        let text = fs::read_to_string(&fleet)?;
        let changed = text.replacen(name, &format!("{name}other_transports = [\"http_sse\"]\n"), 1);
        fs::write(&fleet, changed)?;
        portcullis(&["apply", "--yes"], &fleet)
    }
}

fn until_ready(leash: &mut Leash, facts: &Path) -> Result<()> {
    for _ in 0..600 {
        if issuer(facts).is_some_and(|issuer| answers(&issuer)) {
            return Ok(());
        }
        if let Some(status) = leash.ended()? {
            bail!("the demo ended at its start: {status}");
        }
        pause();
    }
    bail!("the demo was not ready within 30 s")
}

fn issuer(facts: &Path) -> Option<String> {
    let facts: Facts = serde_json::from_slice(&fs::read(facts).ok()?).ok()?;
    Some(facts.issuer)
}

/// Whether the authority's metadata is served.
fn answers(issuer: &str) -> bool {
    let Some(address) = issuer.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
        return false;
    };
    status(address, "/.well-known/oauth-authorization-server")
        .is_ok_and(|line| line.starts_with("HTTP/1.1 200"))
}

fn status(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "polls a file of another program")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
