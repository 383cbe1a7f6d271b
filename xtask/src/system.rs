//! Parts that come from the system's package manager: found, or installed, or asked for by name.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// Whether we may install what is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Given,
    OnlyAsRoot,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Browser,
    Node,
    PostgreSql,
    Python,
}

/// What `find` finds; if nothing, then after installing the part. Never nothing in silence.
pub(crate) fn ensure<T>(part: Part, consent: Consent, find: impl Fn() -> Option<T>) -> Result<T> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let root = is_root()?;
    let Some(manager) = Manager::of_this_system() else {
        bail!("{} is missing, and no package manager that we know is here: install it by hand", part.name());
    };
    let commands = manager.commands(part, if root { Rights::Root } else { Rights::Sudo });
    if !root && consent != Consent::Given {
        bail!("{} is missing; install it with\n    {}\nor pass --yes", part.name(), commands.join(" && "));
    }
    for command in &commands {
        println!("$ {command}");
        if !shell::program("sh").args(["-c", command]).status()?.success() {
            bail!("`{command}` failed: {} is missing", part.name());
        }
    }
    match find() {
        Some(found) => Ok(found),
        None => bail!("{} is still not found after `{}`", part.name(), commands.join(" && ")),
    }
}

pub(crate) fn is_root() -> Result<bool> {
    Ok(shell::output_of(Command::new("id").arg("-u"))?.trim() == "0")
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Browser => "Chromium with chromedriver",
            Self::Node => "Node.js with npm",
            Self::PostgreSql => "the PostgreSQL server",
            Self::Python => "Python 3 with venv",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    Sudo,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apk,
    Apt,
    Dnf,
    Pacman,
}

impl Manager {
    fn of_this_system() -> Option<Self> {
        let known =
            [(Self::Apt, "apt-get"), (Self::Dnf, "dnf"), (Self::Apk, "apk"), (Self::Pacman, "pacman")];
        known.into_iter().find(|(_, program)| shell::which(&[program]).is_some()).map(|(manager, _)| manager)
    }

    fn packages(self, part: Part) -> &'static str {
        match (self, part) {
            (Self::Apk, Part::Browser) => "chromium chromium-chromedriver",
            (Self::Apt, Part::Browser) => "chromium chromium-driver",
            (Self::Dnf, Part::Browser) => "chromium chromedriver",
            (Self::Pacman, Part::Browser) => "chromium",
            (Self::Apk | Self::Apt | Self::Dnf | Self::Pacman, Part::Node) => "nodejs npm",
            (Self::Apk | Self::Apt | Self::Pacman, Part::PostgreSql) => "postgresql",
            (Self::Dnf, Part::PostgreSql) => "postgresql-server",
            (Self::Apt, Part::Python) => "python3 python3-venv",
            (Self::Apk | Self::Dnf, Part::Python) => "python3",
            (Self::Pacman, Part::Python) => "python",
        }
    }

    fn commands(self, part: Part, rights: Rights) -> Vec<String> {
        let packages = self.packages(part);
        let commands = match self {
            Self::Apk => vec![format!("apk add {packages}")],
            Self::Apt => vec![
                "apt-get update".to_owned(),
                format!(
                    "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {packages}"
                ),
            ],
            Self::Dnf => vec![format!("dnf install -y {packages}")],
            Self::Pacman => vec![format!("pacman -Sy --noconfirm {packages}")],
        };
        match rights {
            Rights::Root => commands,
            Rights::Sudo => commands.into_iter().map(|command| format!("sudo {command}")).collect(),
        }
    }
}

/// The number that `id -u NAME` or `id -g NAME` prints, if the system knows the name.
pub(crate) fn id_of(option: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([option, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Whether the folder holds all of these programs.
pub(crate) fn holds(folder: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed() {
        assert_eq!(ensure(Part::Python, Consent::OnlyAsRoot, || Some(1)).unwrap(), 1);
    }

    #[test]
    fn without_root_the_commands_go_through_sudo() {
        let commands = Manager::Apt.commands(Part::Browser, Rights::Sudo);
        assert_eq!(commands[0], "sudo apt-get update");
        assert!(commands[1].starts_with("sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y"));
        assert!(commands[1].ends_with("chromium chromium-driver"));
    }
}
