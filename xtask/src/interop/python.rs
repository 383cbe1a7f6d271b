//! A Python with the pinned packages of `interop/requirements.txt`, in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::shell;
use crate::system::{Consent, Part, ensure};

pub(crate) struct Python {
    file: PathBuf,
}

impl Python {
    pub(crate) fn ensure(venv: &Path, consent: Consent) -> Result<Self> {
        let system = ensure(Part::Python, consent, find)?;
        let python = Self { file: venv.join("bin/python") };
        let wanted = fs::read_to_string(shell::root().join("interop/requirements.txt"))?;
        let stamp = venv.join("installed.txt");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            println!("   {} has what interop/requirements.txt asks for", python.file.display());
            return Ok(python);
        }
        let mut make = shell::program(system);
        must(make.args(["-m", "venv", "--clear"]).arg(venv))?;
        let mut install = python.command();
        must(
            install
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--requirement", "interop/requirements.txt"]),
        )?;
        fs::write(stamp, wanted)?;
        Ok(python)
    }

    /// Python, to be run at the root; what it prints comes out at once.
    pub(crate) fn command(&self) -> Command {
        let mut command = shell::program(&self.file);
        command.arg("-u").env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Debian packs Python without what a virtual environment needs: look for that too.
fn find() -> Option<PathBuf> {
    let file = shell::which(&["python3"])?;
    let mut probe = shell::program(&file);
    probe.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success()).then_some(file)
}

fn must(command: &mut Command) -> Result<()> {
    if !shell::succeeds(command)? {
        bail!("`{}` failed", shell::words(command));
    }
    Ok(())
}
