//! Node with the pinned packages of `interop/package.json`, for one part.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::shell;
use crate::system::{Part, ensure};

/// Installs the packages into `folder` and copies the programs of `source` beside them, because modules are looked up
/// from where a file lies. The answer is the program `node`.
pub(crate) fn prepare(bench: &Bench, source: &str, folder: &Path) -> Result<PathBuf> {
    let node = ensure(Part::Node, bench.consent, || {
        let node = shell::which(&["node"])?;
        shell::which(&["npm"]).map(|_| node)
    })?;
    let root = shell::root();
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root.join("interop").join(name), folder.join(name))?;
    }
    for entry in fs::read_dir(root.join(source))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&path, folder.join(path.file_name().context("a file without a name")?))?;
        }
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    if !shell::succeeds(shell::program("npm").args(install).arg("--prefix").arg(folder))? {
        bail!("npm could not install what interop/package.json asks for");
    }
    Ok(node)
}
