//! `cargo xtask interop`: the demo, driven by software that others wrote.

mod abuse;
mod corpus;
mod demo;
mod everything;
mod node;
mod python;
mod sdk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::python::Python;
use crate::Verdict;
use crate::cargo::{self, Workspace};
use crate::system::Consent;

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The black-box abuse checks
    Abuse,
    /// The MCP conformance suite, directly and through the gateway
    Conformance,
    /// Hostile JSON through real SDK servers
    Corpus,
    /// The Python SDK, through sign-in, consent, calls and refresh
    Sdk,
    /// Servers of the Python SDK behind the gateway, by HTTP and by stdio
    Servers,
    /// The TypeScript SDKs, the same way
    Typescript,
}

/// What every part is given.
struct Bench {
    folder: PathBuf,
    python: Python,
    binary: PathBuf,
    consent: Consent,
}

pub(crate) fn run(consent: Consent, binary: Option<PathBuf>, only: Option<Part>) -> Result<Verdict> {
    let workspace = Workspace::read()?;
    let folder = workspace.folder("interop")?;
    println!("== interop: Python");
    let python = Python::ensure(&folder.join("venv"), consent)?;
    let binary = match binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
        None => build(&workspace)?,
    };
    let bench = Bench { folder, python, binary, consent };
    let mut verdict = Verdict::Good;
    for part in [Part::Sdk, Part::Typescript, Part::Servers, Part::Conformance, Part::Abuse, Part::Corpus] {
        if only.is_none_or(|only| only == part) && bench.run(part)? == Verdict::Bad {
            verdict = Verdict::Bad;
        }
    }
    println!("== interop: {}", if verdict == Verdict::Good { "good" } else { "FAILED" });
    Ok(verdict)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    println!("== interop: build");
    cargo::build(workspace)?.portcullis.context("the build made no program named portcullis")
}

impl Bench {
    fn run(&self, part: Part) -> Result<Verdict> {
        match part {
            Part::Abuse => abuse::run(self),
            Part::Conformance => everything::conformance(self),
            Part::Corpus => corpus::run(self),
            Part::Sdk => sdk::python(self),
            Part::Servers => everything::servers(self),
            Part::Typescript => sdk::typescript(self),
        }
    }

    /// A folder for one part, empty.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
