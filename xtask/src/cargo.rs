//! What cargo knows about the tree: members, edges, the resolved dependencies, and what a build made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::shell;

/// The members of the workspace, from `cargo metadata --no-deps`.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal dependency.
    pub(crate) kind: Option<String>,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self> {
        let text = shell::output_of(shell::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
        serde_json::from_str(&text).context("`cargo metadata` printed something else than we know")
    }

    /// `target/NAME`, made if it is not there.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target_directory.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    fn package_of(&self, manifest: &Path) -> Option<&Package> {
        self.packages.iter().find(|package| package.manifest_path == manifest)
    }
}

/// One dependency as it is really built on Linux, features and all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: String,
}

/// All that `which` (arguments of `cargo tree`) pulls in. Not `cargo metadata`: its resolve also names
/// optional crates that no feature turns on.
pub(crate) fn resolved(which: &[&str]) -> Result<BTreeSet<Resolved>> {
    let mut command = shell::cargo();
    command.args(["tree", "--locked", "--target", "x86_64-unknown-linux-gnu", "--prefix", "none"]);
    command.args(["--format", "{p}|{l}"]).args(which);
    let text = shell::output_of(&mut command)?;
    text.lines().filter(|line| !line.is_empty()).map(Resolved::parse).collect()
}

impl Resolved {
    /// `name v1.2.3 (where)|licence (*)`
    fn parse(line: &str) -> Result<Self> {
        let (package, licence) =
            line.split_once('|').with_context(|| format!("odd line of `cargo tree`: {line}"))?;
        let mut words = package.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let version = words.next().unwrap_or_default().trim_start_matches('v').to_owned();
        let licence = licence.trim_end_matches(" (*)").to_owned();
        Ok(Self { name, version, licence })
    }
}

/// A test program that a build made.
pub(crate) struct TestProgram {
    pub(crate) package: String,
    pub(crate) target: String,
    pub(crate) kind: String,
    pub(crate) file: PathBuf,
    pub(crate) folder: PathBuf,
}

/// What one build of everything made.
pub(crate) struct Built {
    pub(crate) tests: Vec<TestProgram>,
    pub(crate) portcullis: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds every library, program and test of the tree, with one set of features: interop and the tests
/// share it, so that nothing is compiled twice.
pub(crate) fn build(workspace: &Workspace) -> Result<Built> {
    let mut command = shell::cargo();
    command.args(["build", "--workspace", "--all-targets", "--message-format=json-render-diagnostics"]);
    println!("$ {}", shell::words(&command));
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tree does not build");
    }
    let mut built = Built { tests: Vec::new(), portcullis: None };
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message = serde_json::from_slice(line).context("cargo printed a message that we do not know")?;
        built.take(message, workspace);
    }
    built.tests.sort_by(|a, b| (&a.package, &a.kind, &a.target).cmp(&(&b.package, &b.kind, &b.target)));
    Ok(built)
}

impl Built {
    fn take(&mut self, message: Message, workspace: &Workspace) {
        let Message { reason, manifest_path, target, profile, executable } = message;
        let (Some(manifest), Some(target), Some(profile), Some(file)) =
            (manifest_path, target, profile, executable)
        else {
            return;
        };
        let Some(package) = workspace.package_of(&manifest).filter(|_| reason == "compiler-artifact") else {
            return;
        };
        let kind = target.kind.first().cloned().unwrap_or_default();
        if profile.test {
            let folder = manifest.parent().unwrap_or(shell::root()).to_owned();
            self.tests.push(TestProgram {
                package: package.name.clone(),
                target: target.name,
                kind,
                file,
                folder,
            });
        } else if kind == "bin" && target.name == "portcullis" {
            self.portcullis = Some(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_tree_is_read() {
        let found = Resolved::parse("serde_derive v1.0.2 (proc-macro)|MIT OR Apache-2.0 (*)").unwrap();
        assert_eq!(
            (&*found.name, &*found.version, &*found.licence),
            ("serde_derive", "1.0.2", "MIT OR Apache-2.0")
        );
        assert!(Resolved::parse("no bar").is_err());
    }
}
