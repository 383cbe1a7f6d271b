//! Hostile JSON through real servers of the Python and TypeScript SDKs: what `interop/corpus/run.py` and
//! `interop/corpus/run.mjs` find. A runner is given the corpus as files and exits with zero when all is good.
//!
//! Runners start at the root of the tree, with `PORTCULLIS_BINARY` (the built program) and
//! `PORTCULLIS_INTEROP` (a folder in the target folder that is theirs) in the environment. The JavaScript
//! one finds its packages there: `package.json` and its lock file are installed into that folder first, and
//! the runner is copied beside them, because modules are looked up from where a file lies.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::Verdict;
use crate::shell;
use crate::system::{Part, ensure};

pub(crate) fn run(bench: &Bench) -> Result<Verdict> {
    println!("== interop: hostile JSON");
    let source = shell::root().join("interop/corpus");
    let folder = bench.fresh("corpus")?;
    let mut commands = Vec::new();
    if source.join("run.py").is_file() {
        let mut command = bench.python.command();
        command.arg("interop/corpus/run.py");
        commands.push(command);
    }
    if source.join("run.mjs").is_file() {
        commands.push(node(bench, &source, &folder)?);
    }
    if commands.is_empty() {
        println!("   interop/corpus has no runner");
    }
    let mut verdict = Verdict::Good;
    for command in &mut commands {
        command
            .env("PORTCULLIS_BINARY", &bench.binary)
            .env("PORTCULLIS_INTEROP", &folder);
        if !shell::succeeds(command)? {
            verdict = Verdict::Bad;
        }
    }
    Ok(verdict)
}

fn node(bench: &Bench, source: &Path, folder: &Path) -> Result<std::process::Command> {
    let node = ensure(Part::Node, bench.consent, || {
        let node = shell::which(&["node"])?;
        shell::which(&["npm"]).map(|_| node)
    })?;
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "mjs" || extension == "json")
        {
            fs::copy(
                &path,
                folder.join(path.file_name().context("a file without a name")?),
            )?;
        }
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    if !shell::succeeds(
        shell::program("npm")
            .args(install)
            .arg("--prefix")
            .arg(folder),
    )? {
        bail!("npm could not install what interop/corpus/package.json asks for");
    }
    let mut command = shell::program(node);
    command.arg(folder.join("run.mjs"));
    Ok(command)
}
