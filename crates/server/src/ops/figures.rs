//! What the authority counts. Labels are words of ours, never anything that was sent: there are few, and no secret is one.

use http::StatusCode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of one server, since its start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    requests: [[AtomicU64; CLASSES]; Endpoint::ALL.len()],
    tokens: Mutex<BTreeMap<(&'static str, String), u64>>,
}

/// 1xx to 5xx.
const CLASSES: usize = 5;

/// What a request is for, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Api,
    Authorize,
    Gateway,
    Introspect,
    Keys,
    Metadata,
    Other,
    Pages,
    Register,
    Revoke,
    SignIn,
    Token,
}

impl Endpoint {
    pub(crate) const ALL: [(Self, &'static str); 12] = [
        (Self::Api, "api"),
        (Self::Authorize, "authorize"),
        (Self::Gateway, "gateway"),
        (Self::Introspect, "introspect"),
        (Self::Keys, "keys"),
        (Self::Metadata, "metadata"),
        (Self::Other, "other"),
        (Self::Pages, "pages"),
        (Self::Register, "register"),
        (Self::Revoke, "revoke"),
        (Self::SignIn, "sign_in"),
        (Self::Token, "token"),
    ];

    /// `path` without the issuer's own.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/oauth/token" => Self::Token,
            "/oauth/authorize" | "/consent" => Self::Authorize,
            "/oauth/introspect" => Self::Introspect,
            "/oauth/revoke" => Self::Revoke,
            "/oauth/register" => Self::Register,
            "/oauth/jwks" | "/oauth/assertion-jwks" => Self::Keys,
            "/login" => Self::SignIn,
            "/" | "/logout" | "/account" | "/account/password" | "/console" => Self::Pages,
            _ if path.starts_with("/mcp/") => Self::Gateway,
            _ if path.starts_with("/.well-known/") => Self::Metadata,
            _ if path.starts_with("/api/") => Self::Api,
            _ if path.starts_with("/assets/") || path.starts_with("/console/") => Self::Pages,
            _ => Self::Other,
        }
    }
}

impl Figures {
    /// A request was answered.
    pub(crate) fn request(&self, endpoint: Endpoint, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        self.requests[endpoint as usize][class].fetch_add(1, Ordering::Relaxed);
    }

    /// The token endpoint decided: `issued`, or the word for why not.
    pub(crate) fn token(&self, grant: &'static str, outcome: String) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens.entry((grant, outcome)).or_default() += 1;
    }

    /// What was answered: endpoint, class, how often.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        const WORDS: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        Endpoint::ALL.iter().zip(&self.requests).flat_map(|((_, name), classes)| {
            let counted = classes.iter().map(|count| count.load(Ordering::Relaxed));
            WORDS.into_iter().zip(counted).map(move |(class, count)| (*name, class, count))
        })
    }

    pub(super) fn tokens(&self) -> BTreeMap<(&'static str, String), u64> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_54_every_endpoint_has_its_own_row() {
        for (at, (endpoint, _)) in Endpoint::ALL.iter().enumerate() {
            assert_eq!(*endpoint as usize, at);
        }
        assert_eq!(Endpoint::of("/oauth/token"), Endpoint::Token);
        assert_eq!(Endpoint::of("/mcp/notes"), Endpoint::Gateway);
        assert_eq!(Endpoint::of("/mcp"), Endpoint::Other);
        let figures = Figures::default();
        figures.request(Endpoint::Token, StatusCode::OK);
        figures.request(Endpoint::Token, StatusCode::TOO_MANY_REQUESTS);
        let counted: Vec<_> = figures.requests().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, [("token", "2xx", 1), ("token", "4xx", 1)]);
    }
}
