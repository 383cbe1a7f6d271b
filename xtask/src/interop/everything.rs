//! A server that has a bit of everything, behind the gateway: what `interop/everything` finds.
//!
//! Its programs start at the root of the tree with `PORTCULLIS_INTEROP` (a folder in the target folder that is theirs)
//! and `PORTCULLIS_BINARY` in the environment; they start what they need, and end it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Bench, node};
use crate::Verdict;
use crate::shell;

const SOURCE: &str = "interop/everything";

/// The MCP conformance suite: whatever passes directly passes through.
pub(crate) fn conformance(bench: &Bench) -> Result<Verdict> {
    println!("== interop: MCP conformance");
    let folder = bench.fresh("conformance")?;
    let node = node::install(bench, SOURCE, &folder)?;
    let mut command = program(bench, "conformance.py", &folder);
    verdict(command.env("PORTCULLIS_NODE", node))
}

/// The Python SDK as client and as server.
pub(crate) fn servers(bench: &Bench) -> Result<Verdict> {
    println!("== interop: Python SDK servers");
    let folder = bench.fresh("servers")?;
    verdict(&mut program(bench, "client.py", &folder))
}

fn program(bench: &Bench, name: &str, folder: &Path) -> Command {
    let mut command = bench.python.command();
    command.arg(format!("{SOURCE}/{name}"));
    command.env("PORTCULLIS_INTEROP", folder).env("PORTCULLIS_BINARY", &bench.binary);
    command
}

fn verdict(command: &mut Command) -> Result<Verdict> {
    Ok(if shell::succeeds(command)? { Verdict::Good } else { Verdict::Bad })
}
