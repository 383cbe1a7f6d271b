//! Imports of the gateway point down its layers, whose order stands in its `lib.rs`. Tests may look further.

use std::fs;

use anyhow::{Result, ensure};

use crate::cargo::Workspace;
use crate::shell;

const SOURCES: &str = "crates/gateway/src/";

/// Everything of one gateway: its methods stand where their subject is. Calls of them are not seen here, whoever's they are.
const WHOLE: &str = "Inner";

/// What may be imported from above all the same, by which file: proofs that are made there and nowhere else.
const PROOFS: &[(&str, &str)] = &[
    // Nothing is sent without a permit of this moment.
    ("reach/target.rs", "decide::permitted::Current"),
    // Nothing but our own look at a server goes out without one.
    ("decide/authorize.rs", "survey::Probe"),
    ("decide/permitted.rs", "survey::Probe"),
];

pub(crate) fn problems(_: &Workspace) -> Result<Vec<String>> {
    let lib = fs::read_to_string(shell::root().join(SOURCES).join("lib.rs"))?;
    let layers = layers(&lib);
    ensure!(!layers.is_empty(), "the gateway lists no layers");
    let list = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let files = shell::output_of(shell::program("git").args(list).arg(SOURCES))?;
    let names = files.split('\0').filter_map(|file| file.strip_prefix(SOURCES));
    let read = |file| Some((file, fs::read_to_string(shell::root().join(SOURCES).join(file)).ok()?));
    Ok(broken(&names.filter_map(read).collect::<Vec<_>>(), &layers, PROOFS))
}

/// What is imported from above and is no proof, and proofs that nobody imports.
fn broken(files: &[(&str, String)], layers: &[&str], proofs: &[(&str, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut unused = proofs.to_vec();
    for (file, text) in files {
        for path in upward(file, text, layers) {
            let is_this = |(by, proof): &(&str, &str)| by == file && is_at(path, proof);
            if proofs.iter().any(is_this) {
                unused.retain(|proof| !is_this(proof));
            } else {
                problems.push(format!("gateway: {file} -> {path}"));
            }
        }
    }
    problems.extend(unused.iter().map(|(by, proof)| format!("gateway: {by} does not import {proof}")));
    problems
}

fn layers(lib: &str) -> Vec<&str> {
    lib.lines().filter_map(|line| Some(line.strip_prefix("//! - `")?.split_once('`')?.0)).collect()
}

/// What a file of a layer names that does not stand in its own or a lower one.
fn upward<'a>(file: &'a str, text: &'a str, layers: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let place = |name: &str| layers.iter().position(|layer| *layer == name);
    let own = file.split(['/', '.']).next().and_then(place);
    let is_test = file.split(['/', '.']).any(|part| part == "tests");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    // From a file this deep, that is the root of the crate as well.
    let climb = "super::".repeat(file.split('/').count());
    let named = code.flat_map(move |line| {
        let climbed = line.split(&climb).skip(1).collect::<Vec<_>>();
        line.split("crate::").skip(1).chain(climbed)
    });
    named.filter(move |path| {
        let name = path.split(|c| !is_of_name(c)).next().unwrap_or_default();
        let is_below = own.is_none_or(|own| place(name).is_some_and(|place| place <= own));
        !is_test && !is_below && name != WHOLE
    })
}

/// Whether `path` begins with all of `proof`, and not with a longer name.
fn is_at(path: &str, proof: &str) -> bool {
    path.strip_prefix(proof).is_some_and(|rest| !rest.starts_with(is_of_name))
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_from_above_is_named() {
        let layers = layers("//! - `low`: one\n//! - `high`: two\n");
        let named = |file, text| upward(file, text, &layers).collect::<Vec<_>>();
        assert_eq!(named("low/a.rs", "use crate::high::b::B;\nuse crate::low::c;"), ["high::b::B;"]);
        assert_eq!(named("low.rs", "use crate::{Gateway, Inner};"), ["{Gateway, Inner};"]);
        assert_eq!(named("high/b.rs", "use crate::Inner;\nuse crate::low::a;\n// crate::lib"), [""; 0]);
        assert_eq!(named("low/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::high::b;"), [""; 0]);
    }

    #[test]
    fn an_import_by_way_of_the_root_is_named() {
        let named = |file, text| upward(file, text, &["low", "high"]).collect::<Vec<_>>();
        assert_eq!(named("low.rs", "use super::high::B;"), ["high::B;"]);
        assert_eq!(named("low/a.rs", "use super::super::high::B;"), ["high::B;"]);
        assert_eq!(named("low/a.rs", "use super::b;\npub(super) fn a() {}"), [""; 0]);
        assert_eq!(named("high/b/c.rs", "use super::super::super::low::A;\nuse super::super::d;"), [""; 0]);
    }

    #[test]
    fn only_the_very_proof_passes_and_one_that_nobody_imports_is_named() {
        let broken = |text: &str| {
            broken(&[("low/a.rs", text.to_owned())], &["low", "high"], &[("low/a.rs", "high::Proof")])
        };
        assert_eq!(broken("use crate::high::Proof;"), [""; 0]);
        let unused = "gateway: low/a.rs does not import high::Proof";
        assert_eq!(broken("use crate::high::ProofX;"), ["gateway: low/a.rs -> high::ProofX;", unused]);
        assert_eq!(broken(""), [unused]);
    }
}
