//! Addresses of servers that cannot be told apart, or are ours (PC-30).

use super::Check;
use crate::fleet::raw::RawServer;
use crate::registry::Name;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::resource::ResourceUri;

/// The first part of every path below the issuer that we answer ourselves.
const OURS: [&str; 15] = [
    ".well-known",
    "account",
    "api",
    "assets",
    "assertions",
    "consent",
    "console",
    "demo",
    "health",
    "healthz",
    "login",
    "logout",
    "metrics",
    "oauth",
    "readyz",
];

/// The name that our own API has in access tables.
const OUR_NAME: &str = "portcullis";

/// A server as far as its address can be read, whatever else is wrong with it.
pub(super) struct Placed {
    name: Name,
    uri: ResourceUri,
    /// Where its address stands, or its name if that says the address.
    at: usize,
}

impl Placed {
    pub(super) fn of(raw: &RawServer, issuer: &Issuer) -> Option<Self> {
        let name: Name = raw.name.get_ref().parse().ok()?;
        let (uri, at) = match &raw.canonical_uri {
            Some(uri) => (uri.get_ref().parse().ok()?, uri.span().start),
            None => (issuer.join(&format!("/mcp/{name}")).parse().ok()?, raw.name.span().start),
        };
        Some(Self { name, uri, at })
    }
}

impl Check<'_> {
    /// Compares the servers with each other and with us.
    pub(super) fn addresses(&mut self, servers: &[Placed]) {
        let issuer = self.surroundings.issuer;
        let mut known: Vec<(Seen, &str, usize)> = Vec::new();
        for Placed { name, uri, at } in servers {
            if name.as_str() == OUR_NAME {
                self.problem(*at, "\"portcullis\" is the name of our own API; give the server another name");
            }
            let seen = Seen::of(uri.origin(), uri.path());
            if let Some(why) = seen.is_ours(issuer) {
                let says = format!("{:?} {why}; give the server another canonical_uri", uri.as_str());
                self.problem(*at, says);
                continue;
            }
            known.push((seen, name.as_str(), *at));
        }
        // Sorted by their parts, an address stands before all that lie below it.
        let mut order: Vec<usize> = (0..known.len()).collect();
        order.sort_by(|a, b| known[*a].0.cmp(&known[*b].0));
        let mut above: Vec<usize> = Vec::new();
        for this in order {
            while above.last().is_some_and(|other| !known[*other].0.contains(&known[this].0)) {
                above.pop();
            }
            if let Some(other) = above.last() {
                let (first, later) = (*other.min(&this), *other.max(&this));
                let how = if known[*other].0 == known[this].0 {
                    "have canonical URIs that can be confused"
                } else {
                    "have canonical URIs of which one lies below the other: programs take the token of one for the other"
                };
                let says = format!("servers {:?} and {:?} {how}", known[first].1, known[later].1);
                self.problem(known[later].2, says);
            }
            above.push(this);
        }
    }
}

/// An address as people and careless programs see it: without scheme and default port, in lower case, with one name for
/// this machine.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    host: String,
    path: Vec<String>,
}

impl Seen {
    fn of(origin: &str, path: &str) -> Self {
        let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest).to_ascii_lowercase();
        let (host, port) = match authority.rfind(':').filter(|colon| !authority[*colon..].contains(']')) {
            Some(colon) => authority.split_at(colon),
            None => (authority.as_str(), ""),
        };
        let host = host.trim_end_matches('.');
        let is_here = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        let host = if is_here { "localhost" } else { host };
        let parts = path.split('/').filter(|part| !part.is_empty());
        Self { host: format!("{host}{port}"), path: parts.map(str::to_ascii_lowercase).collect() }
    }

    fn contains(&self, other: &Self) -> bool {
        self.host == other.host && other.path.starts_with(&self.path)
    }

    /// Why it is one of our own addresses.
    fn is_ours(&self, issuer: &Issuer) -> Option<&'static str> {
        let ours = Self::of(issuer.origin(), issuer.path());
        let is_well_known = self.path.first().is_some_and(|part| part == ".well-known");
        if is_well_known {
            return Some("lies where metadata is published");
        }
        if self.contains(&ours) {
            return Some("is the address of this authority, or lies above it");
        }
        let below = self.path.strip_prefix(ours.path.as_slice()).filter(|_| self.host == ours.host)?;
        match below {
            [only] if only == "mcp" => Some("lies above the servers of this authority"),
            [first, ..] if OURS.contains(&first.as_str()) => {
                Some("is an address that this authority answers itself")
            }
            _ => None,
        }
    }
}
