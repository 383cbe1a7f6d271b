//! The black-box abuse checks, where they are: a folder beside the repository, written by people who do not
//! write the product.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Bench;
use super::demo::{Demo, Log};
use crate::Verdict;
use crate::shell;

/// Groups in which nothing may fail. Failures elsewhere are listed, and belong to issues that are still open.
const BINDING: &[&str] =
    &["AUD", "AUTHZ", "BEAR", "CODE", "DISC", "GW", "JWT", "KEY", "PKCE", "REDIR", "REFR", "TOK"];

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Outcome {
    Fail,
    Pass,
    Skip,
}

#[derive(Deserialize)]
struct Row {
    result: Outcome,
    id: String,
    title: String,
}

impl Row {
    fn group(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }

    fn is_binding(&self) -> bool {
        BINDING.contains(&self.group())
    }
}

pub(crate) fn run(bench: &Bench) -> Result<Verdict> {
    println!("== interop: abuse checks");
    let Some(checks) = find() else {
        println!("   ../shared/abuse-checks is not here: not run");
        return Ok(Verdict::Good);
    };
    let folder = bench.fresh("abuse")?;
    // Its own demo: the checks flood it and lock the sign-in.
    let demo = Demo::start(&bench.binary, &folder, Log::Usual)?;
    let target = folder.join("target.json");
    let mut describe = bench.python.command();
    describe.arg(checks.join("from_demo.py")).arg(&demo.facts).stdout(File::create(&target)?);
    if !shell::succeeds(&mut describe)? {
        bail!("demo.json is not what the abuse checks expect");
    }
    let table = folder.join("result.json");
    let mut run = bench.python.command();
    shell::succeeds(run.arg(checks.join("run.py")).arg(&target).arg("--json").arg(&table))?;
    let text = fs::read_to_string(&table).context("the abuse checks did not run")?;
    Ok(judge(&serde_json::from_str::<Vec<Row>>(&text)?))
}

fn find() -> Option<PathBuf> {
    let folder: &Path = &shell::root().join("../shared/abuse-checks");
    folder.join("run.py").is_file().then(|| folder.canonicalize().ok()).flatten()
}

fn judge(rows: &[Row]) -> Verdict {
    let failed = |binding: bool| {
        rows.iter().filter(move |row| row.result == Outcome::Fail && row.is_binding() == binding)
    };
    for row in failed(false) {
        println!("   known open: {} {}", row.id, row.title);
    }
    for row in failed(true) {
        println!("   MUST NOT FAIL: {} {}", row.id, row.title);
    }
    let unproven = unproven(rows);
    if !unproven.is_empty() {
        println!("   MUST BE PROVEN: nothing passed in {}", unproven.join(", "));
    }
    if failed(true).count() == 0 && unproven.is_empty() { Verdict::Good } else { Verdict::Bad }
}

/// Binding groups in which nothing passed: skipping everything is not a proof.
fn unproven(rows: &[Row]) -> Vec<&'static str> {
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.result == Outcome::Pass) {
        *passed.entry(row.group()).or_default() += 1;
    }
    BINDING.iter().filter(|group| !passed.contains_key(**group)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(odd: Option<(&str, Outcome)>) -> Vec<Row> {
        let row = |id: String, result| Row { result, id, title: "t".to_owned() };
        let good = BINDING.iter().map(|group| row(format!("{group}-01"), Outcome::Pass));
        good.chain(odd.map(|(id, result)| row(id.to_owned(), result))).collect()
    }

    #[test]
    fn a_failure_counts_in_binding_groups_only() {
        assert!(judge(&rows(None)) == Verdict::Good);
        assert!(judge(&rows(Some(("RPC-04", Outcome::Fail)))) == Verdict::Good);
        assert!(judge(&rows(Some(("JWT-04", Outcome::Fail)))) == Verdict::Bad);
        assert!(judge(&rows(Some(("JWT-04", Outcome::Skip)))) == Verdict::Good);
    }

    #[test]
    fn an_empty_table_proves_nothing() {
        assert!(judge(&[]) == Verdict::Bad);
        assert_eq!(unproven(&[]).len(), BINDING.len());
    }

    #[test]
    fn the_table_is_read_as_the_checks_write_it() {
        let text = r#"[{"result":"FAIL","id":"GW-00","title":"t","evidence":"e","seconds":0.1}]"#;
        let rows: Vec<Row> = serde_json::from_str(text).unwrap();
        assert_eq!((rows[0].result, rows[0].group()), (Outcome::Fail, "GW"));
    }
}
