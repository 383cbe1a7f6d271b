//! A PostgreSQL of our own: a fresh cluster in a temporary folder, on a free loopback port, gone when we are.
//! The system's cluster, if there is one, is never touched.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::leash::{Leash, Terms, User};
use crate::shell;
use crate::system::{Consent, Part, ensure, holds, id_of, is_root};

const PROGRAMS: &[&str] = &["initdb", "postgres"];
const SUPERUSER: &str = "portcullis";

/// Speed over what a power cut would need: the tests kill our processes, not this one.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "max_connections=300",
    "shared_buffers=128MB",
    "synchronous_commit=on",
];

/// The folder of the server's programs.
pub(crate) fn ensure_programs(consent: Consent) -> Result<PathBuf> {
    let folder = ensure(Part::PostgreSql, consent, find)?;
    println!("   PostgreSQL in {}", folder.display());
    Ok(folder)
}

fn find() -> Option<PathBuf> {
    let on_path =
        shell::which(PROGRAMS).and_then(|file| file.canonicalize().ok()?.parent().map(Path::to_owned));
    on_path.into_iter().chain(versions()).find(|folder| holds(folder, PROGRAMS))
}

/// Where Debian and Fedora keep versions side by side; the newest first.
fn versions() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        found.extend(entries.filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        }));
    }
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

pub(crate) struct Postgres {
    port: u16,
    _leash: Leash,
}

impl Postgres {
    /// Starts a cluster; its log goes to the folder of what tests emit, and is searched for secrets too.
    pub(crate) fn start(programs: &Path, emitted: &Path) -> Result<Self> {
        let user = unprivileged()?;
        let folder = tempfile::Builder::new().prefix("portcullis-postgres-").tempdir()?;
        if let Some(user) = user {
            chown(folder.path(), Some(user.uid), Some(user.gid))?;
        }
        create(programs, folder.path(), user)?;
        let port = free_port()?;
        let log = File::create(emitted.join("postgres.log"))?;
        let terms = Terms {
            user,
            signal: "INT", // its "fast" shutdown
            trash: Some(folder.path()),
            stdout: log.try_clone()?,
            stderr: log,
        };
        let mut leash = Leash::start(&server(programs, folder.path(), port), terms)?;
        until_ready(&mut leash, folder.path())
            .with_context(|| format!("see {}", emitted.join("postgres.log").display()))?;
        let _ = folder.keep(); // from here on the leash removes it
        Ok(Self { port, _leash: leash })
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres", self.port)
    }
}

/// PostgreSQL refuses to run as root: its own user then, or nobody.
fn unprivileged() -> Result<Option<User>> {
    if !is_root()? {
        return Ok(None);
    }
    let known = ["postgres", "nobody"].into_iter().find_map(|name| {
        let (uid, gid) = (id_of("-u", name)?, id_of("-g", name)?);
        Some(User { uid, gid })
    });
    match known {
        Some(user) => Ok(Some(user)),
        None => {
            bail!("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")
        }
    }
}

/// Sorts as languages do, unlike SQLite: what relies on the order of bytes has to see to it itself.
fn create(programs: &Path, folder: &Path, user: Option<User>) -> Result<()> {
    let mut command = Command::new(programs.join("initdb"));
    command.arg("-D").arg(folder.join("data")).args([
        "-U",
        SUPERUSER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--locale-provider=icu",
        "--icu-locale=en-US-u-ka-shifted",
        "-N",
    ]);
    command.current_dir("/");
    if let Some(user) = user {
        user.takes(&mut command);
    }
    shell::output_of(&mut command).map(|_| ())
}

fn server(programs: &Path, folder: &Path, port: u16) -> Command {
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    command.args(["-c", &format!("port={port}")]);
    command.args(["-c", &format!("unix_socket_directories={}", folder.display())]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    command
}

/// The server writes `ready` as the last line of its pid file.
fn until_ready(leash: &mut Leash, folder: &Path) -> Result<()> {
    let file = folder.join("data/postmaster.pid");
    for _ in 0..600 {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.lines().last().is_some_and(|line| line.trim() == "ready") {
            return Ok(());
        }
        if let Some(status) = leash.ended()? {
            bail!("PostgreSQL ended at its start: {status}");
        }
        pause();
    }
    bail!("PostgreSQL was not ready within 30 s")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "polls a file of another program")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
