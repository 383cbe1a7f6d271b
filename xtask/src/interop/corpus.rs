//! Hostile JSON through real servers of the Python and TypeScript SDKs: what `interop/corpus/run.py` finds.
//!
//! It starts at the root of the tree, with `PORTCULLIS_INTEROP` (a folder in the target folder that is its own) and
//! `PORTCULLIS_NODE` in the environment. The TypeScript servers find their packages in that folder.

use anyhow::Result;

use super::{Bench, node};
use crate::Verdict;
use crate::shell;

pub(crate) fn run(bench: &Bench) -> Result<Verdict> {
    println!("== interop: hostile JSON");
    let folder = bench.fresh("corpus")?;
    let node = node::prepare(bench, "interop/corpus", &folder)?;
    let mut command = bench.python.command();
    command.arg("interop/corpus/run.py").env("PORTCULLIS_INTEROP", &folder).env("PORTCULLIS_NODE", node);
    Ok(if shell::succeeds(&mut command)? { Verdict::Good } else { Verdict::Bad })
}
