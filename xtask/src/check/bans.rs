//! Forbidden crates, licences and sources, by the lists of `deny.toml`, over what Linux really builds.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::licence;
use crate::cargo::{Resolved, Workspace, resolved};
use crate::shell;

#[derive(Deserialize)]
struct Deny {
    bans: Bans,
    licenses: Licences,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    source: Option<String>,
}

pub(crate) fn problems(_: &Workspace) -> Result<Vec<String>> {
    let deny: Deny = read("deny.toml")?;
    let lock: Lock = read("Cargo.lock")?;
    let all = resolved(&["--workspace", "--edges", "normal,build,dev"])?;
    let mut problems: Vec<String> = all.iter().flat_map(|found| deny.problems_with(found)).collect();
    problems.extend(lock.package.iter().filter_map(Locked::problem));
    println!(
        "   {} crates, {} banned names, {} licences",
        all.len(),
        deny.bans.deny.len(),
        deny.licenses.allow.len()
    );
    Ok(problems)
}

fn read<T: DeserializeOwned>(file: &str) -> Result<T> {
    let path: &Path = &shell::root().join(file);
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
    toml::from_str(&text).with_context(|| format!("{file} is not what we expect"))
}

impl Deny {
    fn problems_with(&self, found: &Resolved) -> Vec<String> {
        let Resolved { name, version, licence } = found;
        let ban = self.bans.deny.iter().find(|ban| ban.name == *name);
        let mut problems: Vec<String> =
            ban.map(|ban| format!("{name} {version} is banned: {}", ban.reason)).into_iter().collect();
        if !licence::allowed(licence, |id| self.licenses.has(name, id)) {
            problems.push(format!("{name} {version}: licence `{licence}` is not in the list"));
        }
        problems
    }
}

impl Licences {
    fn has(&self, name: &str, id: &str) -> bool {
        let exceptions = self.exceptions.iter().filter(|exception| exception.name == name);
        self.allow
            .iter()
            .chain(exceptions.flat_map(|exception| &exception.allow))
            .any(|allowed| allowed == id)
    }
}

impl Locked {
    fn problem(&self) -> Option<String> {
        let source = self.source.as_deref()?;
        let good = source.starts_with("registry+https://github.com/rust-lang/");
        (!good).then(|| format!("{} comes from {source}: only the default registry is allowed", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny() -> Deny {
        toml::from_str(
            r#"
            [bans]
            deny = [{ crate = "ring", reason = "no" }]
            [licenses]
            allow = ["MIT"]
            exceptions = [{ crate = "webdriver", allow = ["MPL-2.0"] }]
            "#,
        )
        .unwrap()
    }

    fn found(name: &str, licence: &str) -> Vec<String> {
        deny().problems_with(&Resolved {
            name: name.to_owned(),
            version: "1".to_owned(),
            licence: licence.to_owned(),
        })
    }

    #[test]
    fn bans_and_licences_are_both_told() {
        assert_eq!(found("ring", "GPL-3.0").len(), 2);
        assert_eq!(found("ring", "MIT"), ["ring 1 is banned: no"]);
        assert!(found("serde", "MIT").is_empty());
    }

    #[test]
    fn an_exception_holds_for_its_crate_only() {
        assert!(found("webdriver", "MPL-2.0").is_empty());
        assert_eq!(found("serde", "MPL-2.0").len(), 1);
    }

    #[test]
    fn a_git_dependency_is_a_problem() {
        let locked = |source: &str| Locked { name: "x".to_owned(), source: Some(source.to_owned()) };
        assert!(locked("git+https://example.com/x").problem().is_some());
        assert!(Locked { name: "ours".to_owned(), source: None }.problem().is_none());
    }
}
