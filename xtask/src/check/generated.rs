//! What can be generated is checked in, and is what its command prints today.

use std::fs;

use anyhow::{Context, Result};

use crate::cargo::{self, Workspace};
use crate::shell;

/// A file of the tree, and the arguments of `portcullis` that print it.
const GENERATED: &[(&str, &[&str])] = &[
    ("docs/config.schema.json", &["config", "schema"]),
    ("docs/openapi.json", &["config", "openapi"]),
    ("docs/fleet.schema.json", &["config", "fleet-schema"]),
    ("docs/configuration.md", &["config", "reference"]),
];

pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    // The same build that interop and the tests use.
    let binary = cargo::build(workspace)?.portcullis.context("the build made no program named portcullis")?;
    let mut problems = Vec::new();
    for (file, arguments) in GENERATED {
        let today = shell::output_of(shell::program(&binary).args(*arguments))?;
        let path = shell::root().join(file);
        let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        if kept != today {
            problems.push(format!("{file} is stale: write what `portcullis {}` prints", arguments.join(" ")));
        }
    }
    Ok(problems)
}
