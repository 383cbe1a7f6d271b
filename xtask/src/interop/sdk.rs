//! The unmodified Python SDK of MCP against the demo, and then a search for secrets in the demo's log.

use anyhow::Result;

use super::demo::{Demo, Log};
use super::{Bench, shown};
use crate::Verdict;
use crate::shell;
use crate::test::secrets;

pub(crate) fn run(bench: &Bench) -> Result<Verdict> {
    println!("== interop: Python SDK");
    let demo = Demo::start(&bench.binary, &bench.fresh("sdk")?, Log::Everything)?;
    let good = shell::succeeds(bench.python.command().arg("interop/python_sdk.py").arg(&demo.facts))?;
    let hits = secrets::scan_file(&demo.log)?;
    for hit in &hits {
        println!("   {hit}");
    }
    println!("   secrets in {}: {}", shown(&demo.log), if hits.is_empty() { "none" } else { "FOUND" });
    Ok(if good && hits.is_empty() { Verdict::Good } else { Verdict::Bad })
}
