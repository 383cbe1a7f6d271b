//! Which of our crates may name which, and what the pure ones may never pull in.
//!
//! A crate here exists to forbid something; this table is where the forbidding is written down.

use anyhow::Result;

use crate::cargo::{Dependency, Package, Workspace, resolved};

/// Every member, and what it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("oauth", &[]),
    ("domain", &["oauth"]),
    ("guard", &["domain", "oauth"]),
    ("client", &["oauth"]),
    ("store", &["domain", "oauth"]),
    ("gateway", &["domain", "guard", "oauth"]),
    ("server", &["store", "gateway", "guard", "client", "domain", "oauth"]),
    ("cli", &["server", "client"]),
    ("xtask", &[]),
    ("bench", &[]),
];

/// What a crate may not even reach through others: no I/O in the pure ones, no SQL in those that face strangers.
const UNREACHABLE: &[(&str, &[&str])] = &[
    ("oauth", &["axum", "hyper", "sqlx", "tokio"]),
    ("domain", &["axum", "hyper", "sqlx", "tokio"]),
    ("guard", &["sqlx"]),
    ("client", &["sqlx"]),
    ("gateway", &["sqlx"]),
];

pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems: Vec<String> =
        workspace.packages.iter().flat_map(|package| edges_of(package, workspace)).collect();
    for (name, forbidden) in UNREACHABLE {
        let package = format!("portcullis-{name}");
        let reached = resolved(&["--package", &package, "--edges", "normal"])?;
        let reached = reached.iter().filter(|dependency| forbidden.contains(&dependency.name.as_str()));
        problems.extend(reached.map(|dependency| format!("{name} must not reach {}", dependency.name)));
    }
    Ok(problems)
}

fn edges_of(package: &Package, workspace: &Workspace) -> Vec<String> {
    let name = short(&package.name);
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name} is not in the table of crates: what does it forbid?")];
    };
    let ours = package.dependencies.iter().filter(|dependency| workspace.has(&dependency.name));
    ours.filter(|dependency| !may(name, allowed, dependency))
        .map(|dependency| {
            let kind = dependency.kind.as_deref().unwrap_or("normal");
            format!("{name} -> {} ({kind} dependency) is not an allowed edge", short(&dependency.name))
        })
        .collect()
}

/// Tests may look further than the code they test, but only the program itself may start the server.
fn may(from: &str, allowed: &[&str], dependency: &Dependency) -> bool {
    let to = short(&dependency.name);
    let in_tests_only = dependency.kind.as_deref() == Some("dev");
    allowed.contains(&to) || to == from || (in_tests_only && to != "server" && to != "cli")
}

fn short(package: &str) -> &str {
    match package.strip_prefix("portcullis") {
        Some("") => "cli",
        Some(rest) => rest.trim_start_matches('-'),
        None => package,
    }
}

impl Workspace {
    fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(edges: &[(&str, &str, Option<&str>)]) -> Workspace {
        let names =
            ["portcullis", "portcullis-server", "portcullis-store", "portcullis-gateway", "portcullis-oauth"];
        let packages = names.map(|name| Package {
            name: name.to_owned(),
            manifest_path: name.into(),
            dependencies: edges
                .iter()
                .filter(|(from, ..)| *from == name)
                .map(|(_, to, kind)| Dependency { name: (*to).to_owned(), kind: kind.map(str::to_owned) })
                .collect(),
        });
        Workspace { packages: packages.into(), target_directory: "target".into() }
    }

    fn problems_of(from: &str, to: &str, kind: Option<&str>) -> usize {
        let workspace = workspace(&[(from, to, kind)]);
        workspace.packages.iter().map(|package| edges_of(package, &workspace).len()).sum()
    }

    #[test]
    fn an_edge_outside_the_table_is_named() {
        let workspace = workspace(&[("portcullis-gateway", "portcullis-store", None)]);
        let found: Vec<_> =
            workspace.packages.iter().flat_map(|package| edges_of(package, &workspace)).collect();
        assert_eq!(found, ["gateway -> store (normal dependency) is not an allowed edge"]);
    }

    #[test]
    fn allowed_edges_and_strangers_pass() {
        assert_eq!(problems_of("portcullis", "portcullis-server", None), 0);
        assert_eq!(problems_of("portcullis-server", "portcullis-store", Some("build")), 0);
        assert_eq!(problems_of("portcullis-oauth", "serde", None), 0);
    }

    #[test]
    fn tests_may_look_further_but_not_at_the_server() {
        assert_eq!(problems_of("portcullis-gateway", "portcullis-store", Some("dev")), 0);
        assert_eq!(problems_of("portcullis-store", "portcullis-server", Some("dev")), 1);
        assert_eq!(problems_of("portcullis-server", "portcullis", Some("dev")), 1);
        assert_eq!(problems_of("portcullis-gateway", "portcullis-store", Some("build")), 1);
    }
}
