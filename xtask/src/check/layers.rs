//! Imports of the gateway point down its layers, whose order stands in its `lib.rs`. Tests may look further.

use std::fs;

use anyhow::{Result, ensure};

use crate::cargo::Workspace;
use crate::shell;

const SOURCES: &str = "crates/gateway/src/";

/// Everything of one gateway: its methods stand where their subject is.
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
    let mut problems = Vec::new();
    for file in files.split('\0').filter_map(|file| file.strip_prefix(SOURCES)) {
        if let Ok(text) = fs::read_to_string(shell::root().join(SOURCES).join(file)) {
            problems.extend(upward(file, &text, &layers).map(|name| format!("gateway: {file} -> {name}")));
        }
    }
    Ok(problems)
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
    let named = code.flat_map(|line| line.split("crate::").skip(1));
    named.filter(move |path| {
        let name = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let is_below = own.is_none_or(|own| place(name).is_some_and(|place| place <= own));
        let is_proof = || PROOFS.iter().any(|(by, proof)| *by == file && path.starts_with(proof));
        !is_test && !is_below && name != WHOLE && !is_proof()
    })
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
        assert_eq!(named("reach/target.rs", "use crate::decide::permitted::Current;"), [""; 0]);
    }
}
