//! The real binary, run as a stranger runs it: on a free port, ended as by Ctrl-C.

#![cfg(test)]
// Each test program uses a part of this.
#![expect(dead_code, reason = "shared by several test programs")]

pub(crate) mod callback;
pub(crate) mod chromium;
pub(crate) mod http;
pub(crate) mod pages;
pub(crate) mod person;

use portcullis_store::testing::TestDatabase;
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A running `serve`, with a folder of its own; it ends with this value, as by Ctrl-C.
pub(crate) struct Serving {
    pub(crate) child: Child,
    /// Where it listens.
    pub(crate) origin: String,
    folder: tempfile::TempDir,
    /// On PostgreSQL, when this run is about it; dropped when the server has ended.
    _database: TestDatabase,
}

impl Serving {
    /// Starts on a free port, in a new folder that `files` were written to; returns when the metadata answers.
    pub(crate) fn start(arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let database = database();
        if database.is_postgres() {
            let config = format!("database.url = {:?}\n", database.url());
            fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        }
        let address = format!("127.0.0.1:{}", free_port());
        // What it prints is for the person who started it, and holds passwords; what it logs must hold none.
        let printed = File::create(folder.path().join("stdout")).unwrap();
        let child = portcullis()
            .current_dir(folder.path())
            .args(["serve", "--listen", &address, "--data", "data"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(printed)
            .stderr(log("serve"))
            .spawn()
            .unwrap();
        let mut serving = Self { child, origin: format!("http://{address}"), folder, _database: database };
        let metadata = format!("{}/.well-known/oauth-authorization-server", serving.origin);
        until("the server is up", || {
            assert!(serving.child.try_wait().unwrap().is_none(), "the server ended at its start");
            http::get(&metadata).is_some_and(|answer| answer.status == 200).then_some(())
        });
        serving
    }

    /// What it printed, when `wanted` is among it.
    pub(crate) fn printed(&self, wanted: &str) -> String {
        until("it prints", || {
            let text = fs::read_to_string(self.folder.path().join("stdout")).ok()?;
            text.contains(wanted).then_some(text)
        })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Serving {
    /// Its children go with it. If it does not listen, it is killed.
    fn drop(&mut self) {
        let asked = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status();
        let ended = asked.is_ok_and(|status| status.success())
            && (0..200).any(|_| {
                pause();
                matches!(self.child.try_wait(), Ok(Some(_)))
            });
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// In a thread of its own, because some who ask are in a runtime already and others are not.
fn database() -> TestDatabase {
    let made = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(TestDatabase::create())
    });
    made.join().unwrap()
}

/// A running `serve --demo`.
pub(crate) struct Demo {
    pub(crate) serving: Serving,
    /// `demo.json`
    pub(crate) facts: Value,
}

impl Demo {
    /// Returns when it is up and has written its facts.
    pub(crate) fn start() -> Self {
        let serving = Serving::start(&["--demo"], &[]);
        let file = serving.data().join("demo.json");
        let facts = until("demo.json is there", || serde_json::from_slice(&fs::read(&file).ok()?).ok());
        Self { serving, facts }
    }

    pub(crate) fn issuer(&self) -> &str {
        self.facts["issuer"].as_str().unwrap()
    }

    /// The address of a demo server.
    pub(crate) fn server(&self, name: &str) -> &str {
        let servers = self.facts["servers"].as_array().unwrap();
        let server = servers.iter().find(|server| server["name"] == name).unwrap();
        server["url"].as_str().unwrap()
    }

    /// The agent's client id and secret.
    pub(crate) fn agent(&self) -> (&str, &str) {
        let text = |name: &str| self.facts["agent"][name].as_str().unwrap();
        (text("client_id"), text("client_secret"))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.serving.data()
    }
}

/// The binary, with nothing of ours in its environment.
pub(crate) fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    for name in ["PORTCULLIS_CLIENT_ID", "PORTCULLIS_CLIENT_SECRET", "PORTCULLIS_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// What a command did. `Debug` shows stderr only: stdout may be a token.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap()
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}, stderr: {}", self.status, self.stderr)
    }
}

/// Runs to the end. Errors are kept for the search for secrets.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let mut log = log("command");
    std::io::Write::write_all(&mut log, &output.stderr).unwrap();
    Ran {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A file of its own for what a process logs: searched for secrets afterwards, when `cargo xtask test` asks for it.
pub(crate) fn log(what: &str) -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder = variable("PORTCULLIS_TEST_EMITTED")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("emitted"), PathBuf::from);
    fs::create_dir_all(&folder).unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    File::create(folder.join(format!("cli-{what}-{}-{number}.log", std::process::id()))).unwrap()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again until there is an answer; a minute is more than anything here needs.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(answer) = ask() {
            return answer;
        }
        pause();
    }
    panic!("not within a minute: {what}");
}

#[expect(clippy::disallowed_methods, reason = "polls another process")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

#[expect(clippy::disallowed_methods, reason = "what `cargo xtask test` tells its tests")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
