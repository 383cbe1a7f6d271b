//! Words of the places where we work (paths of machines, hosts of package registries) stay out of the tree.

use std::fs;

use anyhow::Result;

use crate::cargo::Workspace;
use crate::shell;

/// Written in halves, so that this file does not accuse itself.
const WORDS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("fa", "rm-"),
    concat!("DEVEL", "OPERS.md"),
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
];

/// Lock files name where packages come from; that is their job.
const LOCKS: &[&str] = &["Cargo.lock", "package-lock.json"];

pub(crate) fn problems(_: &Workspace) -> Result<Vec<String>> {
    // The tree may belong to another user, as on a build machine.
    let list = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let files = shell::output_of(shell::program("git").args(list))?;
    let mut problems = Vec::new();
    for file in files.split('\0').filter(|file| !file.is_empty() && !is_lock(file)) {
        // A file that git lists but is gone, or is not text, has no words.
        let Ok(text) = fs::read_to_string(shell::root().join(file)) else {
            continue;
        };
        problems.extend(found(&text).map(|(line, word)| format!("{file}:{line}: `{word}`")));
    }
    Ok(problems)
}

fn is_lock(file: &str) -> bool {
    file.rsplit('/').next().is_some_and(|name| LOCKS.contains(&name))
}

fn found(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        WORDS.iter().filter(|word| line.contains(**word)).map(move |word| (index + 1, *word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_with_its_line() {
        for word in WORDS {
            let text = format!("good\nsee {word} there\n");
            assert_eq!(found(&text).collect::<Vec<_>>(), [(2, *word)]);
        }
        assert_eq!(found("a platform-neutral frame/work\n").count(), 0);
    }

    #[test]
    fn lock_files_may_name_registries() {
        assert!(is_lock("Cargo.lock") && is_lock("interop/package-lock.json"));
        assert!(!is_lock("docs/Cargo.lock.md"));
    }
}
