//! The black-box abuse checks, where they are: a folder beside the repository, written by people who do not
//! write the product.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Bench;
use super::demo::{Demo, Log};
use crate::Verdict;
use crate::shell;

/// Groups in which something must be proven: skipping everything proves nothing.
const PROVEN: &[&str] = &[
    "AUD", "AUTHZ", "BEAR", "CODE", "DISC", "GW", "HDR", "HTTP", "JWT", "KEY", "PKCE", "REDIR", "REFR",
    "REVO", "RPC", "SCOPE", "STRM", "TOK",
];

/// What the checks skip, by the beginning of their ids, and why. Everything else must pass.
const SKIPPED: &[(&str, &str)] = &[
    ("AUD-14", "there is no DPoP yet"),
    ("CIMD-", "there are no client metadata documents yet"),
    ("CLI-07", "there is no private_key_jwt yet"),
    ("CLI-08", "there is no private_key_jwt yet"),
    ("CLI-09", "there is no private_key_jwt yet"),
    ("DPOP-", "there is no DPoP yet"),
    ("PAR-", "there are no pushed authorization requests yet"),
    ("XCHG-", "there is no token exchange yet"),
];

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

    /// Why it may be skipped.
    fn excuse(&self) -> Option<&'static str> {
        SKIPPED.iter().find(|(id, _)| self.id.starts_with(id)).map(|(_, why)| *why)
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
    let table = folder.join("result.json");
    let mut run = bench.python.command();
    run.arg("interop/everything/abuse.py").arg(&demo.facts).arg(checks).arg(&table);
    run.env("PORTCULLIS_INTEROP", &folder).env("PORTCULLIS_BINARY", &bench.binary);
    shell::succeeds(&mut run)?;
    let text = fs::read_to_string(&table).context("the abuse checks did not run")?;
    Ok(judge(&serde_json::from_str::<Vec<Row>>(&text)?))
}

fn find() -> Option<PathBuf> {
    let folder: &Path = &shell::root().join("../shared/abuse-checks");
    folder.join("run.py").is_file().then(|| folder.canonicalize().ok()).flatten()
}

fn judge(rows: &[Row]) -> Verdict {
    let mut verdict = Verdict::Good;
    for row in rows {
        match (row.result, row.excuse()) {
            (Outcome::Pass, _) => continue,
            (Outcome::Skip, Some(why)) => {
                println!("   skipped, {why}: {} {}", row.id, row.title);
                continue;
            }
            (Outcome::Skip, None) => println!("   MUST NOT BE SKIPPED: {} {}", row.id, row.title),
            (Outcome::Fail, _) => println!("   MUST NOT FAIL: {} {}", row.id, row.title),
        }
        verdict = Verdict::Bad;
    }
    let unproven = unproven(rows);
    if !unproven.is_empty() {
        println!("   MUST BE PROVEN: nothing passed in {}", unproven.join(", "));
        verdict = Verdict::Bad;
    }
    verdict
}

/// Groups in which something must pass, and nothing did.
fn unproven(rows: &[Row]) -> Vec<&'static str> {
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.result == Outcome::Pass) {
        *passed.entry(row.group()).or_default() += 1;
    }
    PROVEN.iter().filter(|group| !passed.contains_key(**group)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(odd: Option<(&str, Outcome)>) -> Vec<Row> {
        let row = |id: String, result| Row { result, id, title: "t".to_owned() };
        let good = PROVEN.iter().map(|group| row(format!("{group}-01"), Outcome::Pass));
        good.chain(odd.map(|(id, result)| row(id.to_owned(), result))).collect()
    }

    #[test]
    fn failures_count_and_so_does_what_is_skipped_without_a_reason() {
        assert!(judge(&rows(None)) == Verdict::Good);
        assert!(judge(&rows(Some(("UI-04", Outcome::Fail)))) == Verdict::Bad);
        assert!(judge(&rows(Some(("JWT-04", Outcome::Fail)))) == Verdict::Bad);
        assert!(judge(&rows(Some(("JWT-04", Outcome::Skip)))) == Verdict::Bad);
        assert!(judge(&rows(Some(("PAR-02", Outcome::Skip)))) == Verdict::Good);
        assert!(judge(&rows(Some(("PAR-02", Outcome::Fail)))) == Verdict::Bad);
    }

    #[test]
    fn an_empty_table_proves_nothing() {
        assert!(judge(&[]) == Verdict::Bad);
        assert_eq!(unproven(&[]).len(), PROVEN.len());
    }

    #[test]
    fn the_table_is_read_as_the_checks_write_it() {
        let text = r#"[{"result":"FAIL","id":"GW-00","title":"t","evidence":"e","seconds":0.1}]"#;
        let rows: Vec<Row> = serde_json::from_str(text).unwrap();
        assert_eq!((rows[0].result, rows[0].group()), (Outcome::Fail, "GW"));
    }
}
