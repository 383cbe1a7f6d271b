//! What is there without a fleet file: the server `portcullis`, which is our own admin API, and the roles that come with it.
//!
//! Nobody registers it and nobody removes it. Fleet files may name it where they name servers, to make operators and auditors.

use crate::id::ServerId;
use crate::registry::{Access, Issuers, Members, Name, Pinning, Placement, Role, ScopeMeaning, Server};
use crate::snapshot::Snapshot;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::scope::{Scope, ScopeSet};
use std::collections::BTreeMap;

/// The name of the server.
pub const SERVER: &str = "portcullis";

/// No generated id is this one: those begin with a time.
pub const SERVER_ID: ServerId = ServerId::from_bytes(*b"\0\0\0\0\0\0portcullis");

/// Administrators.
pub const OWNER: &str = "portcullis-owner";

/// Whoever a server names as its owner: all rights, on their own servers only.
pub const SERVER_OWNER: &str = "portcullis-server-owner";

/// Look at everything but the audit.
pub const ADMIN_READ: &str = "admin:read";

/// Change things, and look at them.
pub const ADMIN_WRITE: &str = "admin:write";

/// Read the audit.
pub const AUDIT_READ: &str = "audit:read";

/// Where it stands below the issuer.
pub const PATH: &str = "/api/v1";

/// Whether a fleet file may not declare a server of this name.
pub fn is_reserved_server(name: &Name) -> bool {
    name.as_str() == SERVER
}

/// Whether a fleet file may not declare a role of this name.
pub fn is_reserved_role(name: &Name) -> bool {
    is_reserved_role_name(name.as_str())
}

/// The same, of a name as tokens carry it.
pub fn is_reserved_role_name(name: &str) -> bool {
    name == SERVER || name.starts_with("portcullis-")
}

/// The scopes and what they mean.
pub fn scopes() -> BTreeMap<Scope, ScopeMeaning> {
    let meanings = [
        (ADMIN_READ, "See how Portcullis is set up: servers, agents, people, sessions", ""),
        (ADMIN_WRITE, "Change how Portcullis is set up: who may do what, on every server", ADMIN_READ),
        (AUDIT_READ, "Read what was recorded of everybody's actions", ""),
    ];
    let parse = |(name, says, implies): (&str, &str, &str)| {
        let implies = implies.parse().unwrap_or_default();
        Some((name.parse().ok()?, ScopeMeaning { says: says.to_owned(), implies }))
    };
    meanings.into_iter().filter_map(parse).collect()
}

/// These scopes and what they imply.
pub fn implied(held: &ScopeSet) -> ScopeSet {
    let all = scopes();
    let meanings = held.iter().filter_map(|scope| all.get(scope));
    held.iter().chain(meanings.flat_map(|meaning| meaning.implies.iter())).collect()
}

/// What somebody's access to the admin API is; empty when there is none.
pub fn admin_access(access: &Access) -> ScopeSet {
    let of_us = access.iter().find(|(name, _)| is_reserved_server(name));
    of_us.map(|(_, scopes)| scopes.clone()).unwrap_or_default()
}

/// With what is there without a fleet file.
#[must_use]
pub fn installed(mut snapshot: Snapshot) -> Snapshot {
    let Some(server) = server(&snapshot.issuer) else {
        return snapshot;
    };
    let access = Access::from([(server.name.clone(), server.scopes.keys().cloned().collect())]);
    let role = |name: &str| {
        Some(Role { name: name.parse().ok()?, members: Members::default(), access: access.clone() })
    };
    snapshot.servers.retain(|other| other.name != server.name);
    snapshot.roles.retain(|role| !is_reserved_role(&role.name));
    snapshot.roles.extend([OWNER, SERVER_OWNER].into_iter().filter_map(role));
    snapshot.servers.push(server);
    snapshot
}

/// `None` only where the issuer's address cannot be continued, which is none that a deployment can have.
fn server(issuer: &Issuer) -> Option<Server> {
    Some(Server {
        id: SERVER_ID,
        name: SERVER.parse().ok()?,
        title: "Portcullis administration".to_owned(),
        canonical_uri: issuer.join(PATH).parse().ok()?,
        placement: Placement::Direct,
        access_seconds: None,
        labels: Vec::new(),
        owners: Vec::new(),
        observe: false,
        pinning: Pinning::Off,
        other_transports: std::collections::BTreeSet::default(),
        limits: crate::registry::ServerLimits::default(),
        issuers: Issuers::default(),
        default_scopes: ADMIN_READ.parse().ok()?,
        scopes: scopes(),
        rules: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::snapshot::tests::snapshot;

    #[test]
    fn pc_63_the_admin_api_is_a_server_in_every_snapshot() {
        let installed = installed(snapshot());
        assert_eq!(super::installed(installed.clone()), installed, "once");
        let policy = Policy::compile(&installed).unwrap();
        let server = policy.server(SERVER).unwrap().server();
        assert_eq!(server.canonical_uri.as_str(), "https://as.test/api/v1");
        assert_eq!(server.scopes.len(), 3);
        assert_eq!(server.id, SERVER_ID);
    }

    #[test]
    fn adm_05_a_role_or_server_that_took_a_reserved_name_does_not_count() {
        let mut crafted = snapshot();
        let everybody = Members { group: Some("eng".into()), users: vec![] };
        let name: Name = OWNER.parse().unwrap();
        crafted.roles.push(Role { name: name.clone(), members: everybody, access: Access::new() });
        crafted.servers[0].name = SERVER.parse().unwrap();
        let installed = installed(crafted);
        let owners: Vec<_> = installed.roles.iter().filter(|role| role.name == name).collect();
        assert_eq!((owners.len(), &owners[0].members), (1, &Members::default()));
        assert_eq!(installed.servers.len(), 1);
        assert_eq!(installed.servers[0].id, SERVER_ID);
    }
}
