//! Relative links in our documents lead to files that are there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cargo::Workspace;
use crate::shell;

const DOCUMENTS: &[&str] = &["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

pub(crate) fn problems(_: &Workspace) -> Result<Vec<String>> {
    let root = shell::root();
    let mut files: Vec<PathBuf> = DOCUMENTS.iter().map(|name| root.join(name)).collect();
    gather(&root.join("docs"), &mut files)?;
    let mut problems = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        match fs::read_to_string(&file) {
            Ok(text) => {
                problems.extend(broken(&text, &file).map(|(line, link)| format!("{name}:{line}: {link}")));
            }
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    Ok(problems)
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

fn broken<'a>(text: &'a str, file: &Path) -> impl Iterator<Item = (usize, &'a str)> {
    let folder = file.parent().unwrap_or(shell::root()).to_owned();
    links(text).filter(move |(_, link)| !resolves(link, &folder))
}

fn resolves(link: &str, folder: &Path) -> bool {
    let (path, _) = link.split_once('#').unwrap_or((link, ""));
    path.is_empty() || (!path.starts_with('/') && folder.join(path.replace("%20", " ")).exists())
}

/// Every relative link with its line, outside fenced and inline code.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let lines = text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    lines
        .flat_map(|(index, line)| targets(line).map(move |link| (index + 1, link)))
        .filter(|(_, link)| !link.contains("://") && !link.starts_with("mailto:"))
}

/// What stands behind `](` up to `)` or a title, or behind `[label]: ` at the start of a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
    let prose = line.split('`').step_by(2);
    let inline = prose.flat_map(|piece| piece.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    inline.chain(reference).filter_map(|target| target.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_a_reader_would_follow_them() {
        let text = "[a](one.md) and ![b](img/two.svg \"title\")\n```\n[no](fenced.md)\n```\n`[no](code.md)` [c](x.md#part)\n\
                    [web](https://example.com) [mail](mailto:a@example.com)\n[ref]: three.md\n\n    [no](indented.md)\n";
        let found: Vec<_> = links(text).collect();
        assert_eq!(found, [(1, "one.md"), (1, "img/two.svg"), (5, "x.md#part"), (7, "three.md")]);
    }

    #[test]
    fn a_link_to_nothing_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("here.md"), "").unwrap();
        for (link, good) in
            [("here.md", true), ("here.md#x", true), ("#x", true), ("gone.md", false), ("/here.md", false)]
        {
            assert_eq!(resolves(link, folder.path()), good, "{link}");
        }
    }
}
