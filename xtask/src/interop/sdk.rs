//! The unmodified SDKs of MCP as clients of the demo, and then a search for secrets in the demo's log.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::demo::{Demo, Log};
use super::{Bench, node, shown};
use crate::Verdict;
use crate::shell;
use crate::test::secrets;

/// Streams see their tokens end.
const SHORT_LIVES: &str = "insecure_short_tokens = true\n[tokens]\naccess = \"3s\"\nleeway = \"2s\"\n";

pub(crate) fn python(bench: &Bench) -> Result<Verdict> {
    println!("== interop: Python SDK");
    let mut client = bench.python.command();
    client.arg("interop/python_sdk.py");
    let first = drive(bench, &bench.fresh("sdk")?, client, "")?;
    let mut client = bench.python.command();
    client.arg("interop/python_streams.py");
    let second = drive(bench, &bench.fresh("sdk-streams")?, client, SHORT_LIVES)?;
    Ok(if first == Verdict::Good { second } else { first })
}

pub(crate) fn typescript(bench: &Bench) -> Result<Verdict> {
    println!("== interop: TypeScript SDKs");
    let folder = bench.fresh("typescript")?;
    let mut client = shell::program(node::prepare(bench, "interop", &folder)?);
    client.arg(folder.join("typescript_sdk.mjs"));
    drive(bench, &folder, client, "")
}

fn drive(bench: &Bench, folder: &Path, mut client: Command, configuration: &str) -> Result<Verdict> {
    let demo = Demo::start_with(&bench.binary, folder, Log::Everything, configuration)?;
    demo.takes_http_sse(&bench.binary)?;
    let good = shell::succeeds(client.arg(&demo.facts))?;
    let hits = secrets::scan_file(&demo.log)?;
    for hit in &hits {
        println!("   {hit}");
    }
    println!("   secrets in {}: {}", shown(&demo.log), if hits.is_empty() { "none" } else { "FOUND" });
    Ok(if good && hits.is_empty() { Verdict::Good } else { Verdict::Bad })
}
