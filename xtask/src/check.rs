//! `cargo xtask check`: all that can be known without running the product. Every check runs, so that one
//! look shows every problem.

mod bans;
mod edges;
mod generated;
mod layers;
mod licence;
mod links;
mod words;

use anyhow::Result;

use crate::Verdict;
use crate::cargo::Workspace;
use crate::shell;

/// A check returns its problems, one line each; none means good.
type Check = fn(&Workspace) -> Result<Vec<String>>;

const CHECKS: &[(&str, Check)] = &[
    ("format", format),
    ("edges between crates", edges::problems),
    ("layers of the gateway", layers::problems),
    ("dependencies", bans::problems),
    ("cargo-deny", cargo_deny),
    ("links in documents", links::problems),
    ("words that stay at home", words::problems),
    ("lints", lints),
    ("documentation", documentation),
    ("generated files", generated::problems),
];

pub(crate) fn run() -> Result<Verdict> {
    let workspace = Workspace::read()?;
    let mut bad = Vec::new();
    for (name, check) in CHECKS {
        println!("== check: {name}");
        let problems = check(&workspace).unwrap_or_else(|error| vec![format!("{error:#}")]);
        for problem in &problems {
            println!("   {problem}");
        }
        if !problems.is_empty() {
            bad.push(*name);
        }
    }
    if bad.is_empty() {
        println!("== check: all {} good", CHECKS.len());
        return Ok(Verdict::Good);
    }
    println!("== check: {} of {} failed: {}", bad.len(), CHECKS.len(), bad.join(", "));
    Ok(Verdict::Bad)
}

fn format(_: &Workspace) -> Result<Vec<String>> {
    cargo(&["fmt", "--all", "--check"], "run `cargo fmt --all`")
}

fn lints(_: &Workspace) -> Result<Vec<String>> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], "see above")
}

fn documentation(_: &Workspace) -> Result<Vec<String>> {
    let mut command = shell::cargo();
    command.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    Ok(if shell::succeeds(&mut command)? { Vec::new() } else { vec!["see above".to_owned()] })
}

fn cargo_deny(_: &Workspace) -> Result<Vec<String>> {
    if shell::which(&["cargo-deny"]).is_none() {
        println!(
            "   NOTE: cargo-deny is not installed; the check before this one covered bans, licences and sources"
        );
        println!("         on Linux only (`cargo install --locked cargo-deny` for all targets)");
        return Ok(Vec::new());
    }
    cargo(&["deny", "--offline", "--workspace", "check", "bans", "licenses", "sources"], "see above")
}

fn cargo(arguments: &[&str], hint: &str) -> Result<Vec<String>> {
    let good = shell::succeeds(shell::cargo().args(arguments))?;
    Ok(if good { Vec::new() } else { vec![hint.to_owned()] })
}
