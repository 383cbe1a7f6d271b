//! Hostile JSON through real servers of the Python and TypeScript SDKs: what `interop/corpus/run.py` finds.
//!
//! It starts at the root of the tree, with `PORTCULLIS_INTEROP` (a folder in the target folder that is its own) and
//! `PORTCULLIS_NODE` in the environment. The TypeScript servers find their packages in that folder: `package.json` and
//! its lock file are installed there first, and the servers are copied beside them, because modules are looked up from
//! where a file lies.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::Verdict;
use crate::shell;
use crate::system::{Part, ensure};

pub(crate) fn run(bench: &Bench) -> Result<Verdict> {
    println!("== interop: hostile JSON");
    let folder = bench.fresh("corpus")?;
    let node = node(bench, &shell::root().join("interop/corpus"), &folder)?;
    let mut command = bench.python.command();
    command.arg("interop/corpus/run.py").env("PORTCULLIS_INTEROP", &folder).env("PORTCULLIS_NODE", node);
    Ok(if shell::succeeds(&mut command)? { Verdict::Good } else { Verdict::Bad })
}

fn node(bench: &Bench, source: &Path, folder: &Path) -> Result<PathBuf> {
    let node = ensure(Part::Node, bench.consent, || {
        let node = shell::which(&["node"])?;
        shell::which(&["npm"]).map(|_| node)
    })?;
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs" || extension == "json") {
            fs::copy(&path, folder.join(path.file_name().context("a file without a name")?))?;
        }
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    if !shell::succeeds(shell::program("npm").args(install).arg("--prefix").arg(folder))? {
        bail!("npm could not install what interop/corpus/package.json asks for");
    }
    Ok(node)
}
