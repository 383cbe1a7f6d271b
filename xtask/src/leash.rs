//! A child that cannot outlive us, however we end.
//!
//! The child runs under a small shell that waits at the other end of a pipe. When we let go, return
//! early, are interrupted or killed, the pipe closes; the shell then stops the child, first politely,
//! and removes its folder.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

const KEEPER: &str = r#"
signal=$1; trash=$2; shift 2
exec 3<&0
"$@" 3<&- </dev/null &
child=$!
trap '' INT HUP TERM
( while read -r _ <&3; do :; done
  kill -s "$signal" "$child"; sleep 10; kill -s KILL "$child" ) 2>/dev/null &
watcher=$!
wait "$child"; status=$?
kill -s KILL "$watcher" 2>/dev/null
[ -z "$trash" ] || rm -rf "$trash"
exit "$status"
"#;

/// A user to run as, by number.
#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    pub(crate) fn takes(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// How to start and end a child: as whom, the polite signal, what to remove when it has ended, and where
/// its output goes. A child that does not handle `INT` itself does not hear it: it starts in the background.
pub(crate) struct Terms<'a> {
    pub(crate) user: Option<User>,
    pub(crate) signal: &'static str,
    pub(crate) trash: Option<&'a Path>,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

pub(crate) struct Leash {
    keeper: Child,
}

impl Leash {
    pub(crate) fn start(command: &Command, terms: Terms<'_>) -> Result<Self> {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "leash", terms.signal]).arg(terms.trash.unwrap_or(Path::new("")));
        keeper.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        if let Some(user) = terms.user {
            user.takes(&mut keeper);
        }
        keeper.current_dir("/").stdin(Stdio::piped()).stdout(terms.stdout).stderr(terms.stderr);
        let keeper = keeper
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { keeper })
    }

    /// How the child ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.keeper.try_wait()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // The keeper ends within 10 s: it kills what does not listen.
        let _ = self.keeper.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(trash: Option<&Path>) -> Terms<'_> {
        let nowhere = || tempfile::tempfile().unwrap();
        Terms { user: None, signal: "TERM", trash, stdout: nowhere(), stderr: nowhere() }
    }

    #[test]
    fn letting_go_ends_the_child_and_removes_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let trash = folder.path().join("trash");
        std::fs::create_dir(&trash).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        drop(Leash::start(&command, terms(Some(&trash))).unwrap());
        assert!(!trash.exists());
    }

    #[test]
    fn a_child_that_ends_by_itself_is_noticed() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        let mut leash = Leash::start(&command, terms(None)).unwrap();
        let held = leash.keeper.stdin.take(); // `wait` would let go of it
        assert_eq!(leash.keeper.wait().unwrap().code(), Some(7));
        drop(held);
        assert!(leash.ended().unwrap().is_some());
    }
}
