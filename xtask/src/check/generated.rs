//! What can be generated is checked in, and is what its command prints today.

use std::fs;

use anyhow::{Context, Result};

use crate::cargo::Workspace;
use crate::shell;

/// A file of the tree, and the arguments of `portcullis` that print it.
const GENERATED: &[(&str, &[&str])] = &[];

pub(crate) fn problems(_: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (file, arguments) in GENERATED {
        let mut command = shell::cargo();
        command.args(["run", "--quiet", "--package", "portcullis", "--"]).args(*arguments);
        let today = shell::output_of(&mut command)?;
        let path = shell::root().join(file);
        let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        if kept != today {
            problems.push(format!("{file} is stale: write what `portcullis {}` prints", arguments.join(" ")));
        }
    }
    Ok(problems)
}
